"""Refresh tokens that say whose they are and which in their line, so that a stolen one is noticed.

A refresh token that is good is found by its hash, like any other.  One that is *not* found is
either invented or was good once; its signature tells which, without a row for every token that
ever was.  RFC 9700, section 4.14.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from msgspec import Struct

PREFIX = "cmr_"
FAMILY_BYTES, GENERATION_BYTES, NONCE_BYTES, MAC_BYTES = 16, 4, 24, 16
SIGNED_BYTES = FAMILY_BYTES + GENERATION_BYTES + NONCE_BYTES


class Lineage(Struct, frozen=True):
    """The session that a refresh token was made for, and how often it had been refreshed."""

    family: bytes
    generation: int


def new_family() -> bytes:
    """What all the refresh tokens of a new session have in them."""
    return secrets.token_bytes(FAMILY_BYTES)


class RefreshTokens:
    """Makes refresh tokens, and knows those that it has made."""

    def __init__(self, secret: bytes) -> None:
        self._key = hashlib.blake2b(secret, person=b"comity-refresh").digest()

    def make(self, lineage: Lineage) -> str:
        """A new token: unguessable, and signed."""
        signed = (
            lineage.family
            + lineage.generation.to_bytes(GENERATION_BYTES, "big")
            + secrets.token_bytes(NONCE_BYTES)
        )
        return PREFIX + base64.urlsafe_b64encode(signed + self._mac(signed)).decode().rstrip("=")

    def read(self, token: str) -> Lineage | None:
        """What a token says, if it is one that was made here."""
        encoded = token.removeprefix(PREFIX)
        try:
            raw = base64.b64decode(
                encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            return None
        signed, mac = raw[:SIGNED_BYTES], raw[SIGNED_BYTES:]
        if not hmac.compare_digest(mac, self._mac(signed)):
            return None
        generation = signed[FAMILY_BYTES : FAMILY_BYTES + GENERATION_BYTES]
        return Lineage(signed[:FAMILY_BYTES], int.from_bytes(generation, "big"))

    def _mac(self, signed: bytes) -> bytes:
        return hmac.new(self._key, signed, hashlib.sha256).digest()[:MAC_BYTES]
