"""What this server lets its users do.  Spec: client-server API, capabilities negotiation."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import ACCOUNT_STANDING, CONFIG, MAILER, OAUTH_TOKENS
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.web import json_response

routes = ClientRoutes()

ENABLED, DISABLED = {"enabled": True}, {"enabled": False}
GUEST_CAPABILITIES = {
    "m.change_password": DISABLED,
    "m.get_login_token": DISABLED,
    "m.set_avatar_url": DISABLED,
    "m.profile_fields": {"enabled": True, "allowed": ["displayname"]},
    "m.3pid_changes": DISABLED,
}


@routes.get("/capabilities")
async def get_capabilities(request: web.Request) -> web.Response:
    """The capabilities of this server."""
    requester = await require_user(request)
    tokens = request.app[OAUTH_TOKENS]
    # What needs a password is done on the account pages by clients that never see one.
    by_pages = await tokens.uses_oauth(requester.user_id, requester.device_id)
    suspended = request.app[ACCOUNT_STANDING].is_suspended(requester.user_id)
    profile = DISABLED if suspended else ENABLED
    mails = request.app[MAILER].enabled
    capabilities: dict[str, Any] = {
        "m.room_versions": {
            "default": request.app[CONFIG].rooms.default_version,
            "available": dict.fromkeys(ROOM_VERSIONS, "stable"),
        },
        "m.change_password": DISABLED if by_pages else ENABLED,
        "m.get_login_token": DISABLED if by_pages else ENABLED,
        "m.profile_fields": profile,
        "m.set_displayname": profile,
        "m.set_avatar_url": profile,
        "m.3pid_changes": ENABLED if mails and not by_pages else DISABLED,
        "m.forget_forced_upon_leave": DISABLED,
    }
    if requester.admin:
        capabilities["m.account_moderation"] = {"lock": True, "suspend": True}
    if requester.guest:
        capabilities |= GUEST_CAPABILITIES
    limits = request.app[CONFIG].scheduling
    for name in ("m.delayed_events", "org.matrix.msc4140.delayed_events"):
        capabilities[name] = {
            "max_delay_ms": limits.max_delay_ms,
            "max_scheduled": limits.max_per_user,
        }
    return json_response({"capabilities": capabilities})
