"""One's own account.  Spec: client-server API, account management, current account information."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import (
    authenticate_interactively,
    find_user,
    require_user,
)
from client_api.routing import ClientRoutes
from homeserver.app_keys import (
    ACCOUNT_STANDING,
    ACCOUNTS,
    APP_SERVICES,
    RATE_LIMITS,
    THIRD_PARTY_BINDINGS,
    THIRD_PARTY_IDS,
)
from homeserver.callers import caller_key
from homeserver.errors import Forbidden, UserLocked
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.interactive_auth import EMAIL_IDENTITY, Flows, user_of_results
from homeserver.services.passwords import check_strength
from homeserver.services.requester import Requester
from homeserver.services.sign_in.proofs import PASSWORD_FLOWS
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()


@routes.get("/account/whoami")
async def whoami(request: web.Request) -> web.Response:
    """Whose access token it is."""
    requester = await require_user(request)
    answer: JsonObject = {"user_id": requester.user_id, "is_guest": requester.guest}
    if requester.device_id is not None:
        answer["device_id"] = requester.device_id
    return json_response(answer)


async def _owner(
    request: web.Request,
    body: JsonObject,
    requester: Requester | None,
    *,
    flows: Flows = PASSWORD_FLOWS,
) -> UserId:
    """Whose account is changed: the caller's, or without a token theirs who gave the proof.

    ``flows``: what is a proof without a token.
    """
    if requester is not None and requester.app_service is not None:
        if request.app[APP_SERVICES].owner(requester.user_id) is not requester.app_service:
            raise Forbidden("This account is not the application service's alone")
        return requester.user_id
    auth = optional(body, "auth", dict) or {}
    # Clients ask again and again until an address is confirmed: no guesses.
    guess = auth.get("type") not in (None, EMAIL_IDENTITY)
    request.app[RATE_LIMITS].check("login" if guess else "challenge", caller_key(request))
    results = await authenticate_interactively(
        request, body, requester, flows=flows if requester is None else None
    )
    user_id = requester.user_id if requester is not None else user_of_results(results)
    if requester is None and user_id is None and EMAIL_IDENTITY in results:
        user_id = await request.app[THIRD_PARTY_IDS].owner_for_reset(results[EMAIL_IDENTITY])
    if user_id is None:
        raise Forbidden("Log in, or give your user name and password")
    if request.app[ACCOUNT_STANDING].is_locked(user_id):
        raise UserLocked()
    return user_id


@routes.post("/account/password")
async def change_password(request: web.Request) -> web.Response:
    """Change the password; the other devices are logged out unless the client says otherwise."""
    requester = await find_user(request)
    body = await read_json(request)
    new_password = required(body, "new_password", str)
    check_strength(new_password)
    logout_devices = bool(optional(body, "logout_devices", bool, True))
    addresses = request.app[THIRD_PARTY_IDS]
    flows = (*PASSWORD_FLOWS, (EMAIL_IDENTITY,)) if addresses.enabled else PASSWORD_FLOWS
    user_id = await _owner(request, body, requester, flows=flows)

    await request.app[ACCOUNTS].set_password(
        user_id,
        new_password,
        keep_device=requester.device_id if requester is not None else None,
        logout_devices=logout_devices,
    )
    await addresses.password_changed(user_id)
    return json_response({})


@routes.post("/account/deactivate")
async def deactivate_account(request: web.Request) -> web.Response:
    """End the account for ever."""
    requester = await find_user(request)
    body = await read_json(request, optional=True)
    erase = bool(optional(body, "erase", bool))
    id_server = optional(body, "id_server", str)
    user_id = await _owner(request, body, requester)

    unbound = True
    if id_server is not None:
        unbound = await request.app[THIRD_PARTY_BINDINGS].unbind_at(user_id, id_server)
    unbound = await request.app[ACCOUNTS].deactivate(user_id, erase=erase) and unbound
    return json_response({"id_server_unbind_result": "success" if unbound else "no-support"})
