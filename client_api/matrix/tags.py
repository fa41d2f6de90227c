"""Tags of rooms.  Spec: client-server API, room tagging."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_self, require_user
from client_api.matrix.parsing import path_room_id, path_user_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import ROOM_TAGS
from homeserver.errors import BadJson
from homeserver.web import json_response, read_json

routes = ClientRoutes()


async def _user(request: web.Request) -> str:
    requester = await require_user(request)
    require_self(requester, path_user_id(request))
    return requester.user_id


@routes.get("/user/{user_id}/rooms/{room_id}/tags")
async def get_room_tags(request: web.Request) -> web.Response:
    """The tags that the user has given a room."""
    user_id = await _user(request)
    return json_response({"tags": await request.app[ROOM_TAGS].get(user_id, path_room_id(request))})


@routes.put("/user/{user_id}/rooms/{room_id}/tags/{tag}")
async def set_room_tag(request: web.Request) -> web.Response:
    """Give a room a tag, or another place among those with it."""
    user_id = await _user(request)
    about = await read_json(request, optional=True)
    order = about.get("order", 0)
    if isinstance(order, bool) or not isinstance(order, int | float):
        raise BadJson("'order' must be a number")
    tag = request.match_info["tag"]

    await request.app[ROOM_TAGS].put(user_id, path_room_id(request), tag, about)
    return json_response({})


@routes.delete("/user/{user_id}/rooms/{room_id}/tags/{tag}")
async def delete_room_tag(request: web.Request) -> web.Response:
    """Take a tag from a room."""
    user_id = await _user(request)

    await request.app[ROOM_TAGS].delete(user_id, path_room_id(request), request.match_info["tag"])
    return json_response({})
