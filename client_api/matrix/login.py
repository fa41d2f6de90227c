"""Logging in and out.  Spec: client-server API, login, refreshing access tokens."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.auth import (
    authenticate_interactively,
    origin,
    refuse_oauth,
    require_app_service,
    require_user,
)
from client_api.matrix import parsing
from client_api.routing import V1, ClientRoutes
from homeserver.app_keys import (
    APP_SERVICES,
    CONFIG,
    DEVICES,
    JWT_LOGIN,
    OIDC_LOGINS,
    PASSWORD_LOGIN,
    RATE_LIMITS,
    SESSIONS,
    THIRD_PARTY_IDS,
)
from homeserver.callers import caller_key
from homeserver.errors import Forbidden, MatrixError, UnknownToken
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.appservices.registration import AppService
from homeserver.services.sessions import Tokens
from homeserver.services.sign_in.proofs import JWT, SSO
from homeserver.services.usernames import identified_address, identified_user
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()

PASSWORD, TOKEN = "m.login.password", "m.login.token"
APP_SERVICE = "m.login.application_service"


@routes.get("/login")
async def get_login_flows(request: web.Request) -> web.Response:
    """The ways to log in."""
    flows: list[JsonObject] = [{"type": PASSWORD}, {"type": TOKEN, "get_login_token": True}]
    if request.app[APP_SERVICES].all:
        flows.append({"type": APP_SERVICE})
    if request.app[JWT_LOGIN].enabled:
        flows.append({"type": JWT})
    if sso := _sso_flow(request):
        flows.append({"type": SSO, **sso})
    return json_response({"flows": flows})


def _sso_flow(request: web.Request) -> JsonObject:
    """What is said of SSO; nothing where there is none.

    With OAuth 2.0 clients that know of it are asked to use the account pages, which have all ways
    in.  Spec: client-server API, OAuth 2.0 aware clients.
    """
    flow: JsonObject = {}
    if providers := request.app[OIDC_LOGINS].providers.values():
        flow["identity_providers"] = [
            {"id": p.settings.id, "name": p.settings.name}
            | ({"brand": p.settings.brand} if p.settings.brand is not None else {})
            for p in providers
        ]
    if request.app[CONFIG].oauth.enabled:
        flow["oauth_aware_preferred"] = True
        flow["org.matrix.msc3824.delegated_oidc_compatibility"] = True
    return flow


@routes.post("/login")
async def login(request: web.Request) -> web.Response:
    """Log in with a password, with a token that another client asked for, or an application's."""
    body = await read_json(request)
    kind = required(body, "type", str)
    action = "token_login" if kind == JWT else "login"
    if kind != APP_SERVICE:
        request.app[RATE_LIMITS].check(action, caller_key(request))
    if kind == APP_SERVICE:
        user_id = await _check_service(request, body)
    elif kind == PASSWORD:
        user_id = await _check_password(request, body)
    elif kind == TOKEN:
        user_id = await request.app[SESSIONS].use_login_token(required(body, "token", str))
    elif kind == JWT and request.app[JWT_LOGIN].enabled:
        user_id = await request.app[JWT_LOGIN].sign_in(required(body, "token", str))
    else:
        raise MatrixError(f"This server has no way to log in by '{kind}'")

    tokens = await request.app[SESSIONS].log_in(
        user_id,
        device_id=parsing.device_id(body),
        display_name=parsing.device_name(body, "initial_device_display_name"),
        refreshable=bool(optional(body, "refresh_token", bool)),
        origin=origin(request),
    )
    return json_response(logged_in(request, tokens))


async def _check_service(request: web.Request, body: JsonObject) -> UserId:
    """An application service logs in as one of its users.

    Raises :class:`Forbidden` for the token of somebody else.  Spec: appservice login.
    """
    try:
        service = require_app_service(request)
    except UnknownToken as error:
        raise Forbidden(error.text) from error
    check_may_log_in(service)
    named = identified_user(body, request.app[CONFIG].server_name)
    return await request.app[APP_SERVICES].check_login(service, named)


def check_may_log_in(service: AppService) -> None:
    """Refuse tokens to an application service that says it manages devices without (MSC4190)."""
    if service.manages_devices:
        raise MatrixError(
            "This application service makes devices without logging in: use inhibit_login",
            errcode="M_APPSERVICE_LOGIN_UNSUPPORTED",
        )


async def _check_password(request: web.Request, body: JsonObject) -> UserId:
    password = required(body, "password", str)
    named = await request.app[THIRD_PARTY_IDS].identified(body)
    return await request.app[PASSWORD_LOGIN].sign_in(
        named, password, address=identified_address(body)
    )


def logged_in(request: web.Request, tokens: Tokens) -> dict[str, Any]:
    """What a client that is logged in is told."""
    return {
        "user_id": tokens.user_id,
        "device_id": tokens.device_id,
        "home_server": tokens.user_id.server_name,
        "well_known": {"m.homeserver": {"base_url": request.app[CONFIG].public_base_url}},
        **token_fields(tokens),
    }


def token_fields(tokens: Tokens) -> dict[str, Any]:
    """Tokens as a client is given them."""
    fields: dict[str, Any] = {"access_token": tokens.access_token}
    if tokens.refresh_token is not None:
        fields["refresh_token"] = tokens.refresh_token
        fields["expires_in_ms"] = tokens.expires_in_ms
    return fields


@routes.post("/refresh")
async def refresh(request: web.Request) -> web.Response:
    """Change a refresh token for new tokens."""
    body = await read_json(request)
    tokens = await request.app[SESSIONS].refresh(required(body, "refresh_token", str))
    return json_response(token_fields(tokens))


@routes.post("/login/get_token", versions=V1)
async def generate_login_token(request: web.Request) -> web.Response:
    """A token with which another client can log in once."""
    requester = await require_user(request)
    body = await read_json(request, optional=True)
    try:
        await refuse_oauth(request, requester)
    except Forbidden as error:  # spec: 400 for who has no ability to make one
        raise Forbidden(error.text, status=400) from error
    await authenticate_interactively(request, body, requester)
    request.app[RATE_LIMITS].check("login_token", requester.user_id)

    token, expires_in_ms = await request.app[SESSIONS].new_login_token(requester.user_id)
    return json_response({"login_token": token, "expires_in_ms": expires_in_ms})


@routes.post("/logout")
async def logout(request: web.Request) -> web.Response:
    """Log out, and delete the device."""
    requester = await require_user(request, locked=True)
    if requester.device_id is None:
        raise Forbidden("This access token belongs to no device: there is nothing to log out of")
    await request.app[DEVICES].remove(requester.user_id, [requester.device_id])
    return json_response({})


@routes.post("/logout/all")
async def logout_all(request: web.Request) -> web.Response:
    """Log out everywhere, and delete all devices."""
    requester = await require_user(request, locked=True)
    await request.app[DEVICES].remove_all(requester.user_id)
    await request.app[SESSIONS].revoke(requester.user_id, None)
    return json_response({})
