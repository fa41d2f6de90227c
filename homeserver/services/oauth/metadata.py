"""What clients are told of this authorization server.

Spec: client-server API, ``GET /auth_metadata``, account management URL discovery; RFC 8414.
"""

from __future__ import annotations

from homeserver.protocol.events import JsonObject
from homeserver.services.oauth.clients import AUTH_METHODS, GRANT_TYPES, RESPONSE_TYPES
from homeserver.services.oauth.id_tokens import ALGORITHM
from homeserver.services.oauth.scopes import OPENID, SUPPORTED

ENDPOINTS = "/_comity/oauth"
ACCOUNT = "/_comity/account"
LINK = "/_comity/link"

PROFILE = "org.matrix.profile"
DEVICES_LIST = "org.matrix.devices_list"
DEVICE_VIEW = "org.matrix.device_view"
DEVICE_DELETE = "org.matrix.device_delete"
DEACTIVATE = "org.matrix.account_deactivate"
CROSS_SIGNING_RESET = "org.matrix.cross_signing_reset"
ACTIONS = (PROFILE, DEVICES_LIST, DEVICE_VIEW, DEVICE_DELETE, DEACTIVATE, CROSS_SIGNING_RESET)
# As clients call them that were made while MSC4191 was discussed.
OLDER_ACTIONS = {
    "org.matrix.sessions_list": DEVICES_LIST,
    "org.matrix.session_view": DEVICE_VIEW,
    "org.matrix.session_end": DEVICE_DELETE,
    "profile": PROFILE,
    "sessions_list": DEVICES_LIST,
    "session_view": DEVICE_VIEW,
    "session_end": DEVICE_DELETE,
}


def issuer_of(public_base_url: str) -> str:
    """The issuer identifier: where this server is."""
    return public_base_url.rstrip("/") + "/"


def server_metadata(public_base_url: str, *, sign_up: bool) -> JsonObject:
    """The authorization server's metadata; ``sign_up``: whether newcomers can make accounts."""
    base = public_base_url.rstrip("/")
    return {
        "issuer": issuer_of(public_base_url),
        "authorization_endpoint": f"{base}{ENDPOINTS}/authorize",
        "token_endpoint": f"{base}{ENDPOINTS}/token",
        "revocation_endpoint": f"{base}{ENDPOINTS}/revoke",
        "registration_endpoint": f"{base}{ENDPOINTS}/register",
        "device_authorization_endpoint": f"{base}{ENDPOINTS}/device",
        "response_types_supported": list(RESPONSE_TYPES),
        "response_modes_supported": ["query", "fragment"],
        "grant_types_supported": list(GRANT_TYPES),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "scopes_supported": [SUPPORTED, OPENID],
        "jwks_uri": f"{base}{ENDPOINTS}/keys",
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "authorization_response_iss_parameter_supported": True,
        # RFC 8414, section 3.2: what has no elements is left out.
        **({"prompt_values_supported": ["create"]} if sign_up else {}),
        "account_management_uri": f"{base}{ACCOUNT}",
        "account_management_actions_supported": list(ACTIONS),
    }
