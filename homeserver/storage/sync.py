"""What a sync asks of the database when memory does not reach back far enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import Struct

from homeserver.storage.account_data import AccountDataRow
from homeserver.storage.database import Queryable
from homeserver.storage.rooms import MembershipChangeRow

# One look at an index for each joined room, whatever has happened in it.
SELECT_CHANGED_ROOMS = """
SELECT m.room_id FROM memberships m
WHERE m.user_id = $1 AND m.membership = 'join' AND EXISTS (
    SELECT 1 FROM events e WHERE e.room_id = m.room_id
        AND e.timeline_order > $2 AND e.timeline_order <= $3
    UNION ALL
    SELECT 1 FROM events e WHERE e.room_id = m.room_id AND e.position > $2 AND e.position <= $3
        AND e.timeline_order > 0 AND e.position <> e.timeline_order)
"""
# The membership that a user had in each of these rooms at a position.
SELECT_MEMBERSHIPS_AT = """
SELECT wanted.room_id, c.membership, c.position FROM unnest($2::text[]) AS wanted (room_id)
CROSS JOIN LATERAL (
    SELECT membership, position FROM membership_changes
    WHERE room_id = wanted.room_id AND user_id = $1 AND position <= $3
    ORDER BY position DESC LIMIT 1
) c
"""
SELECT_CHANGES_IN_ROOMS = """
SELECT position, room_id, membership, event_id FROM membership_changes
WHERE user_id = $1 AND room_id = ANY($2::text[]) ORDER BY position
"""
SELECT_HISTORY_VISIBILITY = """
SELECT room_id, event_id, timeline_order FROM events
WHERE room_id = ANY($1::text[]) AND type = 'm.room.history_visibility' AND state_key = ''
    AND rejected IS NULL AND NOT soft_failed ORDER BY position
"""
SELECT_MEMBER_COUNTS = """
SELECT room_id, count(*) FILTER (WHERE membership = 'join') AS joined,
    count(*) FILTER (WHERE membership = 'invite') AS invited, max(position) AS position
FROM memberships WHERE room_id = ANY($1::text[]) GROUP BY room_id
"""
SELECT_HEROES = """
SELECT wanted.room_id, m.user_id FROM unnest($1::text[]) AS wanted (room_id)
CROSS JOIN LATERAL (
    SELECT user_id FROM memberships
    WHERE room_id = wanted.room_id AND membership = ANY($2::text[])
    ORDER BY position, user_id LIMIT $3
) m
"""
SELECT_ROOM_ACCOUNT_DATA = """
SELECT room_id, type, content, position FROM account_data
WHERE user_id = $1 AND room_id = ANY($2::text[]) ORDER BY position
"""
SELECT_OWN_RECEIPT_ROOMS = """
SELECT DISTINCT room_id FROM receipts
WHERE room_id = ANY($2::text[]) AND receipt_type IN ('m.read', 'm.read.private')
    AND user_id = $1 AND position > $3
"""
# Of these local users, those who share a room with one of the others.
SELECT_WATCHERS = """
SELECT DISTINCT mine.user_id FROM memberships theirs
JOIN memberships mine ON mine.room_id = theirs.room_id AND mine.membership = 'join'
WHERE theirs.user_id = ANY($1::text[]) AND theirs.membership = 'join'
    AND mine.local AND mine.user_id = ANY($2::text[])
"""
SELECT_EVENT_NEAR_AFTER = """
SELECT event_id, origin_server_ts FROM events
WHERE room_id = $1 AND timeline_order IS NOT NULL AND origin_server_ts >= $2
    AND rejected IS NULL AND NOT soft_failed AND withheld IS NULL
ORDER BY origin_server_ts, timeline_order LIMIT $3 OFFSET $4
"""
SELECT_EVENT_NEAR_BEFORE = """
SELECT event_id, origin_server_ts FROM events
WHERE room_id = $1 AND timeline_order IS NOT NULL AND origin_server_ts <= $2
    AND rejected IS NULL AND NOT soft_failed AND withheld IS NULL
