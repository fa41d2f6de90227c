"""Transactions in; events, state and history out.

Spec: server-server API, transactions, retrieving events, backfilling.
"""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from federation.app_keys import GATE, HISTORY
from federation.history import as_transaction
from federation.routes.base import FederationRoutes
from federation.server import CONTENT, ORIGIN
from homeserver.app_keys import CONFIG
from homeserver.errors import InvalidParam, MissingParam
from homeserver.web import json_response, optional, query_int, string_list

routes = FederationRoutes()


@routes.put("/v1/send/{txn_id}")
async def send_transaction(request: web.Request) -> web.Response:
    """Take PDUs and EDUs; the answer means that they are on disk."""
    answer = await request.app[GATE].receive(
        request[ORIGIN], request.match_info["txn_id"], request[CONTENT]
    )
    return json_response(answer)


@routes.get("/v1/event/{event_id}")
async def get_event(request: web.Request) -> web.Response:
    """One event."""
    answer = await request.app[HISTORY].event(request.match_info["event_id"], request[ORIGIN])
    return json_response(_transaction(request, answer["pdus"]))


def _transaction(request: web.Request, pdus: list[Any]) -> dict[str, Any]:
    return as_transaction(request.app[CONFIG].server_name, int(time.time() * 1000), pdus)


def _event_id(request: web.Request) -> str:
    event_id = request.query.get("event_id")
    if event_id is None:
        raise MissingParam("'event_id' is required")
    return event_id


@routes.get("/v1/state/{room_id}")
async def get_room_state(request: web.Request) -> web.Response:
    """The state before an event."""
    answer = await request.app[HISTORY].state(
        request.match_info["room_id"], _event_id(request), request[ORIGIN]
    )
    return json_response(answer)


@routes.get("/v1/state_ids/{room_id}")
async def get_room_state_ids(request: web.Request) -> web.Response:
    """The state before an event, as IDs."""
    answer = await request.app[HISTORY].state_ids(
        request.match_info["room_id"], _event_id(request), request[ORIGIN]
    )
    return json_response(answer)


@routes.get("/v1/event_auth/{room_id}/{event_id}")
async def get_event_auth(request: web.Request) -> web.Response:
    """An event's auth chain."""
    answer = await request.app[HISTORY].event_auth(
        request.match_info["room_id"], request.match_info["event_id"], request[ORIGIN]
    )
    return json_response(answer)


@routes.get("/v1/timestamp_to_event/{room_id}")
async def get_event_by_timestamp(request: web.Request) -> web.Response:
    """The event next to a time."""
    direction = request.query.get("dir")
    if direction is None or "ts" not in request.query:
        raise MissingParam("'ts' and 'dir' are required")
    if direction not in ("f", "b"):
        raise InvalidParam("'dir' must be f or b")
    answer = await request.app[HISTORY].event_near(
        request.match_info["room_id"],
        query_int(request, "ts", 0),
        request[ORIGIN],
        forwards=direction == "f",
    )
    return json_response(answer)


@routes.get("/v1/backfill/{room_id}")
async def backfill_room(request: web.Request) -> web.Response:
    """History before some events."""
    event_ids = request.query.getall("v", [])
    if not event_ids or "limit" not in request.query:
        raise MissingParam("'v' and 'limit' are required")
    pdus = await request.app[HISTORY].backfill(
        request.match_info["room_id"], event_ids, query_int(request, "limit", 0), request[ORIGIN]
    )
    return json_response(_transaction(request, pdus))


@routes.post("/v1/get_missing_events/{room_id}")
async def get_missing_events(request: web.Request) -> web.Response:
    """Events between two ends of the graph."""
    body = request[CONTENT]
    if "earliest_events" not in body or "latest_events" not in body:
        raise MissingParam("'earliest_events' and 'latest_events' are required")
    pdus = await request.app[HISTORY].missing_events(
        request.match_info["room_id"],
        earliest=string_list(body, "earliest_events"),
        latest=string_list(body, "latest_events"),
        limit=optional(body, "limit", int, 10) or 10,
        min_depth=optional(body, "min_depth", int, 0) or 0,
        origin=request[ORIGIN],
    )
    return json_response({"events": pdus})
