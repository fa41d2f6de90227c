"""Delayed events.  Spec: MSC4140, cancellable delayed events.

Under the names of the MSC as it was accepted, and under those from before.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.auth import require_sender, require_user
from client_api.matrix.parsing import path_room_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import DELAYED_EVENTS
from homeserver.errors import BadJson, InvalidParam, NotFound
from homeserver.services.requester import Requester
from homeserver.services.scheduling.delayed_events import ACTIONS
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()

UNSTABLE = "unstable/org.matrix.msc4140"
DELAY = "org.matrix.msc4140.delay"  # of the query, from before there was an endpoint
V1 = ("v1", UNSTABLE)
V3 = ("v3", UNSTABLE)


@routes.put("/rooms/{room_id}/delayed_event/{event_type}/{txn_id}", versions=V3)
async def schedule_event(request: web.Request) -> web.Response:
    """Have an event sent later; the same transaction ID again gives the same delay ID."""
    requester = await require_sender(request)
    body = await read_json(request)
    return await schedule(
        request,
        requester,
        required(body, "content", dict),
        delay_ms=required(body, "delay_ms", int),
        state_key=optional(body, "state_key", str),
    )


async def schedule(
    request: web.Request,
    requester: Requester,
    content: dict[str, Any],
    *,
    delay_ms: int,
    state_key: str | None = None,
) -> web.Response:
    """Have the event that a request describes sent later; the answer to it."""
    if "\0" in (state_key or ""):
        raise BadJson("The state key has a NUL character")
    delay_id = await request.app[DELAYED_EVENTS].schedule(
        requester,
        path_room_id(request),
        request.match_info["event_type"],
        content,
        txn_id=request.match_info.get("txn_id"),
        delay_ms=delay_ms,
        state_key=state_key,
    )
    return json_response({"delay_id": delay_id})


def query_delay(request: web.Request) -> int | None:
    """The delay in the query of a send, in ms, as drafts of the MSC had it."""
    text = request.query.get(DELAY)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidParam(f"'{DELAY}' must be a number of milliseconds")
    return int(text)


@routes.get("/delayed_events/{delay_id}", versions=V1)
async def get_delayed_event(request: web.Request) -> web.Response:
    """What becomes, or became, of a delayed event."""
    requester = await require_user(request)
    found = await request.app[DELAYED_EVENTS].get(requester.user_id, request.match_info["delay_id"])
    return json_response(found)


@routes.get("/delayed_events", versions=V1)
async def get_delayed_events(request: web.Request) -> web.Response:
    """The delayed events that wait."""
    requester = await require_user(request)
    waiting = await request.app[DELAYED_EVENTS].waiting(requester.user_id)
    return json_response({"delayed_events": waiting})


@routes.post("/delayed_events/{delay_id}/{action}", versions=V1)
async def update_delayed_event(request: web.Request) -> web.Response:
    """Send, cancel or restart a delayed event."""
    return await _act(request, request.match_info["action"])


@routes.post("/delayed_events/{delay_id}", versions=(UNSTABLE,))
async def update_delayed_event_by_body(request: web.Request) -> web.Response:
    """The same, as drafts of the MSC had it."""
    body = await read_json(request)
    action = required(body, "action", str)
    if action not in ACTIONS:
        raise InvalidParam(f"'action' must be one of {', '.join(ACTIONS)}")
    return await _act(request, action)


async def _act(request: web.Request, action: str) -> web.Response:
    requester = await require_user(request)
    if action not in ACTIONS:
        raise NotFound("There is no such action")
    await request.app[DELAYED_EVENTS].act(requester.user_id, request.match_info["delay_id"], action)
    return json_response({})
