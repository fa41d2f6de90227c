"""The grants of OAuth 2.0, by Authlib: what a request must have in it, PKCE, and its error.

Authlib is synchronous and asks for rows one by one; our database is not.  So what a request is
about is read before (:class:`Facts`), inside the transaction that will write what comes of it;
Authlib judges; what comes of it the caller writes (``tokens.py``).
"""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
    OAuth2Payload,
    OAuth2Request,
)
from authlib.oauth2.rfc6749 import grants as authlib_grants
from authlib.oauth2.rfc6749.errors import UnsupportedResponseTypeError
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7636.challenge import create_s256_code_challenge
from authlib.oauth2.rfc8628 import DeviceCodeGrant
from msgspec import Struct

from homeserver.services.oauth.clients import Client
from homeserver.services.oauth.scopes import Scope, parse_scope
from homeserver.storage.oauth_grants import Authorization, DeviceCode
from homeserver.storage.tokens import RefreshToken

Parameters = Mapping[str, list[str]]
"""What a request says, each parameter as often as it was given."""

# TLS ends at the proxy before us, so that Authlib would take every request for an open one.
ADDRESS = "https://localhost/"
MAX_STATE_LENGTH = 2_000


class Facts(Struct):
    """What the database has on a request.  ``now``: ms."""

    client: Client | None
    authorization: Authorization | None = None
    refresh_token: RefreshToken | None = None
    device_code: DeviceCode | None = None
    now: int = 0


class _Payload(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, parameters: Parameters) -> None:
        self._first = {key: values[0] for key, values in parameters.items()}
        self._all = defaultdict(list, parameters)

    @property
    def data(self) -> dict[str, str]:
        return self._first

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return self._all


class _Request(OAuth2Request):  # type: ignore[misc]
    def __init__(self, method: str, parameters: Parameters, facts: Facts) -> None:
        super().__init__(method, ADDRESS)
        self.payload = _Payload(parameters)
        self.facts = facts

    @property
    def form(self) -> dict[str, str]:
        data: dict[str, str] = self.payload.data
        return data


# ---------------------------------------------------------------- the authorization code grant


class _Pkce(CodeChallenge):  # type: ignore[misc]
    """PKCE by S256 alone, which every request must have, compared in constant time."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def __init__(self) -> None:
        super().__init__(required=True)

        def matches(verifier: str, challenge: str) -> bool:
            made: str = create_s256_code_challenge(verifier)
            return hmac.compare_digest(made.encode(), challenge.encode())

        self.CODE_CHALLENGE_METHODS = {"S256": matches}

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if not data.get("code_challenge"):
            raise InvalidRequestError("Missing 'code_challenge': this server requires PKCE")
        if data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("The 'code_challenge_method' must be S256")
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge_method(self, authorization_code: _Code) -> str:
        return "S256"


class _Code:
    """An authorization code, as Authlib asks about it."""

    def __init__(self, row: Authorization) -> None:
        self.row = row
        self.code_challenge = row.code_challenge

    def get_redirect_uri(self) -> str:
        return self.row.redirect_uri

    def get_scope(self) -> str:
        return self.row.scope


class _AuthorizationCode(authlib_grants.AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    @staticmethod
    def validate_authorization_redirect_uri(request: _Request, client: Client) -> str:
        uri: str | None = request.payload.redirect_uri
        if not uri or not client.check_redirect_uri(uri):
            raise InvalidRequestError("The redirect_uri is none that the client has registered")
        return uri

    def query_authorization_code(self, code: str, client: Client) -> _Code | None:
        facts: Facts = self.request.facts
        row = facts.authorization
        if (
            row is None
            or row.client_id != client.client_id
            or row.used_at is not None
            or (row.code_expires_at or 0) <= facts.now
        ):
            return None
        return _Code(row)

    def authenticate_user(self, authorization_code: _Code) -> str | None:
        return authorization_code.row.user_id

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        """The caller notes its use, also where it has failed."""


# ---------------------------------------------------------------- refreshing, and devices


class _Refreshable:
    """A refresh token, as Authlib asks about it."""

    def __init__(self, row: RefreshToken) -> None:
        self.row = row

    def check_client(self, client: Client) -> bool:
        return self.row.client_id == client.client_id

    def get_scope(self) -> str:
        return self.row.scope or ""


class _Refresh(authlib_grants.RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> _Refreshable | None:
        row: RefreshToken | None = self.request.facts.refresh_token
        return _Refreshable(row) if row is not None else None

    def authenticate_user(self, refresh_token: _Refreshable) -> str:
        return refresh_token.row.user_id

    def revoke_old_credential(self, refresh_token: _Refreshable) -> None:
        """It goes with the first use of the new one: the answer may have been lost."""


class _Credential:
    """A device code, as Authlib asks about it."""

    def __init__(self, row: DeviceCode, now: int) -> None:
        self.row = row
        self._now = now

    def get_client_id(self) -> str:
        return self.row.client_id

    def get_scope(self) -> str:
        return self.row.scope

    def get_user_code(self) -> str:
        return self.row.grant_id

    def is_expired(self) -> bool:
        return self.row.expires_at <= self._now


class _Device(DeviceCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def query_device_credential(self, device_code: str) -> _Credential:
        facts: Facts = self.request.facts
        if facts.device_code is None:
            raise InvalidGrantError("The device_code is not known, or was used before")
        return _Credential(facts.device_code, facts.now)

    def query_user_grant(self, user_code: str) -> tuple[str | None, bool] | None:
        row: DeviceCode = self.request.facts.device_code
        return (row.user_id, row.granted) if row.granted is not None else None

    def should_slow_down(self, credential: _Credential) -> bool:
        return too_fast(credential.row, self.request.facts.now)


def too_fast(code: DeviceCode, now: int) -> bool:
    """Whether a client asks again before its time."""
    return code.polled_at is not None and now < code.polled_at + code.interval_seconds * 1000


# ---------------------------------------------------------------- the server


class _Server(AuthorizationServer):  # type: ignore[misc]
    """Authlib's authorization server for one request: it knows the one client that asks."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._facts = facts
        self.register_grant(_AuthorizationCode, [_Pkce()])
        self.register_grant(_Refresh)
        self.register_grant(_Device)

    def query_client(self, client_id: str) -> Client | None:
        client = self._facts.client
        return client if client is not None and client.client_id == client_id else None

    def create_oauth2_request(self, request: _Request) -> _Request:
        return request

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def validate_requested_scope(self, scope: str | None) -> None:
        parse_scope(scope)


