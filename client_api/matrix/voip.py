"""Relays of calls.  Spec: client-server API, voice over IP."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import RATE_LIMITS, TURN
from homeserver.web import json_response

routes = ClientRoutes()


@routes.get("/voip/turnServer")
async def get_turn_server(request: web.Request) -> web.Response:
    """Credentials for TURN servers; nothing where the instance has none."""
    requester = await require_user(request)
    request.app[RATE_LIMITS].check("turn", requester.user_id)
    found = request.app[TURN].credentials(requester.user_id)
    if found is None:
        return json_response({})
    return json_response(
        {
            "username": found.username,
            "password": found.password,
            "uris": list(found.uris),
            "ttl": found.ttl_seconds,
        }
    )
