"""What other instances are told of our spaces.  Spec: server-server API, spaces."""

from __future__ import annotations

from aiohttp import web

from federation.routes.base import FederationRoutes
from federation.server import ORIGIN
from homeserver.app_keys import HIERARCHIES
from homeserver.web import json_response, query_bool

routes = FederationRoutes()


@routes.get("/v1/hierarchy/{room_id}")
async def get_space_hierarchy(request: web.Request) -> web.Response:
    """A room, and the rooms right below it."""
    answer = await request.app[HIERARCHIES].for_server(
        request[ORIGIN],
        request.match_info["room_id"],
        suggested_only=query_bool(request, "suggested_only"),
    )
    return json_response(answer)
