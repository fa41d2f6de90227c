"""What clients call: metadata, registration, tokens, revocation, device authorization.

Errors are those of OAuth, not of Matrix.  Spec: client-server API, OAuth 2.0 API.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web
from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, OAuth2Error

from client_api.auth import origin
from homeserver.app_keys import (
    CONFIG,
    DEVICE_CODES,
    ID_TOKENS,
    OAUTH_CLIENTS,
    OAUTH_TOKENS,
    RATE_LIMITS,
    REGISTRATION,
)
from homeserver.callers import caller_key
from homeserver.errors import Forbidden, LimitExceeded, MatrixError, UserLocked
from homeserver.services.oauth.errors import TemporarilyUnavailable
from homeserver.services.oauth.metadata import ENDPOINTS, issuer_of, server_metadata
from homeserver.web import Handler, json_response, read_form_fields, read_json

routes = web.RouteTableDef()

NO_STORE = {hdrs.CACHE_CONTROL: "no-store", hdrs.PRAGMA: "no-cache"}
FORM = "application/x-www-form-urlencoded"
METADATA_PATHS = (
    "/_matrix/client/v1/auth_metadata",
    "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
)


def oauth_errors(handler: Handler) -> Handler:
    """Tell failures as OAuth does.  RFC 6749, section 5.2."""

    @functools.wraps(handler)
    async def wrapped(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except LimitExceeded as error:
            answer = _refusal(TemporarilyUnavailable("Too many requests: try again later"))
            answer.headers[hdrs.RETRY_AFTER] = str(-(-error.extra["retry_after_ms"] // 1000))
            return answer
        except (
            UserLocked
        ) as error:  # who logs in; a refresh goes on, lest clients forget their keys
            return _refusal(InvalidGrantError(error.text))
        except OAuth2Error as error:
            return _refusal(error)

    return wrapped


def _refusal(error: OAuth2Error) -> web.Response:
    response = json_response(dict(error.get_body()), status=error.status_code)
    response.headers.update(NO_STORE)
    return response


def _answer(body: Mapping[str, Any], status: int = 200) -> web.Response:
    response = json_response(body, status=status)
    response.headers.update(NO_STORE)
    return response


async def form_parameters(request: web.Request) -> dict[str, list[str]]:
    """A form's fields, each as often as it is there; empty ones count as absent.

    Raises Authlib's :class:`InvalidRequestError`.
    """
    if request.content_type != FORM:
        raise InvalidRequestError(f"The body must be {FORM}")
    try:
        fields = await read_form_fields(request)
    except MatrixError as error:
        raise InvalidRequestError(error.text) from error
    given = {key: [value for value in values if value] for key, values in fields.items()}
    return {key: values for key, values in given.items() if values}


# ---------------------------------------------------------------- discovery


def can_sign_up(request: web.Request) -> bool:
    """Whether newcomers can make an account here."""
    try:
        request.app[REGISTRATION].flows()
    except Forbidden:
        return False
    return True


async def get_auth_metadata(request: web.Request) -> web.Response:
    """What this authorization server can do.  Spec: ``GET /auth_metadata``; RFC 8414."""
    base = request.app[CONFIG].public_base_url
    response = json_response(server_metadata(base, sign_up=can_sign_up(request)))
    response.headers[hdrs.CACHE_CONTROL] = "public, max-age=300"
    return response


for _path in METADATA_PATHS:
    routes.get(_path)(get_auth_metadata)


@routes.get("/_matrix/client/unstable/org.matrix.msc2965/auth_issuer")
async def get_auth_issuer(request: web.Request) -> web.Response:
    """Where the metadata are, for clients from before ``/auth_metadata``.  MSC2965."""
    return json_response({"issuer": issuer_of(request.app[CONFIG].public_base_url)})


@routes.get(f"{ENDPOINTS}/keys")
async def get_keys(request: web.Request) -> web.Response:
    """The keys with which ID tokens are signed.  OpenID Connect Discovery, section 3."""
    response = json_response(await request.app[ID_TOKENS].key_set())
    response.headers[hdrs.CACHE_CONTROL] = "public, max-age=300"
    return response


# ---------------------------------------------------------------- what clients call


@routes.post(f"{ENDPOINTS}/register")
@oauth_errors
async def register_client(request: web.Request) -> web.Response:
    """Register a client.  RFC 7591."""
    request.app[RATE_LIMITS].check("oauth_registration", caller_key(request))
    try:
        document = await read_json(request)
    except MatrixError as error:
        from authlib.oauth2.rfc7591 import InvalidClientMetadataError

        raise InvalidClientMetadataError("The body must be a JSON object") from error
    return _answer(await request.app[OAUTH_CLIENTS].register(document), status=201)


@routes.post(f"{ENDPOINTS}/token")
@oauth_errors
async def exchange_tokens(request: web.Request) -> web.Response:
    """Give out tokens for a code, a refresh token or a device code."""
    request.app[RATE_LIMITS].check("oauth_token", caller_key(request))
    parameters = await form_parameters(request)
    return _answer(await request.app[OAUTH_TOKENS].exchange(parameters, origin(request)))


@routes.post(f"{ENDPOINTS}/revoke")
@oauth_errors
async def revoke_token(request: web.Request) -> web.Response:
    """End the session of a token.  RFC 7009."""
    request.app[RATE_LIMITS].check("oauth_token", caller_key(request))
    await request.app[OAUTH_TOKENS].revoke(await form_parameters(request))
    return _answer({})


@routes.post(f"{ENDPOINTS}/device")
@oauth_errors
async def authorize_device(request: web.Request) -> web.Response:
    """Begin to log in a device that has no browser.  RFC 8628."""
    request.app[RATE_LIMITS].check("oauth_registration", caller_key(request))
    parameters = await form_parameters(request)
    return _answer(await request.app[DEVICE_CODES].begin(parameters, origin(request)))
