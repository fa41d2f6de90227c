"""Receipts and read markers.  Spec: client-server API, receipts, read and unread markers."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.matrix.parsing import path_room_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import RECEIPTS
from homeserver.errors import InvalidParam
from homeserver.services.receipts import RECEIPT_TYPES
from homeserver.web import json_response, optional, read_json

routes = ClientRoutes()


@routes.post("/rooms/{room_id}/receipt/{receipt_type}/{event_id}")
async def post_receipt(request: web.Request) -> web.Response:
    """Mark what was read.  Spec: ``POST /rooms/{roomId}/receipt/{receiptType}/{eventId}``."""
    requester = await require_user(request)
    body = await read_json(request, optional=True)
    thread_id = body.get("thread_id")
    if "thread_id" in body and not isinstance(thread_id, str):
        raise InvalidParam("'thread_id' must be a non-empty string")
    await request.app[RECEIPTS].send(
        path_room_id(request),
        requester.user_id,
        request.match_info["receipt_type"],
        request.match_info["event_id"],
        thread_id,
    )
    return json_response({})


@routes.post("/rooms/{room_id}/read_markers")
async def set_read_marker(request: web.Request) -> web.Response:
    """Move several markers at once.  Spec: ``POST /rooms/{roomId}/read_markers``."""
    requester = await require_user(request)
    body = await read_json(request)
    markers = {
        receipt_type: event_id
        for receipt_type in RECEIPT_TYPES
        if (event_id := optional(body, receipt_type, str)) is not None
    }
    await request.app[RECEIPTS].set_markers(path_room_id(request), requester.user_id, markers)
    return json_response({})
