"""Filters.  Spec: client-server API, filtering."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_self, require_user
from client_api.matrix.parsing import path_user_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import FILTERS
from homeserver.web import json_response, read_json

routes = ClientRoutes()


@routes.post("/user/{user_id}/filter")
async def define_filter(request: web.Request) -> web.Response:
    """Store a filter for later syncs."""
    requester = await require_user(request)
    require_self(requester, path_user_id(request))
    definition = await read_json(request)

    filter_id = await request.app[FILTERS].create(requester.user_id, definition)
    return json_response({"filter_id": filter_id})


@routes.get("/user/{user_id}/filter/{filter_id}")
async def get_filter(request: web.Request) -> web.Response:
    """A filter stored before."""
    requester = await require_user(request)
    require_self(requester, path_user_id(request))

    definition = await request.app[FILTERS].get(requester.user_id, request.match_info["filter_id"])
    return json_response(definition)
