"""Server ACLs of rooms of this server.  See ``docs/policy-lists.md``."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.admin.routing import AdminRoutes, require_admin
from homeserver.app_keys import DIRECTORY, ROOM_ACLS
from homeserver.errors import MatrixError, MissingParam
from homeserver.services.room_acls import AclChange, RoomAcls, check_acl_glob
from homeserver.web import json_response, optional, read_json, required, string_list

routes = AdminRoutes()

ALL = "all"


@routes.post("/rooms/acl")
async def change_acls(request: web.Request) -> web.Response:
    """Deny servers in a room, or in ``all`` that were made here; what changes, without ``send``."""
    await require_admin(request)
    body = await read_json(request)
    named = required(body, "room", str)
    deny = [check_acl_glob(glob) for glob in string_list(body, "deny")]
    undeny = [check_acl_glob(glob) for glob in string_list(body, "undeny")]
    if not deny and not undeny:
        raise MissingParam("'deny' or 'undeny' is required")
    send = optional(body, "send", bool, False)
    acls = request.app[ROOM_ACLS]
    if named == ALL:
        rooms = await acls.rooms_made_here()
    else:
        rooms = [(await request.app[DIRECTORY].resolve(named))[0]]
    shown = []
    for room_id in rooms:
        change = await acls.plan(room_id, deny=deny, undeny=undeny)
        if not change and not change.problem:
            continue
        event_id, problem = None, change.problem
        if send and not problem:
            event_id, problem = await _send(acls, change)
        shown.append(_shown(change, event_id, problem))
    return json_response({"rooms": shown, "unchanged": len(rooms) - len(shown)})


async def _send(acls: RoomAcls, change: AclChange) -> tuple[str | None, str]:
    try:
        return await acls.send(change), ""
    except MatrixError as error:
        return None, error.text


def _shown(change: AclChange, event_id: str | None, problem: str) -> dict[str, Any]:
    return {
        "room_id": change.room_id,
        "sender": change.sender or None,
        "added": list(change.added),
        "removed": list(change.removed),
        "problem": problem or None,
        "event_id": event_id,
    }
