"""Device lists of our users.  Spec: server-server API, device management."""

from __future__ import annotations

from aiohttp import web

from federation.routes.base import FederationRoutes
from federation.server import ORIGIN
from homeserver.app_keys import CONSENT_ACCESS, END_TO_END_KEYS
from homeserver.services.end_to_end_keys import no_devices
from homeserver.web import json_response

routes = FederationRoutes()


@routes.get("/v1/user/devices/{user_id}")
async def get_user_devices(request: web.Request) -> web.Response:
    """A local user's devices with their keys.  Spec: ``GET /user/devices/{userId}``."""
    user_id = request.match_info["user_id"]
    if not await request.app[CONSENT_ACCESS].may_look_up(user_id, by=request[ORIGIN]):
        return json_response(no_devices(user_id))  # as for an unknown user
    return json_response(await request.app[END_TO_END_KEYS].user_devices(user_id))
