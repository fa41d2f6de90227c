"""Blocking instances.  See ``docs/policy-lists.md``."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from client_api.admin.routing import AdminRoutes, require_admin
from homeserver.app_keys import SERVER_BLOCKS
from homeserver.errors import InvalidParam, MissingParam, NotFound
from homeserver.services.server_blocks import ADMIN, Block
from homeserver.web import json_response, optional, read_json, required

routes = AdminRoutes()

LONGEST_SECONDS = 10 * 365 * 86_400


@routes.get("/servers/blocks")
async def list_blocks(request: web.Request) -> web.Response:
    """What the admin and rules block, and what is exempt; or, with ``?server=``, one verdict."""
    await require_admin(request)
    blocks = request.app[SERVER_BLOCKS]
    server = request.query.get("server")
    if server is not None:
        block = blocks.is_blocked(server)
        return json_response({"blocked": block is not None, "block": block and _shown(block)})
    return json_response(
        {
            "blocks": [_shown(block) for block in blocks.list()],
            "exempt": [_shown(block) for block in blocks.exemptions()],
        }
    )


@routes.post("/servers/blocks")
async def block_server(request: web.Request) -> web.Response:
    """Block the instances that a glob names, or with ``exempt`` the contrary."""
    actor = await require_admin(request)
    body = await read_json(request)
    server, reason = required(body, "server", str), optional(body, "reason", str, "")
    seconds = optional(body, "for_seconds", int)
    if seconds is not None and not 0 < seconds <= LONGEST_SECONDS:
        raise InvalidParam(f"'for_seconds' must be from 1 to {LONGEST_SECONDS}")
    blocks = request.app[SERVER_BLOCKS]
    if optional(body, "exempt", bool, False):
        block = await blocks.exempt(server, reason=reason or "", actor=actor)
    else:
        now = time.time_ns() // 1_000_000
        block = await blocks.block(
            server,
            reason=reason or "",
            source=ADMIN,
            actor=actor,
            expires_at=now + seconds * 1000 if seconds is not None else None,
        )
    return json_response(_shown(block))


@routes.delete("/servers/blocks")
async def unblock_server(request: web.Request) -> web.Response:
    """Lift the blocks of the glob in ``?server=``; against a list's it becomes exempt."""
    actor = await require_admin(request)
    server = request.query.get("server")
    if not server:
        raise MissingParam("'server' is required")
    if not await request.app[SERVER_BLOCKS].unblock(server, actor=actor):
        raise NotFound(f"'{server}' is not blocked")
    return json_response({})


def _shown(block: Block) -> dict[str, Any]:
    return {
        "server": block.server,
        "reason": block.reason,
        "source": block.source,
        "created_at": block.created_at,
        "created_by": block.created_by,
        "expires_at": block.expires_at,
    }
