"""Telling users something in the server's own name.  See ``docs/rooms.md``."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.admin.routing import AdminRoutes, require_admin
from client_api.matrix.parsing import user_id_list
from homeserver.app_keys import APP_SERVICES, SERVER_NOTICES
from homeserver.errors import InvalidParam, MatrixError, MissingParam
from homeserver.protocol.identifiers import UserId
from homeserver.services.server_notices.notices import Notice, NoticesOff
from homeserver.web import json_response, optional, read_json, required

routes = AdminRoutes()

MOST_USERS = 100
LONGEST_TXN_ID = 255


@routes.post("/server_notices")
async def send_server_notice(request: web.Request) -> web.Response:
    """Send a notice to some users, or to everybody page by page; what became of each."""
    await require_admin(request)
    body = await read_json(request)
    notice = _notice(body)
    users, more = await _users(request, body)
    results: list[dict[str, Any]] = []
    for user_id in users:
        try:
            sent = await request.app[SERVER_NOTICES].send(user_id, notice)
        except NoticesOff:
            raise
        except MatrixError as error:
            results.append({"user_id": user_id, "error": error.text})
        else:
            results.append({"user_id": user_id, "room_id": sent.room_id, "event_id": sent.event_id})
    return json_response({"results": results, **({"next": more} if more is not None else {})})


def _notice(body: dict[str, Any]) -> Notice:
    content = required(body, "content", dict)
    required(content, "body", str)
    if optional(content, "msgtype", str, "m.server_notice") != "m.server_notice":
        raise InvalidParam("'msgtype' of a notice is m.server_notice")
    txn_id = optional(body, "txn_id", str)
    if txn_id is not None and not 0 < len(txn_id) <= LONGEST_TXN_ID:
        raise InvalidParam(f"'txn_id' has between 1 and {LONGEST_TXN_ID} characters")
    return Notice(content, optional(body, "pin", bool, False) or False, txn_id)


async def _users(request: web.Request, body: dict[str, Any]) -> tuple[list[UserId], str | None]:
    """Whom to tell, and, of everybody, after whom to go on."""
    if not optional(body, "everyone", bool, False):
        users = list(dict.fromkeys(user_id_list(body, "user_ids")))
        if not users:
            raise MissingParam("'user_ids' is required, or 'everyone'")
        if len(users) > MOST_USERS:
            raise InvalidParam(f"At most {MOST_USERS} users can be told at once")
        return users, None
    required(body, "txn_id", str)  # so that asking again tells nobody twice
    after = optional(body, "after", str, "") or ""
    found, more = await request.app[SERVER_NOTICES].users(after, MOST_USERS)
    owner = request.app[APP_SERVICES].owner
    return [user for user in found if owner(user) is None], more
