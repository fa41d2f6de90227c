"""Device authorizations: a device without a browser shows a code, which its user enters elsewhere.

Spec: client-server API, device authorisation flow; RFC 8628.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

from authlib.oauth2.rfc6749 import (
    InvalidClientError,
    InvalidRequestError,
    UnauthorizedClientError,
)
from msgspec import Struct

from homeserver.errors import NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.oauth.clients import DEVICE_GRANT, Client, Clients
from homeserver.services.oauth.grants import Parameters
from homeserver.services.oauth.metadata import LINK
from homeserver.services.oauth.scopes import Scope, parse_scope
from homeserver.services.sessions import Origin, SessionService, hash_token
from homeserver.storage import oauth_grants as storage
from homeserver.storage.database import Database
from homeserver.storage.oauth_grants import DeviceCode

LIFETIME_MS = 20 * 60_000
KEPT_FOR_MS = 60 * 60_000
"""For how long a client that asks is told that its code has expired."""
INTERVAL_SECONDS = 5
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words (RFC 8628, section 6.1)
CODE_LENGTH = 8
MOST_TRIES = 5


class Waiting(Struct, frozen=True):
    """A device that waits for its user."""

    code: DeviceCode
    client: Client
    scope: Scope
    user_code: str


class DeviceCodes:
    """Takes device authorization requests, and users' answers to them."""

    def __init__(
        self,
        *,
        public_base_url: str,
        secret: bytes,
        database: Database,
        clients: Clients,
        sessions: SessionService,
        clock_ms: Callable[[], int],
    ) -> None:
        self._link = public_base_url.rstrip("/") + LINK
        self._key = hashlib.blake2b(secret, person=b"comity-usercode").digest()
        self._database = database
        self._clients = clients
        self._sessions = sessions
        self._clock_ms = clock_ms

    async def begin(self, parameters: Parameters, origin: Origin) -> JsonObject:
        """Answer a device authorization request.  Raises Authlib's :class:`OAuth2Error`."""
        if any(len(values) > 1 for values in parameters.values()):
            raise InvalidRequestError("A parameter is there more than once")
        client = await self._clients.get((parameters.get("client_id") or [""])[0])
        if client is None:
            raise InvalidClientError(description="The client is not known to this server.")
        if not client.check_grant_type(DEVICE_GRANT):
            raise UnauthorizedClientError("The client has not registered this grant type")
        scope = parse_scope(next(iter(parameters.get("scope", ())), None))
        now = self._clock_ms()
        await storage.delete_expired_device_codes(self._database, now - KEPT_FOR_MS)
        device_code = f"cmd_{secrets.token_urlsafe(32)}"
        user_code = await self._insert(client, scope, device_code, now, origin)
        return {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": self._link,
            "verification_uri_complete": f"{self._link}?user_code={user_code}",
            "expires_in": LIFETIME_MS // 1000,
            "interval": INTERVAL_SECONDS,
        }

    async def _insert(
        self, client: Client, scope: Scope, device_code: str, now: int, origin: Origin
    ) -> str:
        for _ in range(MOST_TRIES):
            letters = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
            row = DeviceCode(
                secrets.token_urlsafe(24),
                client.client_id,
                scope.text,
                now,
                now + LIFETIME_MS,
                INTERVAL_SECONDS,
                origin.ip,
                origin.user_agent,
            )
            if await storage.insert_device_code(
                self._database, row, hash_token(device_code), self._hash(letters)
            ):
                return f"{letters[:4]}-{letters[4:]}"
        raise InvalidRequestError("There are too many devices waiting: try again later")

    async def find(self, user_code: str) -> Waiting:
        """The device that shows a code.  Raises :class:`NotFound`."""
        letters = "".join(letter for letter in user_code.upper() if letter.isalnum())
        code = None
        if len(letters) == CODE_LENGTH:
            now = self._clock_ms()
            code = await storage.get_by_user_code(self._database, self._hash(letters), now)
        client = await self._clients.get(code.client_id) if code is not None else None
        if code is None or client is None:
            raise NotFound("No device waits with this code: it may have expired, or be mistyped")
        return Waiting(code, client, parse_scope(code.scope), f"{letters[:4]}-{letters[4:]}")

    async def answer(self, waiting: Waiting, user_id: UserId, granted: bool) -> None:
        """Take a user's answer.

        Raises :class:`NotFound`, and :class:`~homeserver.errors.Forbidden` for a device ID that the
        client must not use.
        """
        if granted:
            await self._sessions.check_device_id(user_id, waiting.scope.device_id)
        if not await storage.answer_device_code(
            self._database, waiting.code.grant_id, user_id, granted, self._clock_ms()
        ):
            raise NotFound("This was answered already, or has expired")

    def _hash(self, letters: str) -> bytes:
        return hmac.new(self._key, letters.encode(), hashlib.sha256).digest()
