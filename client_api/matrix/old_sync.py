"""The ways of syncing from before ``/sync``, and peeking.

Spec: client-server API, syncing (deprecated), peeking events.
"""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.long_polls import Waiting
from client_api.matrix.parsing import path_room_id, room_id
from client_api.matrix.sync import LONGEST_TIMEOUT_MS
from client_api.routing import ClientRoutes
from homeserver.app_keys import OLD_SYNC
from homeserver.services.old_sync import Wait
from homeserver.services.sync_token import SyncToken, parse_timeline_token
from homeserver.web import json_response, query_bool, query_int

routes = ClientRoutes()

DEFAULT_LIMIT = 10
ROOM_LIMIT = 20
LARGEST_LIMIT = 100


@routes.get("/events")
async def get_events(request: web.Request) -> web.Response:
    """What happens from a token on: in all rooms of the user, or in one that they may read."""
    requester = await require_user(request)
    since, room = request.query.get("from"), request.query.get("room_id")
    timeout = query_int(request, "timeout", 0, most=LONGEST_TIMEOUT_MS)
    old_sync = request.app[OLD_SYNC]
    with Waiting(request, requester) as poll:
        wait = Wait(timeout, poll.is_over)
        if room is not None:
            after = parse_timeline_token(since) if since else None
            answer = await old_sync.peek(requester, room_id(room), after, wait)
        else:
            token = SyncToken.parse(since, "from") if since else None
            answer = await old_sync.events(requester, token, wait)
    return json_response(answer)


@routes.get("/events/{event_id}")
async def get_one_event(request: web.Request) -> web.Response:
    """One event."""
    requester = await require_user(request)
    return json_response(
        await request.app[OLD_SYNC].event(requester, request.match_info["event_id"])
    )


@routes.get("/initialSync")
async def initial_sync(request: web.Request) -> web.Response:
    """All rooms of the user, each with its newest events."""
    requester = await require_user(request)
    limit = query_int(request, "limit", DEFAULT_LIMIT, most=LARGEST_LIMIT)
    return json_response(
        await request.app[OLD_SYNC].snapshot(
            requester, limit, archived=query_bool(request, "archived")
        )
    )


@routes.get("/rooms/{room_id}/initialSync")
async def room_initial_sync(request: web.Request) -> web.Response:
    """One room with its newest events."""
    requester = await require_user(request)
    limit = query_int(request, "limit", ROOM_LIMIT, most=LARGEST_LIMIT) or 1
    return json_response(
        await request.app[OLD_SYNC].room_snapshot(requester, path_room_id(request), limit)
    )
