"""Rooms: looking at them, blocking and deleting them, purging their history."""

from __future__ import annotations

import heapq
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from client_api.admin.api import AdminApi, AdminCall
from client_api.admin.lists import Flag, ListQuery, Text, page
from homeserver.app_keys import (
    DATABASE,
    EVENT_STORE,
    ROOM_BLOCKS,
    ROOM_DELETION,
    ROOM_FIGURES,
    ROOMS,
)
from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.events import client_event, redacted_copy
from homeserver.services.conversations.shapes.base import Input
from homeserver.services.conversations.shapes.pages import (
    MOST_INTEGER,
    Page,
    make_cursor,
    parse_cursor,
)
from homeserver.storage import admin_rooms as storage
from homeserver.storage import rooms as room_storage
from homeserver.storage.admin_jobs import Job
from homeserver.storage.admin_rooms import RoomFilter, RoomMember, RoomSummary
from homeserver.storage.blocked_rooms import BlockedRoom

api = AdminApi("Rooms", "Rooms that this server knows.")

SHOWN = {
    "name": ("m.room.name", "name"),
    "canonical_alias": ("m.room.canonical_alias", "alias"),
    "encryption": ("m.room.encryption", "algorithm"),
    "join_rule": ("m.room.join_rules", "join_rule"),
    "history_visibility": ("m.room.history_visibility", "history_visibility"),
}
CREATE = ("m.room.create", "")
MOST_EXTREMITIES = 1_000
Reason = Annotated[str, Meta(max_length=500, pattern="^[^\\x00]*$")]
Time = Annotated[int, Meta(ge=0, le=2**53 - 1, description="ms")]