def check_authorization_request(parameters: Parameters, client: Client | None) -> Scope:
    """Judge an authorization request; what it asks for.

    Raises Authlib's :class:`OAuth2Error`; with a ``redirect_uri`` if the client may be told there.
    """
    kinds = parameters.get("response_type", [])
    if kinds != ["code"]:
        uri = (parameters.get("redirect_uri") or [""])[0]
        known = client is not None and client.check_redirect_uri(uri)
        raise UnsupportedResponseTypeError(
            "something else", "It must be code", redirect_uri=uri if known else None
        )
    facts = Facts(client)
    grant = _Server(facts).get_consent_grant(_Request("GET", parameters, facts))
    state = grant.request.payload.state
    if state is not None and len(state) > MAX_STATE_LENGTH:
        raise InvalidRequestError("The state is too long", redirect_uri=grant.redirect_uri)
    return parse_scope(grant.request.payload.scope)


def check_token_request(parameters: Parameters, facts: Facts) -> str:
    """Judge a token request; whom it is for.  Raises Authlib's :class:`OAuth2Error`."""
    for name, values in parameters.items():
        if len(values) > 1:
            # RFC 6749, section 3.2; what a name may be in a description is restricted.
            shown = name if name.isidentifier() and name.isascii() else "A parameter"
            raise InvalidRequestError(f"{shown} is there more than once")
    request = _Request("POST", parameters, facts)
    grant = _Server(facts).get_token_grant(request)
    grant.validate_token_request()
    user_id = request.user
    if user_id is None:
        credential = request.authorization_code or request.refresh_token
        user_id = grant.authenticate_user(credential)
    if not isinstance(user_id, str):
        raise InvalidGrantError("Nobody has granted this")
    if facts.refresh_token is not None:
        _check_same_scope(request.payload.scope, facts.refresh_token.scope or "")
    return user_id


def _check_same_scope(asked: str | None, granted: str) -> None:
    """All of the scope or none: a device with half of it would be no Matrix client."""
    if asked and set(asked.split()) != set(granted.split()):
        raise InvalidScopeError("The scope of a session cannot be changed")


__all__ = [
    "Facts",
    "OAuth2Error",
    "Parameters",
    "check_authorization_request",
    "check_token_request",
    "too_fast",
]
