"""Registration.  Spec: client-server API, account registration, and by token."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import authenticate_interactively, origin, require_app_service
from client_api.matrix import parsing
from client_api.matrix.login import APP_SERVICE, check_may_log_in, logged_in
from client_api.routing import V1, ClientRoutes
from homeserver.app_keys import APP_SERVICES, CONFIG, GUESTS, RATE_LIMITS, REGISTRATION, SESSIONS
from homeserver.callers import caller_key
from homeserver.errors import Forbidden, GuestForbidden, InvalidParam, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.interactive_auth import EMAIL_IDENTITY
from homeserver.services.passwords import check_strength
from homeserver.services.usernames import InvalidUsername, new_user_id
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()


@routes.post("/register")
async def register(request: web.Request) -> web.Response:
    """Make an account, and log in to it unless the client does not want to."""
    body = await read_json(request, optional=True)
    kind = request.query.get("kind", "user")
    if kind == "guest":
        return await _register_guest(request, body)
    if kind != "user":
        raise InvalidParam("'kind' must be user or guest")
    if body.get("type") == APP_SERVICE:
        return await _register_for_service(request, body)
    auth = optional(body, "auth", dict) or {}
    # Clients ask again and again until an address is confirmed.
    counted = auth.get("type") not in (None, EMAIL_IDENTITY)
    request.app[RATE_LIMITS].check("registration" if counted else "challenge", caller_key(request))
    registration = request.app[REGISTRATION]
    flows = registration.flows()
    guest = await _guest(request, body)
    user_id = await registration.check_available(optional(body, "username", str), guest)
    password = optional(body, "password", str)
    if password is not None:
        check_strength(password)
    device_id = parsing.device_id(body)
    device_name = parsing.device_name(body, "initial_device_display_name")
    results = await authenticate_interactively(
        request, body, None, flows=flows, params=registration.params()
    )
    if password is None:
        raise MissingParam("'password' is required")
    await registration.register(user_id, password, results, upgrade=guest is not None)
    if guest is not None:
        request.app[SESSIONS].forget(user_id)
    if optional(body, "inhibit_login", bool):
        return json_response({"user_id": user_id, "home_server": user_id.server_name})

    tokens = await request.app[SESSIONS].log_in(
        user_id,
        device_id=device_id,
        display_name=device_name,
        refreshable=bool(optional(body, "refresh_token", bool)),
        origin=origin(request),
    )
    return json_response(logged_in(request, tokens))


async def _register_guest(request: web.Request, body: JsonObject) -> web.Response:
    """Make a guest's account, and log in to it; of the body only the device's name counts."""
    if not request.app[GUESTS].enabled:
        raise GuestForbidden("This server has no guest accounts")
    request.app[RATE_LIMITS].check("registration", caller_key(request))
    name = parsing.device_name(body, "initial_device_display_name")
    user_id = await request.app[REGISTRATION].register_guest()
    tokens = await request.app[SESSIONS].log_in(user_id, display_name=name, origin=origin(request))
    return json_response(logged_in(request, tokens))


async def _guest(request: web.Request, body: JsonObject) -> UserId | None:
    """The guest who makes a user's account of theirs, if it is one.

    Spec: guest access, ``guest_access_token``.
    """
    token = optional(body, "guest_access_token", str)
    if token is None:
        return None
    requester = await request.app[SESSIONS].authenticate(token, lambda: origin(request))
    if not requester.guest:
        raise Forbidden("'guest_access_token' is no guest's")
    return requester.user_id


async def _register_for_service(request: web.Request, body: JsonObject) -> web.Response:
    """Make one of an application service's users; no password, no flows, no limit.

    Spec: application service API, server admin style permissions.
    """
    service = require_app_service(request)
    username = required(body, "username", str)
    inhibited = bool(optional(body, "inhibit_login", bool))
    if not inhibited:
        check_may_log_in(service)
    user_id = new_user_id(username, request.app[CONFIG].server_name)
    if username not in (user_id.localpart, user_id):
        raise InvalidUsername("A user name has no capital letters")
    await request.app[APP_SERVICES].register(service, user_id)
    if inhibited:
        return json_response({"user_id": user_id, "home_server": user_id.server_name})
    tokens = await request.app[SESSIONS].log_in(
        user_id,
        device_id=parsing.device_id(body),
        display_name=parsing.device_name(body, "initial_device_display_name"),
        refreshable=bool(optional(body, "refresh_token", bool)),
        origin=origin(request),
    )
    return json_response(logged_in(request, tokens))


@routes.get("/register/available")
async def check_username_availability(request: web.Request) -> web.Response:
    """Whether a user name could be registered."""
    request.app[RATE_LIMITS].check("availability", caller_key(request))
    username = request.query.get("username")
    if not username:
        raise MissingParam("'username' is required")
    await request.app[REGISTRATION].check_available(username)
    return json_response({"available": True})


@routes.get("/register/m.login.registration_token/validity", versions=V1)
async def registration_token_validity(request: web.Request) -> web.Response:
    """Whether a registration token would be accepted."""
    request.app[RATE_LIMITS].check("registration_token", caller_key(request))
    token = request.query.get("token")
    if token is None:
        raise MissingParam("'token' is required")
    valid = await request.app[REGISTRATION].is_token_valid(token)
    return json_response({"valid": valid})