class RoomQuery(ListQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which rooms are wanted."""

    search: Annotated[Text, Meta(description="A part of the name or room ID")] | None = None
    blocked: Flag | None = None
    local: Annotated[bool, Meta(description="Whether somebody of this server is in it")] | None = (
        None
    )
    order: Annotated[
        Literal["name", "members", "events"], Meta(description="By name, or the largest first")
    ] = "name"


class MemberQuery(ListQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which members are wanted."""

    membership: Literal["join", "invite", "knock", "leave", "ban"] | None = None
    local: Flag | None = None


class RoomPage(msgspec.Struct, kw_only=True, frozen=True):
    """Rooms.  ``complete``: all were counted; if not, ask again soon."""

    items: list[RoomSummary]
    next: str | None
    complete: bool


class RoomDetails(msgspec.Struct, kw_only=True, frozen=True):
    """A room, looked at closely."""

    room_id: str
    room_version: str
    creator: str | None
    created_at: int | None
    name: str | None
    canonical_alias: str | None
    aliases: list[str]
    encryption: str | None
    join_rule: str | None
    history_visibility: str | None
    published: bool
    members: int
    local_members: int
    servers: int
    state_events: int
    forward_extremities: list[str]
    backward_extremities: list[str]
    blocked: BlockedRoom | None


class Blocking(Input, kw_only=True, frozen=True):
    """Why a room is blocked."""

    reason: Reason = ""


class BlockedRooms(msgspec.Struct, kw_only=True, frozen=True):
    """All blocked rooms."""

    rooms: list[BlockedRoom]


class Purge(Input, kw_only=True, frozen=True):
    """Up to where history goes: before a time, or before an event."""

    before: Time | None = None
    before_event: Annotated[str, Meta(max_length=255, pattern="^\\$[^\\x00]+$")] | None = None


class RoomRemoval(Input, kw_only=True, frozen=True):
    """How a room is deleted.  ``reason``: is told with each departure."""

    reason: Reason | None = None
    block: bool = False


@api.get("/rooms")
async def list_rooms(call: AdminCall[None, RoomQuery]) -> RoomPage:
    """Rooms with how many members and events they have.

    They are counted when somebody asks, those that changed; what a page says may be that old.
    """
    query = call.query
    complete = await call.app[ROOM_FIGURES].refresh()
    by_name = query.order == "name"
    place: tuple[object, str] = ("", "") if by_name else (MOST_INTEGER, "")
    if query.cursor is not None:
        after, room_id = parse_cursor(query.cursor, str if by_name else int, str)
        place = (after, room_id)
    wanted = RoomFilter(query.search, query.blocked, query.local)
    found = await storage.get_rooms(call.app[DATABASE], wanted, query.order, place, query.limit)
    shown = page(
        found, query.limit, lambda room: make_cursor(getattr(room, query.order), room.room_id)
    )
    return RoomPage(items=shown.items, next=shown.next, complete=complete)


@api.get("/rooms/{room_id}")
async def get_room(call: AdminCall) -> RoomDetails:
    """A room: what it is, who is in it, and where its graph of events ends."""
    room_id, database = call.room_id(), call.app[DATABASE]
    room = await call.app[ROOMS].get(room_id)
    await room.load_events(call.app[EVENT_STORE], [CREATE, *((t, "") for t, _ in SHOWN.values())])
    create = room.event(CREATE)
    row = await room_storage.get_room(database, room_id)
    shown = {key: room.content((t, "")).get(field) for key, (t, field) in SHOWN.items()}
    texts = {key: text if isinstance(text, str) else None for key, text in shown.items()}
    return RoomDetails(
        room_id=room_id,
        room_version=room.version.identifier,
        creator=create.sender if create is not None else None,
        created_at=create.origin_server_ts if create is not None else None,
        aliases=await room_storage.get_room_aliases(database, room_id),
        published=row is not None and row.published,
        members=room.joined_count,
        local_members=len(room.joined_local),
        servers=len(room.hosts),
        state_events=len(room.state),
        forward_extremities=sorted(room.extremities),
        backward_extremities=await storage.get_backward_extremities(
            database, room_id, MOST_EXTREMITIES
        ),
        blocked=call.app[ROOM_BLOCKS].find(room_id),
        **texts,
    )


@api.get("/rooms/{room_id}/state")
async def list_room_state(call: AdminCall[None, ListQuery]) -> Page[dict[str, Any]]:
    """The room's current state, as clients get events, by type and state key."""
    query = call.query
    room = await call.app[ROOMS].get(call.room_id())
    after = ("", "")
    if query.cursor is not None:
        type_, state_key = parse_cursor(query.cursor, str, str)
        after = (type_, state_key)
    started = query.cursor is not None
    keys = (key for key in room.state if not started or key > after)
    wanted = heapq.nsmallest(query.limit, keys)
    events = await call.app[EVENT_STORE].get_many([room.state[key] for key in wanted])
    found = []
    for key in wanted:
        stored = events[room.state[key]]
        gone = stored.redacted_by is not None
        found.append(client_event(redacted_copy(stored.event) if gone else stored.event))
    return page(found, query.limit, lambda e: make_cursor(e["type"], e["state_key"]))


@api.get("/rooms/{room_id}/members")
async def list_room_members(call: AdminCall[None, MemberQuery]) -> Page[RoomMember]:
    """Who is, or was, in a room."""
    query, room_id = call.query, call.room_id()
    await call.app[ROOMS].get(room_id)
    found = await storage.get_members(
        call.app[DATABASE],
        room_id,
        after=parse_cursor(query.cursor, str)[0] if query.cursor is not None else "",
        membership=query.membership,
        local=query.local,
        limit=query.limit,
    )
    return page(found, query.limit, lambda member: make_cursor(member.user_id))


@api.post("/rooms/{room_id}/purge")
async def purge_room_history(call: AdminCall[Purge]) -> Job:
    """Delete the messages from before a time, or from before an event, which stays.

    State events stay, and so do the newest messages.  It cannot be taken back.
    """
    body = call.body
    if (body.before is None) == (body.before_event is None):
        raise InvalidParam("Say 'before' or 'before_event'")
    return await call.app[ROOM_DELETION].purge(
        call.room_id(), before_ms=body.before, event_id=body.before_event, by=call.actor
    )


@api.post("/rooms/{room_id}/delete")
async def delete_room(call: AdminCall[RoomRemoval]) -> Job:
    """Take all local users out of a room, its aliases away, and delete all its messages.

    With ``block`` nobody can come back.
    """
    room_id, body = call.room_id(), call.body
    job = await call.app[ROOM_DELETION].delete(room_id, reason=body.reason, by=call.actor)
    if body.block:
        await call.app[ROOM_BLOCKS].block(room_id, reason=body.reason or "", by=call.actor)
    return job


# ---------------------------------------------------------------- blocked rooms


@api.get("/blocked_rooms")
async def list_blocked_rooms(call: AdminCall) -> BlockedRooms:
    """All blocked rooms."""
    return BlockedRooms(rooms=call.app[ROOM_BLOCKS].list_all())


@api.put("/blocked_rooms/{room_id}")
async def block_room(call: AdminCall[Blocking]) -> BlockedRoom:
    """Let nobody of this server come to a room, known here or not; who is in it stays."""
    return await call.app[ROOM_BLOCKS].block(call.room_id(), reason=call.body.reason, by=call.actor)


@api.delete("/blocked_rooms/{room_id}")
async def unblock_room(call: AdminCall) -> None:
    """Lift a block."""
    if not await call.app[ROOM_BLOCKS].unblock(call.room_id()):
        raise NotFound("That room is not blocked")
