"""What a user may know of another instance: whether this one talks to it, and if not, why."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.comity.routing import ComityRoutes
from homeserver.app_keys import POLICY_LISTS, SERVER_ADMISSION, SERVER_BLOCKS
from homeserver.errors import InvalidParam
from homeserver.protocol.server_names import is_valid_server_name
from homeserver.web import json_response

routes = ComityRoutes()


@routes.get("/servers/{server_name}")
async def describe_server(request: web.Request) -> web.Response:
    """Whether an instance is blocked here, why, since when, and by which list."""
    await require_user(request)
    server_name = request.match_info["server_name"]
    if not is_valid_server_name(server_name):
        raise InvalidParam("That is not a server name")

    block = request.app[SERVER_BLOCKS].is_blocked(server_name)
    if block is None:
        if request.app[SERVER_ADMISSION].allows(server_name):
            return json_response({"blocked": False})
        return json_response({"blocked": True, "reason": "", "source": "configuration"})
    answer = {
        "blocked": True,
        "reason": block.reason,
        "source": block.source,
        "since": block.created_at,
        "expires_at": block.expires_at,
    }
    policy_list = request.app[POLICY_LISTS].by_source(block.source)
    if policy_list is not None:
        answer["list"] = {"room_id": policy_list.row.room_id, "name": policy_list.shown_name}
    return json_response(answer)
