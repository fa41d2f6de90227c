"""Telling users something in the server's own name.  See ``docs/rooms.md``."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.admin.routing import AdminRoutes, require_admin
from client_api.matrix.parsing import user_id_list
from homeserver.app_keys import SERVER_NOTICES
from homeserver.errors import InvalidParam, MatrixError, MissingParam
from homeserver.services.server_notices.notices import Notice, NoticesOff
from homeserver.web import json_response, optional, read_json, required

routes = AdminRoutes()

MOST_USERS = 100
LONGEST_TXN_ID = 255


@routes.post("/server_notices")
async def send_server_notice(request: web.Request) -> web.Response:
    """Send a notice to some users; for each what became of it."""
    await require_admin(request)
    body = await read_json(request)
    users = user_id_list(body, "user_ids")
    content = required(body, "content", dict)
    if not users:
        raise MissingParam("'user_ids' is required")
    if len(users) > MOST_USERS:
        raise InvalidParam(f"At most {MOST_USERS} users can be told at once")
    required(content, "body", str)
    if optional(content, "msgtype", str, "m.server_notice") != "m.server_notice":
        raise InvalidParam("'msgtype' of a notice is m.server_notice")
    txn_id = optional(body, "txn_id", str)
    if txn_id is not None and not 0 < len(txn_id) <= LONGEST_TXN_ID:
        raise InvalidParam(f"'txn_id' has between 1 and {LONGEST_TXN_ID} characters")
    notice = Notice(content, optional(body, "pin", bool, False) or False, txn_id)
    results: list[dict[str, Any]] = []
    for user_id in dict.fromkeys(users):
        try:
            sent = await request.app[SERVER_NOTICES].send(user_id, notice)
        except NoticesOff:
            raise
        except MatrixError as error:
            results.append({"user_id": user_id, "error": error.text})
        else:
            results.append({"user_id": user_id, "room_id": sent.room_id, "event_id": sent.event_id})
    return json_response({"results": results})
