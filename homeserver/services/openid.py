"""OpenID tokens: a user proves to a third party who they are.

A token is signed, not stored: user, time of expiry, and a MAC.  Spec: client-server API, OpenID.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable

from homeserver.errors import UnknownToken
from homeserver.protocol.identifiers import UserId

LIFETIME_SECONDS = 3600


class OpenIdTokens:
    """Makes and checks tokens that are good for telling a user's ID and for nothing else."""

    def __init__(self, *, secret: bytes, clock_ms: Callable[[], int]) -> None:
        self._key = hashlib.blake2b(secret, person=b"comity-openid").digest()
        self._clock_ms = clock_ms

    def make(self, user_id: str) -> tuple[str, int]:
        """A token for a user, and its lifetime in seconds."""
        expires_at = self._clock_ms() // 1000 + LIFETIME_SECONDS
        payload = f"{expires_at} {secrets.token_hex(8)} {user_id}".encode()
        return _encode(self._mac(payload) + payload), LIFETIME_SECONDS

    def check(self, token: str) -> UserId:
        """Whose token it is.  Raises: :class:`UnknownToken`."""
        try:
            raw = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
        except binascii.Error as error:
            raise UnknownToken("This OpenID token is not known here") from error
        mac, payload = raw[:32], raw[32:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise UnknownToken("This OpenID token is not known here")
        expires_at, _, user_id = payload.decode().split(" ", 2)
        if int(expires_at) <= self._clock_ms() // 1000:
            raise UnknownToken("This OpenID token has expired")
        return UserId(user_id)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.new(self._key, payload, hashlib.sha256).digest()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
