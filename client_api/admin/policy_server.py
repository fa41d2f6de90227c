"""This instance as a policy server: its key, and the rooms that are to use it."""

from __future__ import annotations

from aiohttp import web

from client_api.admin.routing import AdminRoutes, require_admin
from homeserver.app_keys import CONFIG, POLICY_APPOINTMENTS, POLICY_SIGNER
from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.web import json_response, optional, read_json

routes = AdminRoutes()


@routes.get("/policy_server")
async def show(request: web.Request) -> web.Response:
    """Whether this instance is a policy server, and the ``m.room.policy`` that appoints it."""
    await require_admin(request)
    signer = request.app[POLICY_SIGNER]
    return json_response({"enabled": signer.enabled, "content": signer.appointment_content})


@routes.post("/policy_server/rooms/{room_id}")
async def appoint(request: web.Request) -> web.Response:
    """Make this instance a room's policy server, as a local user with the power."""
    await require_admin(request)
    user_id = await _sender(request)
    answer = await request.app[POLICY_APPOINTMENTS].appoint(request.match_info["room_id"], user_id)
    return json_response(answer)


@routes.delete("/policy_server/rooms/{room_id}")
async def withdraw(request: web.Request) -> web.Response:
    """Have a room use this instance no longer."""
    await require_admin(request)
    user_id = await _sender(request)
    answer = await request.app[POLICY_APPOINTMENTS].withdraw(request.match_info["room_id"], user_id)
    return json_response(answer)


async def _sender(request: web.Request) -> UserId | None:
    """``user_id`` of the body: the local user in whose name it is done."""
    text = optional(await read_json(request, optional=True), "user_id", str)
    if text is None:
        return None
    try:
        user_id = UserId.parse(text)
    except InvalidIdentifier as error:
        raise InvalidParam("'user_id' must be a user ID") from error
    if user_id.server_name != request.app[CONFIG].server_name:
        raise InvalidParam("'user_id' must be a user of this server")
    return user_id
