"""Relays and transports of calls.  Spec: client-server API, voice over IP; MSC4143."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import CONFIG, RATE_LIMITS, TURN
from homeserver.errors import NotFound, Unrecognized
from homeserver.web import json_response

routes = ClientRoutes()


@routes.get("/voip/turnServer")
async def get_turn_server(request: web.Request) -> web.Response:
    """Credentials for TURN servers; 404 where the instance has none."""
    requester = await require_user(request)
    request.app[RATE_LIMITS].check("turn", requester.user_id)
    found = request.app[TURN].credentials(requester.user_id)
    if found is None:
        raise NotFound("This server offers no relays for calls")
    return json_response(
        {
            "username": found.username,
            "password": found.password,
            "uris": list(found.uris),
            "ttl": found.ttl_seconds,
        }
    )


@routes.get("/rtc/transports", versions=("v1", "unstable/org.matrix.msc4143"))
async def get_rtc_transports(request: web.Request) -> web.Response:
    """What may carry a MatrixRTC call (MSC4143).

    Where there is nothing it is as if the endpoint were unknown: clients take an empty list for
    the answer, and do not look elsewhere.
    """
    await require_user(request)
    transports = request.app[CONFIG].voip.rtc_transports
    if not transports:
        raise Unrecognized("This server has no transports for MatrixRTC")
    return json_response({"rtc_transports": transports})
