"""How long messages stay on this server.  Spec: MSC1763, retention."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import RETENTION
from homeserver.web import json_response

routes = ClientRoutes()

UNSTABLE = ("unstable/org.matrix.msc1763",)


@routes.get("/retention/configuration", versions=UNSTABLE)
async def get_retention_configuration(request: web.Request) -> web.Response:
    """The policy of rooms that have none of their own, and the limits on theirs."""
    await require_user(request)
    return json_response(request.app[RETENTION].configuration())
