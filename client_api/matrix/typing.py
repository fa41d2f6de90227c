"""Typing notifications.  Spec: client-server API, typing notifications."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_self, require_user
from client_api.matrix.parsing import path_room_id, user_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import TYPING
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()


@routes.put("/rooms/{room_id}/typing/{user_id}")
async def set_typing(request: web.Request) -> web.Response:
    """Start or stop typing.  Spec: ``PUT /rooms/{roomId}/typing/{userId}``."""
    requester = await require_user(request)
    require_self(requester, user_id(request.match_info["user_id"]))
    body = await read_json(request)
    await request.app[TYPING].set_typing(
        path_room_id(request),
        requester.user_id,
        required(body, "typing", bool),
        optional(body, "timeout", int),
    )
    return json_response({})