ORDER BY origin_server_ts DESC, timeline_order DESC LIMIT $3 OFFSET $4
"""


class MembershipAt(Struct, frozen=True):
    """The membership that a user had at a position, and since which."""

    membership: str
    position: int


class MemberCounts(Struct, frozen=True):
    """How many are in a room, and how many invited, as of its last change at a position."""

    joined: int = 0
    invited: int = 0
    position: int = 0


class HistoryVisibilityRow(Struct, frozen=True):
    """Where an ``m.room.history_visibility`` event stands."""

    room_id: str
    event_id: str
    timeline_order: int | None


class EventTime(Struct, frozen=True):
    """An event and its time (ms)."""

    event_id: str
    origin_server_ts: int


async def get_changed_rooms(db: Queryable, user_id: str, since: int, upto: int) -> set[str]:
    """The user's rooms that have an event at ``since < position <= upto``."""
    rows = await db.fetch(SELECT_CHANGED_ROOMS, user_id, since, upto)
    return {row["room_id"] for row in rows}


async def get_memberships_at(
    db: Queryable, user_id: str, room_ids: Collection[str], position: int
) -> dict[str, MembershipAt]:
    """Room ID -> the user's membership at a position; rooms without one are left out."""
    rows = await db.fetch(SELECT_MEMBERSHIPS_AT, user_id, list(room_ids), position)
    return {row["room_id"]: MembershipAt(row["membership"], row["position"]) for row in rows}


async def get_changes_in_rooms(
    db: Queryable, user_id: str, room_ids: Collection[str]
) -> list[MembershipChangeRow]:
    """All membership changes of a local user in some rooms, the oldest first."""
    rows = await db.fetch(SELECT_CHANGES_IN_ROOMS, user_id, list(room_ids))
    return [MembershipChangeRow(**row) for row in rows]


async def get_history_visibility(
    db: Queryable, room_ids: Collection[str]
) -> list[HistoryVisibilityRow]:
    """All events that set rooms' history visibility, in the order in which they came."""
    rows = await db.fetch(SELECT_HISTORY_VISIBILITY, list(room_ids))
    return [HistoryVisibilityRow(**row) for row in rows]


async def get_member_counts(db: Queryable, room_ids: Collection[str]) -> dict[str, MemberCounts]:
    """Room ID -> how many are in it."""
    rows = await db.fetch(SELECT_MEMBER_COUNTS, list(room_ids))
    return {
        row["room_id"]: MemberCounts(row["joined"], row["invited"], row["position"]) for row in rows
    }


async def get_heroes(
    db: Queryable, room_ids: Collection[str], memberships: Iterable[str], limit: int
) -> dict[str, list[str]]:
    """Room ID -> its first members with one of these memberships."""
    found: dict[str, list[str]] = {}
    for row in await db.fetch(SELECT_HEROES, list(room_ids), list(memberships), limit):
        found.setdefault(row["room_id"], []).append(row["user_id"])
    return found


async def get_room_account_data(
    db: Queryable, user_id: str, room_ids: Collection[str]
) -> list[AccountDataRow]:
    """All account data that a user attached to some rooms."""
    rows = await db.fetch(SELECT_ROOM_ACCOUNT_DATA, user_id, list(room_ids))
    return [AccountDataRow(**row) for row in rows]


async def get_own_receipt_rooms(
    db: Queryable, user_id: str, room_ids: Collection[str], since: int
) -> set[str]:
    """The rooms of ``room_ids`` in which a user's own receipts moved after a position."""
    rows = await db.fetch(SELECT_OWN_RECEIPT_ROOMS, user_id, list(room_ids), since)
    return {row["room_id"] for row in rows}


async def get_watchers(
    db: Queryable, user_ids: Collection[str], among: Collection[str]
) -> set[str]:
    """Those local users of ``among`` who share a room with one of ``user_ids``."""
    rows = await db.fetch(SELECT_WATCHERS, list(user_ids), list(among))
    return {row["user_id"] for row in rows}


async def get_events_near(
    db: Queryable, room_id: str, ts: int, *, forwards: bool, limit: int, skip: int = 0
) -> list[EventTime]:
    """The events of a room that are next to a time (ms), the nearest first."""
    query = SELECT_EVENT_NEAR_AFTER if forwards else SELECT_EVENT_NEAR_BEFORE
    return [EventTime(**row) for row in await db.fetch(query, room_id, ts, limit, skip)]
