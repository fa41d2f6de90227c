"""Rooms as admins look for them, and what of them is deleted."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

SELECT_CHANGED = """
SELECT r.room_id, r.revision, r.snapshot_id FROM rooms r LEFT JOIN room_figures f USING (room_id)
WHERE f.revision IS DISTINCT FROM r.revision LIMIT $1
"""
SELECT_COUNTS = """
SELECT (SELECT count(*) FROM memberships WHERE room_id = $1 AND membership = 'join') AS members,
    (SELECT count(*) FROM memberships WHERE room_id = $1 AND membership = 'join' AND local)
        AS local_members,
    (SELECT count(*) FROM events WHERE room_id = $1 AND timeline_order IS NOT NULL) AS events
"""
UPSERT_FIGURES = """
INSERT INTO room_figures (room_id, revision, name, members, local_members, events, counted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (room_id) DO UPDATE SET revision = EXCLUDED.revision, name = EXCLUDED.name,
    members = EXCLUDED.members, local_members = EXCLUDED.local_members,
    events = EXCLUDED.events, counted_at = EXCLUDED.counted_at
"""
DELETE_FIGURES = "DELETE FROM room_figures WHERE room_id = $1"
_COLUMNS = """
f.room_id, f.name, r.room_version, f.members, f.local_members, f.events, r.published,
b.room_id IS NOT NULL AS blocked, f.counted_at
"""
_FROM = """
FROM room_figures f JOIN rooms r USING (room_id) LEFT JOIN blocked_rooms b USING (room_id)
WHERE ($1::text IS NULL OR position(lower($1) IN lower(f.name)) > 0 OR position($1 IN room_id) > 0)
    AND ($2::boolean IS NULL OR (b.room_id IS NOT NULL) = $2)
    AND ($3::boolean IS NULL OR (f.local_members > 0) = $3)
"""
SELECT_BY_NAME = f"""
SELECT {_COLUMNS} {_FROM} AND (lower(f.name), f.room_id) > (lower($4), $5)
ORDER BY lower(f.name), f.room_id LIMIT $6
"""
SELECT_BY_MEMBERS = f"""
SELECT {_COLUMNS} {_FROM} AND (f.members, f.room_id) < ($4, $5)
ORDER BY f.members DESC, f.room_id DESC LIMIT $6
"""
SELECT_BY_EVENTS = f"""
SELECT {_COLUMNS} {_FROM} AND (f.events, f.room_id) < ($4, $5)
ORDER BY f.events DESC, f.room_id DESC LIMIT $6
"""
SELECT_MEMBERS = """
SELECT user_id, membership, local, sender, event_id FROM memberships
WHERE room_id = $1 AND user_id > $2 AND ($3::text IS NULL OR membership = $3)
    AND ($4::boolean IS NULL OR local = $4)
ORDER BY user_id LIMIT $5
"""
SELECT_BACKWARD = """
SELECT DISTINCT event_id FROM backward_extremities WHERE room_id = $1 ORDER BY event_id LIMIT $2
"""
# Those who are not in it go first: while others are, that can be said in the room.
SELECT_PRESENT = """
SELECT user_id, membership = 'join' AS joined FROM memberships
WHERE room_id = $1 AND local AND membership IN ('join', 'invite', 'knock')
    AND (membership = 'join', user_id) > ($2, $3)
ORDER BY membership = 'join', user_id LIMIT $4
"""
FORGET_FOR_ALL = """
UPDATE memberships SET forgotten = true
WHERE room_id = $1 AND local AND membership IN ('leave', 'ban')
"""
UNLIST = """
WITH aliases AS (DELETE FROM room_aliases WHERE room_id = $1),
    lists AS (DELETE FROM appservice_room_lists WHERE room_id = $1)
UPDATE rooms SET published = false WHERE room_id = $1
"""
SELECT_TIMELINE = """
SELECT event_id, timeline_order FROM events
WHERE room_id = $1 AND timeline_order > $2 AND timeline_order < $3 AND state_key IS NULL
    AND event_id <> ALL($4::text[])
ORDER BY timeline_order LIMIT $5
"""
# What is kept unshown, such as what was soft-failed; what is gone already is left out.
SELECT_UNSHOWN = """
SELECT event_id FROM events
WHERE room_id = $1 AND timeline_order IS NULL AND state_key IS NULL AND erased IS NULL
    AND origin_server_ts < $2 AND event_id <> ALL($3::text[])
LIMIT $4
"""


class ChangedRoom(Struct, frozen=True):
    """A room that was not counted since it changed."""

    room_id: str
    revision: int
    snapshot_id: int | None


class Counts(Struct, frozen=True):
    """How large a room is."""

    members: int
    local_members: int
    events: int


class RoomSummary(Struct, frozen=True):
    """A room in a list, as it was when it was counted (ms)."""

    room_id: str
    name: str
    room_version: str
    members: int
    local_members: int
    events: int
    published: bool
    blocked: bool
    counted_at: int


class RoomMember(Struct, frozen=True):
    """Somebody who is, or was, in a room; ``sender``: who caused it."""

    user_id: str
    membership: str
    local: bool
    sender: str
    event_id: str


class RoomFilter(Struct, frozen=True):
    """Which rooms are looked for; null: all."""

    search: str | None = None  # a part of the name or of the room ID
    blocked: bool | None = None
    local: bool | None = None  # somebody of this server is in it


class TimelineEvent(Struct, frozen=True):
    """A message that is to go."""

    event_id: str
    timeline_order: int


async def get_changed_rooms(db: Queryable, limit: int) -> list[ChangedRoom]:
    """Some rooms that have to be counted."""
    return [ChangedRoom(**row) for row in await db.fetch(SELECT_CHANGED, limit)]


async def count_room(db: Queryable, room_id: str) -> Counts:
    """Count a room."""
    return Counts(**await db.fetchrow(SELECT_COUNTS, room_id))


async def save_figures(
    db: Queryable, room: ChangedRoom, name: str, counts: Counts, now_ms: int
) -> None:
    """Keep what was counted."""
    await db.execute(
        UPSERT_FIGURES,
        room.room_id,
        room.revision,
        name,
        counts.members,
        counts.local_members,
        counts.events,
        now_ms,
    )


async def forget_figures(db: Queryable, room_id: str) -> None:
    """Have a room counted anew."""
    await db.execute(DELETE_FIGURES, room_id)


async def get_rooms(
    db: Queryable, wanted: RoomFilter, order: str, place: tuple[object, str], limit: int
) -> list[RoomSummary]:
    """Rooms by ``name``, or the largest first by ``members`` or ``events``; those after a place."""
    query = {"members": SELECT_BY_MEMBERS, "events": SELECT_BY_EVENTS}.get(order, SELECT_BY_NAME)
    rows = await db.fetch(query, wanted.search, wanted.blocked, wanted.local, *place, limit)
    return [RoomSummary(**row) for row in rows]


async def get_members(
    db: Queryable,
    room_id: str,
    *,
    after: str,
    membership: str | None,
    local: bool | None,
    limit: int,
) -> list[RoomMember]:
    """Members of a room in the order of their IDs."""
    rows = await db.fetch(SELECT_MEMBERS, room_id, after, membership, local, limit)
    return [RoomMember(**row) for row in rows]


async def get_backward_extremities(db: Queryable, room_id: str, limit: int) -> list[str]:
    """Events that are cited and missing."""
    return [row["event_id"] for row in await db.fetch(SELECT_BACKWARD, room_id, limit)]


async def get_present(
    db: Queryable, room_id: str, after: tuple[bool, str], limit: int
) -> list[tuple[bool, str]]:
    """``(joined, user ID)`` of local users who are in a room, invited to it, or knocking."""
    rows = await db.fetch(SELECT_PRESENT, room_id, *after, limit)
    return [(row["joined"], row["user_id"]) for row in rows]


async def forget_for_all(db: Queryable, room_id: str) -> None:
    """Have all local users who left a room forget it."""
    await db.execute(FORGET_FOR_ALL, room_id)


async def unlist(db: Queryable, room_id: str) -> None:
    """Take a room out of the directories, and its local aliases away."""
    await db.execute(UNLIST, room_id)


async def get_timeline(
    db: Queryable, room_id: str, *, after: int, before: int, but: Sequence[str], limit: int
) -> list[TimelineEvent]:
    """Messages of a room between two places of its timeline, the oldest first."""
    rows = await db.fetch(SELECT_TIMELINE, room_id, after, before, list(but), limit)
    return [TimelineEvent(**row) for row in rows]


async def get_unshown(
    db: Queryable, room_id: str, *, before_ms: int, but: Sequence[str], limit: int
) -> list[str]:
    """Messages that are kept unshown, from before a time."""
    rows = await db.fetch(SELECT_UNSHOWN, room_id, before_ms, list(but), limit)
    return [row["event_id"] for row in rows]
