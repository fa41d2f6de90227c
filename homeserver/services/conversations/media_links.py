"""Addresses of files that need no token, for a short time: what an ``<img>`` takes.

An address is good for what its maker may do on the device on which they made it: whatever is asked
of a reader is asked when it is used, and signing out ends it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable
from functools import cached_property

import orjson
from msgspec import Struct

from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.media_uris import MediaUri
from homeserver.services.aes_gcm import NONCE_BYTES, AesGcm, NotEncryptedSo
from homeserver.services.requester import Requester
from homeserver.storage import accounts, devices
from homeserver.storage.database import Database

MAX_TOKEN = 4_096
INVALID = "This address is not valid, or not any more"


class MediaLink(Struct, frozen=True):
    """Who may read what, and until when (ms)."""

    requester: Requester
    uri: MediaUri
    expires_at: int


class MediaLinks:
    """Makes and checks addresses.  What they say is encrypted: they name a user and a device."""

    def __init__(self, *, secret: bytes, database: Database, clock_ms: Callable[[], int]) -> None:
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"comity-links").digest()
        self._database = database
        self._clock_ms = clock_ms

    @cached_property
    def _cipher(self) -> AesGcm:
        return AesGcm(self._key)

    def make(self, requester: Requester, uri: MediaUri, valid_ms: int) -> tuple[str, int]:
        """A token for a file, and when it expires (ms)."""
        expires_at = self._clock_ms() + valid_ms
        what = orjson.dumps([requester.user_id, requester.device_id, *uri, expires_at])
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _encode(nonce + self._cipher.encrypt(nonce, what, None)), expires_at

    async def open(self, token: str) -> MediaLink:
        """What a token is for.  Raises :class:`Forbidden` if it is forged, expired or void."""
        link = self._parse(token)
        user_id, device_id = link.requester.user_id, link.requester.device_id
        account = await accounts.get_account(self._database, user_id)
        if account is None or account.deactivated_at is not None or account.locked_at is not None:
            raise Forbidden(INVALID)
        if device_id and await devices.get_device(self._database, user_id, device_id) is None:
            raise Forbidden(INVALID)
        return link

    def _parse(self, token: str) -> MediaLink:
        sealed = _decode(token) if len(token) <= MAX_TOKEN else b""
        try:
            what = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except NotEncryptedSo:
            raise Forbidden(INVALID) from None
        user_id, device_id, origin, media_id, expires_at = orjson.loads(what)
        if expires_at <= self._clock_ms():
            raise Forbidden(INVALID)
        requester = Requester(UserId(user_id), device_id)
        return MediaLink(requester, MediaUri(origin, media_id), expires_at)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return b""
