"""Pushers, and the list of notifications.  Spec: client-server API, push notifications."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import NOTIFICATIONS, PUSHERS
from homeserver.services.push.pushers import pusher_json
from homeserver.web import json_response, query_int, read_json

routes = ClientRoutes()

NOTIFICATIONS_AT_ONCE = 20


@routes.get("/pushers")
async def get_pushers(request: web.Request) -> web.Response:
    """The user's pushers."""
    requester = await require_user(request)
    pushers = request.app[PUSHERS].of(requester.user_id)
    return json_response({"pushers": [pusher_json(pusher) for pusher in pushers]})


@routes.post("/pushers/set")
async def set_pusher(request: web.Request) -> web.Response:
    """Add a pusher, change or remove it."""
    requester = await require_user(request)
    body = await read_json(request)

    await request.app[PUSHERS].set(requester, body)
    return json_response({})


@routes.get("/notifications")
async def get_notifications(request: web.Request) -> web.Response:
    """What the user was notified of, the newest first."""
    requester = await require_user(request)
    answer = await request.app[NOTIFICATIONS].get(
        requester,
        start=request.query.get("from"),
        limit=query_int(request, "limit", NOTIFICATIONS_AT_ONCE, least=1),
        only_highlights=request.query.get("only") == "highlight",
    )
    return json_response(answer)
