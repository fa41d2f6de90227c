"""Clients: applications that register themselves, with metadata that must hold together.

Spec: client-server API, client registration; RFC 7591.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

import orjson
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc7591 import ClientMetadataClaims, InvalidClientMetadataError
from joserfc.errors import InvalidClaimError, JoseError

from homeserver.protocol.events import JsonObject
from homeserver.services.oauth import redirects
from homeserver.services.oauth.errors import InvalidRedirectUri
from homeserver.storage import oauth_clients as storage
from homeserver.storage.database import Database
from homeserver.storage.oauth_clients import ClientRow

CODE_GRANT, REFRESH_GRANT = "authorization_code", "refresh_token"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GRANT_TYPES = (CODE_GRANT, REFRESH_GRANT, DEVICE_GRANT)
RESPONSE_TYPES = ("code",)
AUTH_METHODS = ("none",)
APPLICATION_TYPES = (redirects.WEB, redirects.NATIVE)
PAGES = ("client_uri", "logo_uri", "tos_uri", "policy_uri")
KEPT = (
    *("client_name", *PAGES, "contacts", "redirect_uris", "response_types", "grant_types"),
    *("token_endpoint_auth_method", "application_type", "software_id", "software_version"),
)
TEXTS = frozenset({"client_name", *PAGES, "application_type", "token_endpoint_auth_method"}) | {
    *("software_id", "software_version")
}
LISTS = frozenset({"contacts", "redirect_uris", "response_types", "grant_types"})
MAX_TEXT_LENGTH, MAX_NAME_LENGTH, MOST_ITEMS = 2_000, 200, 50

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


class _Metadata(ClientMetadataClaims):  # type: ignore[misc]
    """Authlib's checks of RFC 7591, and those of Matrix in the place of the laxer ones."""

    def validate_redirect_uris(self) -> None:
        for uri in self.get("redirect_uris", ()):
            if not redirects.may_register(
                uri, client_uri=self["client_uri"], application_type=self["application_type"]
            ):
                raise InvalidRedirectUri(
                    "A redirect URI is none that this client may have: see the rules of the "
                    "Matrix specification for web and native clients"
                )

    def _validate_uri(self, key: str, uri: str | None = None) -> None:
        # In the place of Authlib's: that takes no fragments, which pages may have.
        value = uri or self.get(key)
        if value and not (
            redirects.is_web_page(value) and redirects.shares_host(value, self["client_uri"])
        ):
            raise InvalidClaimError(key)


def check_metadata(document: JsonObject) -> JsonObject:
    """What is registered of a client's metadata.

    What this server does not know is left out, as it has to be.  Raises Authlib's
    :class:`InvalidClientMetadataError`, :class:`InvalidRedirectUri`.
    """
    metadata = {key: document[key] for key in KEPT if document.get(key) is not None}
    for key, value in metadata.items():
        _check_type(key, value)
    if "client_uri" not in metadata or not redirects.is_web_page(metadata["client_uri"]):
        raise InvalidClientMetadataError("client_uri must be an https address")
    if metadata.setdefault("application_type", redirects.WEB) not in APPLICATION_TYPES:
        raise InvalidClientMetadataError("application_type must be web or native")
    if metadata.setdefault("token_endpoint_auth_method", "none") not in AUTH_METHODS:
        raise InvalidClientMetadataError("token_endpoint_auth_method must be none")
    metadata["grant_types"] = _known(metadata, "grant_types", GRANT_TYPES, [CODE_GRANT])
    metadata["response_types"] = _known(metadata, "response_types", RESPONSE_TYPES, ["code"])
    claims = _Metadata(metadata, {})
    try:
        claims.validate()
    except JoseError as error:
        raise InvalidClientMetadataError(f"{getattr(error, 'claim', 'A value')} is invalid") from (
            error
        )
    if CODE_GRANT in metadata["grant_types"] and not metadata.get("redirect_uris"):
        raise InvalidRedirectUri("The authorization code grant needs a redirect URI")
    return metadata


def _check_type(key: str, value: Any) -> None:
    if key in TEXTS and not _is_text(value, MAX_NAME_LENGTH if key == "client_name" else None):
        raise InvalidClientMetadataError(f"{key} must be a text, and not too long")
    if key in LISTS and not (
        isinstance(value, list) and len(value) <= MOST_ITEMS and all(_is_text(v) for v in value)
    ):
        raise InvalidClientMetadataError(f"{key} must be a list of texts, and not too long")


def _is_text(value: Any, longest: int | None = None) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= (longest or MAX_TEXT_LENGTH)
        and (value == "" or value.isprintable())
    )


def _known(metadata: JsonObject, key: str, known: Collection[str], default: list[str]) -> list[str]:
    given = metadata.get(key, default)
    return [value for value in dict.fromkeys(given) if value in known]


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
