"""Presence.  Spec: client-server API, presence."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_self, require_user
from client_api.matrix.parsing import user_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import PRESENCE
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()


@routes.put("/presence/{user_id}/status")
async def set_presence(request: web.Request) -> web.Response:
    """Say how one is.  Spec: ``PUT /presence/{userId}/status``."""
    requester = await require_user(request)
    require_self(requester, user_id(request.match_info["user_id"]))
    body = await read_json(request)
    await request.app[PRESENCE].set_status(
        requester.user_id, required(body, "presence", str), optional(body, "status_msg", str)
    )
    return json_response({})


@routes.get("/presence/{user_id}/status")
async def get_presence(request: web.Request) -> web.Response:
    """How somebody is.  Spec: ``GET /presence/{userId}/status``."""
    requester = await require_user(request)
    target = user_id(request.match_info["user_id"])
    return json_response(await request.app[PRESENCE].get(requester.user_id, target))
