"""Clients: applications that register themselves, with metadata that must hold together.

Spec: client-server API, client registration; RFC 7591.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import orjson
from authlib.oauth2.rfc6749 import ClientMixin

from homeserver.protocol.events import JsonObject
from homeserver.services.oauth import redirects
from homeserver.storage import oauth_clients as storage
from homeserver.storage.database import Database
from homeserver.storage.oauth_clients import ClientRow

CODE_GRANT, REFRESH_GRANT = "authorization_code", "refresh_token"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GRANT_TYPES = (CODE_GRANT, REFRESH_GRANT, DEVICE_GRANT)
RESPONSE_TYPES = ("code",)
AUTH_METHODS = ("none",)
MAX_METADATA_BYTES = 16_384

UNUSED_FOR_MS = 48 * 3_600_000  # clients register anew at each login, so they miss nothing
PRUNE_EVERY_MS = 3_600_000
MOST_UNUSED = 10_000
UNUSED_FOR_MS_WITH_MANY = 3_600_000
"""For how long an unused client is kept where so many are registered: somebody floods us."""
COUNT_EVERY_MS = 60_000


class Client(ClientMixin):  # type: ignore[misc]
    """A registered client, as Authlib asks about it: a public one, that proves itself by PKCE."""

    def __init__(self, row: ClientRow) -> None:
        self.client_id = row.client_id
        self.metadata = row.metadata

    @property
    def name(self) -> str:
        """What people are told that it is."""
        name: str = self.metadata.get("client_name", "").strip()
        return name or self.host

    @property
    def host(self) -> str:
        """Where its page is."""
        return urlsplit(self.metadata["client_uri"]).hostname or ""

    def get_client_id(self) -> str:
        """Its ID."""
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """None: a request has to name it."""

    def get_allowed_scope(self, scope: str) -> str:
        """What is asked for: see ``scopes.py``."""
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether a request may name this one."""
        return redirects.is_registered(
            redirect_uri,
            self.metadata.get("redirect_uris", ()),
            self.metadata["application_type"],
        )

    def check_client_secret(self, client_secret: str) -> bool:
        """False: it has none."""
        return False

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Whether it may authenticate like that."""
        return method in AUTH_METHODS

    def check_response_type(self, response_type: str) -> bool:
        """Whether it has registered this response type."""
        return response_type in self.metadata["response_types"]

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether it has registered this grant.

        Refreshing comes with every other one: each session gets a refresh token, and a client that
        could not use it would be logged out within minutes.  Spec: grant types.
        """
        return grant_type == REFRESH_GRANT or grant_type in self.metadata["grant_types"]


class Clients:
    """Registers clients, and finds them."""

    def __init__(
        self,
        *,
        database: Database,
        hosts: Collection[str] | None,
        clock_ms: Callable[[], int],
    ) -> None:
        """``hosts``: of whose pages clients may register; None for any."""
        self._database = database
        self._hosts = hosts
        self._clock_ms = clock_ms
        self._pruned_at = self._counted_at = 0

    async def register(self, document: JsonObject) -> JsonObject:
        """The client information response.

        Raises Authlib's :class:`InvalidClientMetadataError`, :class:`InvalidRedirectUri`.
        """
        # large, and not needed before a client registers
        from authlib.oauth2.rfc7591 import InvalidClientMetadataError

        from homeserver.services.oauth.client_metadata import check_metadata

        metadata = check_metadata(document)
        host = urlsplit(metadata["client_uri"]).hostname
        if self._hosts is not None and host not in self._hosts:
            raise InvalidClientMetadataError(
                "This server is not open to clients of that client_uri: ask its admin"
            )
        encoded = orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)
        if len(encoded) > MAX_METADATA_BYTES:
            raise InvalidClientMetadataError("The metadata are too large")
        await self._prune()
        now = self._clock_ms()
        client_id = await storage.put_client(
            self._database,
            secrets.token_urlsafe(18),
            metadata,
            hashlib.sha256(encoded).digest(),
            now,
        )
        return {"client_id": client_id, "client_id_issued_at": now // 1000, **metadata}

    async def get(self, client_id: str | None) -> Client | None:
        """A registered client, if there is one of that ID."""
        if not client_id or "\0" in client_id:
            return None
        row = await storage.get_client(self._database, client_id)
        return Client(row) if row is not None else None

    async def _prune(self) -> None:
        now = self._clock_ms()
        if now - self._counted_at < COUNT_EVERY_MS:
            return
        self._counted_at = now
        new = await storage.count_new(self._database, now - UNUSED_FOR_MS, MOST_UNUSED)
        many = new >= MOST_UNUSED
        if many or now - self._pruned_at >= PRUNE_EVERY_MS:
            self._pruned_at = now
            kept = UNUSED_FOR_MS_WITH_MANY if many else UNUSED_FOR_MS
            await storage.delete_unused(self._database, now - kept)
