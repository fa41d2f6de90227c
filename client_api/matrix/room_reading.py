"""Reading rooms: history, context, single events, state, members.

Spec: client-server API, getting events for a room; room event context.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from msgspec.structs import replace

from client_api.auth import require_user
from client_api.matrix.parsing import path_room_id
from client_api.routing import V1, ClientRoutes
from homeserver.app_keys import ROOMS, TIMELINE, TIMELINE_DATES, TIMELINE_STATE
from homeserver.errors import BadJson, Forbidden, InvalidParam, MissingParam, NotFound
from homeserver.protocol.filters import BadFilter, RoomEventFilter
from homeserver.protocol.identifiers import UserId
from homeserver.services.requester import Requester
from homeserver.services.sync_token import parse_timeline_token
from homeserver.services.timeline import NO_FILTER, PageRequest
from homeserver.services.timeline_dates import DateQuery
from homeserver.web import json_response, parse_json, query_int

routes = ClientRoutes()

DEFAULT_LIMIT = 10
LARGEST_LIMIT = 1_000
LARGEST_CONTEXT = 100
MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")


@contextmanager
def no_difference() -> Iterator[None]:
    """An event that may not be read is answered as one that is not there is: with 404."""
    try:
        yield
    except Forbidden as error:
        raise NotFound("There is no such event, or you may not read it") from error


def _direction(request: web.Request) -> bool:
    """Whether ``dir`` is backwards."""
    direction = request.query.get("dir")
    if direction is None:
        raise MissingParam("'dir' is required: f or b")
    if direction not in ("f", "b"):
        raise InvalidParam("'dir' must be f or b")
    return direction == "b"


def token(request: web.Request, name: str) -> int | None:
    """The point of a timeline that a parameter names.  Raises :class:`InvalidParam`."""
    text = request.query.get(name)
    return parse_timeline_token(text, name) if text else None


def _filter(request: web.Request) -> RoomEventFilter:
    text = request.query.get("filter")
    if not text:
        return NO_FILTER
    try:
        return RoomEventFilter.parse(parse_json(text.encode()))
    except BadFilter as error:
        raise BadJson(f"The filter is not valid: {error}") from error


def _membership(request: web.Request, name: str) -> str | None:
    membership = request.query.get(name)
    if membership is not None and membership not in MEMBERSHIPS:
        raise InvalidParam(f"'{name}' must be one of {', '.join(MEMBERSHIPS)}")
    return membership


@routes.get("/rooms/{room_id}/messages")
async def get_messages(request: web.Request) -> web.Response:
    """A page of a room's history."""
    requester = await require_user(request)
    event_filter = _filter(request)
    usual = min(event_filter.limit or DEFAULT_LIMIT, LARGEST_LIMIT)
    page = PageRequest(
        backwards=_direction(request),
        start=token(request, "from"),
        stop=token(request, "to"),
        limit=query_int(request, "limit", usual, most=LARGEST_LIMIT) or 1,
        filter=event_filter,
    )
    answer = await request.app[TIMELINE].messages(requester, path_room_id(request), page)
    if page.start is not None:  # spec: "the same as the value given in from"
        answer["start"] = request.query["from"]
    return json_response(answer)


@routes.get("/rooms/{room_id}/context/{event_id}")
async def get_event_context(request: web.Request) -> web.Response:
    """What surrounds an event."""
    requester = await require_user(request)
    return json_response(
        await request.app[TIMELINE].context(
            requester,
            path_room_id(request),
            request.match_info["event_id"],
            query_int(request, "limit", DEFAULT_LIMIT, most=LARGEST_CONTEXT),
            _filter(request),
        )
    )


@routes.get("/rooms/{room_id}/event/{event_id}")
async def get_event(request: web.Request) -> web.Response:
    """One event."""
    requester = await require_user(request)
    with no_difference():
        event = await request.app[TIMELINE].event(
            requester, path_room_id(request), request.match_info["event_id"]
        )
    return json_response(event)


@routes.get("/rooms/{room_id}/timestamp_to_event", versions=V1)
async def get_event_by_timestamp(request: web.Request) -> web.Response:
    """The event nearest to a time."""
    requester = await require_user(request)
    if "ts" not in request.query:
        raise MissingParam("'ts' is required")
    return json_response(
        await request.app[TIMELINE_DATES].event_near(
            requester.user_id,
            path_room_id(request),
            DateQuery(query_int(request, "ts", 0), forwards=not _direction(request)),
        )
    )


@routes.get("/rooms/{room_id}/members")
async def get_members(request: web.Request) -> web.Response:
    """The member events of a room."""
    requester = await require_user(request)
    chunk = await request.app[TIMELINE_STATE].members(
        requester,
        path_room_id(request),
        at=token(request, "at"),
        membership=_membership(request, "membership"),
        not_membership=_membership(request, "not_membership"),
    )
    return json_response({"chunk": chunk})


@routes.get("/rooms/{room_id}/joined_members")
async def get_joined_members(request: web.Request) -> web.Response:
    """The profiles of those who are in a room."""
    room_id = path_room_id(request)
    reader = await _member(request, await require_user(request), room_id)
    return json_response(await request.app[TIMELINE_STATE].joined_members(reader, room_id))


async def _member(request: web.Request, requester: Requester, room_id: str) -> Requester:
    """Who reads: for an application service, any of its users who is in the room.

    Spec: ``GET /rooms/{roomId}/joined_members``.
    """
    service = requester.app_service
    room = await request.app[ROOMS].find(room_id) if service is not None else None
    if service is None or room is None or room.is_joined(requester.user_id):
        return requester
    own = next((user for user in room.joined_local if service.is_interested_in_user(user)), None)
    return requester if own is None else replace(requester, user_id=UserId(own))


@routes.get("/rooms/{room_id}/state")
async def get_room_state(request: web.Request) -> web.Response:
    """All of a room's state."""
    requester = await require_user(request)
    return json_response(await request.app[TIMELINE_STATE].state(requester, path_room_id(request)))


async def _state_event(request: web.Request, state_key: str) -> web.Response:
    requester = await require_user(request)
    wanted = request.query.get("format", "content")
    if wanted not in ("content", "event"):
        raise InvalidParam("'format' must be content or event")
    content, event = await request.app[TIMELINE_STATE].state_event(
        requester, path_room_id(request), request.match_info["event_type"], state_key
    )
    return json_response(event if wanted == "event" else content)


@routes.get("/rooms/{room_id}/state/{event_type}/{state_key}")
async def get_room_state_with_key(request: web.Request) -> web.Response:
    """One state event."""
    return await _state_event(request, request.match_info["state_key"])


@routes.get("/rooms/{room_id}/state/{event_type}/")
@routes.get("/rooms/{room_id}/state/{event_type}")
async def get_room_state_by_type(request: web.Request) -> web.Response:
    """One state event with an empty state key."""
    return await _state_event(request, "")


@routes.get("/joined_rooms")
async def get_joined_rooms(request: web.Request) -> web.Response:
    """The rooms that the user is in."""
    requester = await require_user(request)
    joined = await request.app[TIMELINE_STATE].joined_rooms(requester.user_id)
    return json_response({"joined_rooms": joined})
