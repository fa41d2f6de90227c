"""What clients say of themselves when they register, and whether it holds together.

Spec: client-server API, client registration; RFC 7591.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from authlib.oauth2.rfc7591 import ClientMetadataClaims, InvalidClientMetadataError
from joserfc.errors import InvalidClaimError, JoseError

from homeserver.protocol.events import JsonObject
from homeserver.services.oauth import redirects
from homeserver.services.oauth.clients import AUTH_METHODS, CODE_GRANT, GRANT_TYPES, RESPONSE_TYPES
from homeserver.services.oauth.errors import InvalidRedirectUri

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
