"""Reports of messages, rooms and users.  Spec: client-server API, reporting content."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.matrix.parsing import path_room_id, path_user_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import RATE_LIMITS, REPORTS
from homeserver.errors import InvalidParam
from homeserver.services.moderation_queue import MAX_NOTE_LENGTH
from homeserver.services.requester import Requester
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()

V3_ONLY = ("v3",)


async def _reporter(request: web.Request) -> Requester:
    requester = await require_user(request)
    request.app[RATE_LIMITS].check("report", requester.user_id)
    return requester


def _checked(reason: str) -> str:
    if len(reason) > MAX_NOTE_LENGTH:
        raise InvalidParam(f"The reason may have at most {MAX_NOTE_LENGTH} characters")
    return reason


@routes.post("/rooms/{room_id}/report/{event_id}")
async def report_event(request: web.Request) -> web.Response:
    """Report a message of a joined room."""
    requester = await _reporter(request)
    body = await read_json(request)
    reason = _checked(optional(body, "reason", str) or "")
    await request.app[REPORTS].report_event(
        requester.user_id, path_room_id(request), request.match_info["event_id"], reason
    )
    return json_response({})


@routes.post("/rooms/{room_id}/report", versions=V3_ONLY)
async def report_room(request: web.Request) -> web.Response:
    """Report a room."""
    requester = await _reporter(request)
    reason = _checked(required(await read_json(request), "reason", str))
    await request.app[REPORTS].report_room(requester.user_id, path_room_id(request), reason)
    return json_response({})


@routes.post("/users/{user_id}/report", versions=V3_ONLY)
async def report_user(request: web.Request) -> web.Response:
    """Report a user."""
    requester = await _reporter(request)
    reason = _checked(required(await read_json(request), "reason", str))
    await request.app[REPORTS].report_user(requester.user_id, path_user_id(request), reason)
    return json_response({})
