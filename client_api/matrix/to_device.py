"""Send-to-device messages.  Spec: client-server API, send-to-device messaging."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import TO_DEVICE
from homeserver.web import json_response, read_json, required

routes = ClientRoutes()


@routes.put("/sendToDevice/{event_type}/{txn_id}")
async def send_to_device(request: web.Request) -> web.Response:
    """Send messages to devices.  Spec: ``PUT /sendToDevice/{eventType}/{txnId}``."""
    requester = await require_user(request)
    body = await read_json(request)
    await request.app[TO_DEVICE].send(
        requester.user_id,
        requester.device_id or "",
        request.match_info["event_type"],
        request.match_info["txn_id"],
        required(body, "messages", dict),
    )
    return json_response({})
