"""What this server lets its users do.  Spec: client-server API, capabilities negotiation."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import CONFIG, OAUTH_TOKENS
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.web import json_response

routes = ClientRoutes()

ENABLED, DISABLED = {"enabled": True}, {"enabled": False}


@routes.get("/capabilities")
async def get_capabilities(request: web.Request) -> web.Response:
    """The capabilities of this server."""
    requester = await require_user(request)
    tokens = request.app[OAUTH_TOKENS]
    # What needs a password is done on the account pages by clients that never see one.
    by_pages = await tokens.uses_oauth(requester.user_id, requester.device_id)
    capabilities: dict[str, Any] = {
        "m.room_versions": {
            "default": request.app[CONFIG].rooms.default_version,
            "available": dict.fromkeys(ROOM_VERSIONS, "stable"),
        },
        "m.change_password": DISABLED if by_pages else ENABLED,
        "m.get_login_token": DISABLED if by_pages else ENABLED,
        "m.profile_fields": ENABLED,
        "m.set_displayname": ENABLED,
        "m.set_avatar_url": ENABLED,
        "m.3pid_changes": DISABLED,
        "m.forget_forced_upon_leave": DISABLED,
    }
    limits = request.app[CONFIG].scheduling
    for name in ("m.delayed_events", "org.matrix.msc4140.delayed_events"):
        capabilities[name] = {
            "max_delay_ms": limits.max_delay_ms,
            "max_scheduled": limits.max_per_user,
        }
    return json_response({"capabilities": capabilities})
