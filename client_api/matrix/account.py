"""One's own account.  Spec: client-server API, account management, current account information."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import (
    authenticate_interactively,
    find_user,
    require_user,
)
from client_api.routing import ClientRoutes
from homeserver.app_keys import ACCOUNTS, APP_SERVICES, RATE_LIMITS
from homeserver.callers import caller_key
from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.interactive_auth import user_of_results
from homeserver.services.passwords import check_strength
from homeserver.services.requester import Requester
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


async def _owner(request: web.Request, body: JsonObject, requester: Requester | None) -> UserId:
    """Whose account is changed: the caller's, or without a token theirs who gave the password."""
    if requester is not None and requester.app_service is not None:
        if request.app[APP_SERVICES].owner(requester.user_id) is not requester.app_service:
            raise Forbidden("This account is not the application service's alone")
        return requester.user_id
    action = "login" if body.get("auth") else "challenge"
    request.app[RATE_LIMITS].check(action, caller_key(request))
    results = await authenticate_interactively(request, body, requester)
    user_id = requester.user_id if requester is not None else user_of_results(results)
    if user_id is None:
        raise Forbidden("Log in, or give your user name and password")
    return user_id


@routes.post("/account/password")
async def change_password(request: web.Request) -> web.Response:
    """Change the password; the other devices are logged out unless the client says otherwise."""
    requester = await find_user(request)
    body = await read_json(request)
    new_password = required(body, "new_password", str)
    check_strength(new_password)
    logout_devices = bool(optional(body, "logout_devices", bool, True))
    user_id = await _owner(request, body, requester)

    await request.app[ACCOUNTS].set_password(
        user_id,
        new_password,
        keep_device=requester.device_id if requester is not None else None,
        logout_devices=logout_devices,
    )
    return json_response({})


@routes.post("/account/deactivate")
async def deactivate_account(request: web.Request) -> web.Response:
    """End the account for ever."""
    requester = await find_user(request)
    body = await read_json(request, optional=True)
    erase = bool(optional(body, "erase", bool))
    user_id = await _owner(request, body, requester)

    await request.app[ACCOUNTS].deactivate(user_id, erase=erase)
    return json_response({"id_server_unbind_result": "success"})


# ---------------------------------------------------------------- third-party identifiers


class ThirdPartyDenied(MatrixError):
    """E-mail addresses and telephone numbers cannot be bound to accounts here."""

    errcode, status = "M_THREEPID_DENIED", 403

    def __init__(self) -> None:
        super().__init__("This server binds no e-mail addresses or telephone numbers to accounts")


@routes.get("/account/3pid")
async def get_account_3pids(request: web.Request) -> web.Response:
    """The e-mail addresses and telephone numbers bound to the account: none."""
    await require_user(request)
    return json_response({"threepids": []})


@routes.post("/account/3pid")
@routes.post("/account/3pid/add")
@routes.post("/account/3pid/bind")
async def add_3pid(request: web.Request) -> web.Response:
    """Bind an e-mail address or a telephone number: refused."""
    await require_user(request)
    raise ThirdPartyDenied()


@routes.post("/account/3pid/delete")
@routes.post("/account/3pid/unbind")
async def delete_3pid(request: web.Request) -> web.Response:
    """Forget one: none is known, to an identity server neither."""
    await require_user(request)
    await read_json(request)
    return json_response({"id_server_unbind_result": "no-support"})


@routes.post("/account/3pid/email/requestToken")
@routes.post("/account/3pid/msisdn/requestToken")
@routes.post("/account/password/email/requestToken")
@routes.post("/account/password/msisdn/requestToken")
@routes.post("/register/email/requestToken")
@routes.post("/register/msisdn/requestToken")
async def request_token(_request: web.Request) -> web.Response:
    """Have a validation message sent: refused."""
    raise ThirdPartyDenied()
