"""Deleting messages for oneself alone."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.comity.routing import ComityRoutes
from client_api.matrix.parsing import path_room_id
from homeserver.app_keys import HIDDEN_EVENTS, RATE_LIMITS, TIMELINE
from homeserver.errors import InvalidParam
from homeserver.services.values import is_text
from homeserver.web import json_response, read_json, string_list

routes = ComityRoutes()


async def _event_ids(request: web.Request) -> list[str]:
    event_ids = list(dict.fromkeys(string_list(await read_json(request), "event_ids")))
    if not all(map(is_text, event_ids)):
        raise InvalidParam("'event_ids' must be a list of event IDs")
    return event_ids


@routes.post("/rooms/{room_id}/hide")
async def hide_events(request: web.Request) -> web.Response:
    """Hide events of a room from oneself, on all devices."""
    requester = await require_user(request)
    request.app[RATE_LIMITS].check("message", requester.user_id)
    room_id, event_ids = path_room_id(request), await _event_ids(request)
    reader = await request.app[TIMELINE].reader(room_id, requester.user_id)
    await request.app[HIDDEN_EVENTS].hide(reader, room_id, event_ids)
    return json_response({})


@routes.post("/rooms/{room_id}/unhide")
async def unhide_events(request: web.Request) -> web.Response:
    """Show events again that one hid."""
    requester = await require_user(request)
    request.app[RATE_LIMITS].check("message", requester.user_id)
    room_id, event_ids = path_room_id(request), await _event_ids(request)
    await request.app[HIDDEN_EVENTS].unhide(requester.user_id, room_id, event_ids)
    return json_response({})
