"""Searching messages.  Spec: client-server API, server-side search."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import MATRIX_SEARCH, RATE_LIMITS
from homeserver.errors import BadJson, InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import BadFilter, RoomEventFilter
from homeserver.services.search.matrix_search import KEYS, Context, RoomEvents
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()

DEFAULT_LIMIT = 10
LARGEST_LIMIT = 50
LARGEST_CONTEXT = 20
GROUPS = ("room_id", "sender")


@routes.post("/search")
async def search(request: web.Request) -> web.Response:
    """Find messages, names and topics in the rooms that the user is or was in."""
    requester = await require_user(request)
    request.app[RATE_LIMITS].check("message_search", requester.user_id)
    body = await read_json(request)
    categories = required(body, "search_categories", dict)
    given = optional(categories, "room_events", dict, None)
    found: JsonObject = {}
    if given is not None:
        asked = _room_events(given, request.query.get("next_batch"))
        found["room_events"] = await request.app[MATRIX_SEARCH].room_events(requester, asked)
    return json_response({"search_categories": found})


def _room_events(given: JsonObject, next_batch: str | None) -> RoomEvents:
    try:
        event_filter = RoomEventFilter.parse(given.get("filter", {}))
    except BadFilter as error:
        raise BadJson(f"The filter is not valid: {error}") from error
    order = optional(given, "order_by", str, "rank") or "rank"
    if order not in ("rank", "recent"):
        raise InvalidParam("'order_by' must be rank or recent")
    return RoomEvents(
        term=required(given, "search_term", str),
        keys=_keys(given),
        filter=event_filter,
        by_rank=order == "rank",
        limit=min(max(event_filter.limit or DEFAULT_LIMIT, 1), LARGEST_LIMIT),
        context=_context(given),
        include_state=optional(given, "include_state", bool, False) or False,
        group_by=_group_by(given),
        next_batch=next_batch,
    )


def _keys(given: JsonObject) -> list[str]:
    keys = optional(given, "keys", list, None)
    if keys is None:
        return list(KEYS)
    if not all(isinstance(key, str) and key in KEYS for key in keys):
        raise InvalidParam(f"'keys' may be {', '.join(KEYS)}")
    return keys


def _context(given: JsonObject) -> Context | None:
    context = optional(given, "event_context", dict, None)
    if context is None:
        return None
    return Context(
        before=_count(context, "before_limit"),
        after=_count(context, "after_limit"),
        profiles=optional(context, "include_profile", bool, False) or False,
    )


def _count(context: JsonObject, name: str) -> int:
    count = optional(context, name, int, 5)
    if count is None or count < 0:
        raise InvalidParam(f"'{name}' must not be negative")
    return min(count, LARGEST_CONTEXT)


def _group_by(given: JsonObject) -> list[str]:
    groupings = optional(given, "groupings", dict, None) or {}
    groups: list[Any] = optional(groupings, "group_by", list, None) or []
    keys = [group.get("key") if isinstance(group, dict) else None for group in groups]
    if not all(key in GROUPS for key in keys):
        raise InvalidParam(f"Results are grouped by {' or '.join(GROUPS)}")
    return list(dict.fromkeys(key for key in keys if key is not None))
