"""What the Conversations API asks of rooms and their members, many at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable

# Rooms with nobody in them but these two, between whom an invite said that it is direct.  Sending
# such an invite, or answering one, puts the two member events here.  What is JSON is not parsed:
# PostgreSQL cannot read a NUL in it, and anybody may write one.
SELECT_UNMARKED_DIRECT_ROOMS = """
SELECT mine.room_id FROM memberships mine
JOIN memberships theirs ON theirs.room_id = mine.room_id AND theirs.user_id = $2
WHERE mine.user_id = $1 AND mine.membership = 'join' AND theirs.membership IN ('join', 'invite')
    AND NOT EXISTS (
        SELECT 1 FROM memberships others WHERE others.room_id = mine.room_id
            AND others.membership IN ('join', 'invite') AND others.user_id NOT IN ($1, $2))
    AND EXISTS (
        SELECT 1 FROM events e WHERE e.room_id = mine.room_id AND e.type = 'm.room.member'
            AND (e.state_key = $1 AND e.sender = $2 OR e.state_key = $2 AND e.sender = $1)
            AND strpos(convert_from(e.pdu, 'UTF8'), '"is_direct":true') > 0)
ORDER BY mine.position DESC LIMIT $3
"""

SELECT_ROOMS = """
SELECT room_id, room_version, snapshot_id FROM rooms
WHERE room_id = ANY($1::text[]) AND snapshot_id IS NOT NULL
"""
# Rooms that somebody has left or was thrown out of, with the state as it was then.
SELECT_LEFT_ROOMS = """
SELECT m.room_id, r.room_version, e.snapshot_after AS snapshot_id, left_then.position
FROM memberships m JOIN rooms r USING (room_id) CROSS JOIN LATERAL (
    SELECT event_id, position FROM membership_changes c
    WHERE c.room_id = m.room_id AND c.user_id = m.user_id AND c.position > (
        SELECT max(position) FROM membership_changes j
        WHERE j.room_id = m.room_id AND j.user_id = m.user_id AND j.membership = 'join'
    )
    ORDER BY position LIMIT 1
) left_then JOIN events e ON e.event_id = left_then.event_id
WHERE m.user_id = $1 AND m.membership IN ('leave', 'ban') AND NOT m.forgotten
    AND ($2::text[] IS NULL OR m.room_id = ANY($2::text[]))
    AND e.snapshot_after IS NOT NULL AND e.timeline_order IS NOT NULL
"""
# The entries of some types with an empty state key, of many snapshots.  A chain is read newest
# first; the first entry found for a type counts.
SELECT_STATES = """
WITH RECURSIVE chain (head, snapshot_id, parent_id, step) AS (
    SELECT snapshot_id, snapshot_id, parent_id, 0 FROM state_snapshots
    WHERE snapshot_id = ANY($1::bigint[])
    UNION ALL
    SELECT c.head, s.snapshot_id, s.parent_id, c.step + 1
    FROM chain c JOIN state_snapshots s ON s.snapshot_id = c.parent_id
)
SELECT DISTINCT ON (chain.head, e.type) chain.head, e.type, e.event_id
FROM chain JOIN state_entries e ON e.snapshot_id = chain.snapshot_id
    AND e.type = ANY($2::text[]) AND e.state_key = ''
ORDER BY chain.head, e.type, chain.step
"""
# The newest events of some types in each room, among its newest $4 events up to a place.
SELECT_NEWEST_MESSAGES = """
SELECT wanted.room_id, found.event_id, found.timeline_order
FROM unnest($1::text[], $2::bigint[]) AS wanted (room_id, upto) CROSS JOIN LATERAL (
    SELECT event_id, timeline_order FROM (
        SELECT event_id, timeline_order, type, state_key, relation_type, rejected, soft_failed,
            withheld
        FROM events e WHERE e.room_id = wanted.room_id AND e.timeline_order <= wanted.upto
        ORDER BY timeline_order DESC LIMIT $4
    ) newest
    WHERE type = ANY($3::text[]) AND state_key IS NULL AND rejected IS NULL AND NOT soft_failed
        AND withheld IS NULL AND (relation_type IS NULL OR relation_type <> ALL($5::text[]))
    ORDER BY timeline_order DESC LIMIT $6
) found ORDER BY wanted.room_id, found.timeline_order DESC
"""
SELECT_MEMBER_EVENTS = """
SELECT m.room_id, m.user_id, m.membership, m.event_id
FROM unnest($1::text[], $2::text[]) AS wanted (room_id, user_id)
JOIN memberships m ON m.room_id = wanted.room_id AND m.user_id = wanted.user_id
"""
# Messages past what a reader has read, sent, or came in with, whether they notify or not.
COUNT_UNSEEN = """
SELECT wanted.room_id, counted.messages FROM unnest($1::text[]) AS wanted (room_id)
CROSS JOIN LATERAL (
    SELECT greatest(
        (SELECT max(coalesce(r.event_order, e.timeline_order)) FROM receipts r
            LEFT JOIN events e ON r.event_order IS NULL AND e.event_id = r.event_id
                AND e.room_id = r.room_id
            WHERE r.room_id = wanted.room_id AND r.user_id = $2 AND r.thread_id IN ('', 'main')
                AND r.receipt_type IN ('m.read', 'm.read.private')),
        (SELECT max(position) FROM notifications
            WHERE room_id = wanted.room_id AND audience = $3),
        (SELECT max(position) FROM (
            SELECT position, membership, lag(membership) OVER (ORDER BY position) AS before
            FROM membership_changes WHERE room_id = wanted.room_id AND user_id = $2
        ) changes WHERE membership = 'join' AND before IS DISTINCT FROM 'join'),
        0) AS upto
) seen CROSS JOIN LATERAL (
    SELECT count(*) AS messages FROM (
        SELECT 1 FROM events e WHERE e.room_id = wanted.room_id AND e.timeline_order > seen.upto
            AND e.type = ANY($4::text[]) AND e.state_key IS NULL AND e.rejected IS NULL
            AND NOT e.soft_failed AND e.withheld IS NULL AND e.redacted_by IS NULL
            AND (e.relation_type IS NULL OR e.relation_type <> ALL($5::text[]))
            AND e.sender <> $2 AND e.sender <> ALL($6::text[]) AND e.event_id <> ALL($6::text[])
            AND (substr(e.sender, strpos(e.sender, ':') + 1) <> ALL($6::text[])
                OR '+' || e.sender = ANY($6::text[]))
        LIMIT $7
    ) unseen
) counted
"""
SELECT_ROOM_DATA = """
SELECT room_id, content FROM account_data WHERE user_id = $1 AND type = $2 AND room_id <> ''
"""


class RoomState(Struct, frozen=True):
    """A room, and the snapshot of a state of it.  ``position``: of a membership, if asked for."""

    room_id: str
    room_version: str
    snapshot_id: int
    position: int = 0


class MemberEvent(Struct, frozen=True):
    """Somebody's membership of a room, and the event that made it."""

    room_id: str
    user_id: str
    membership: str
    event_id: str


async def get_rooms(db: Queryable, room_ids: Collection[str]) -> list[RoomState]:
    """Those rooms that we have, with their current states."""
    return [RoomState(**row) for row in await db.fetch(SELECT_ROOMS, list(room_ids))]


async def get_left_rooms(
    db: Queryable, user_id: str, room_ids: Collection[str] | None = None
) -> list[RoomState]:
    """Rooms that somebody was in and is not any longer, and has not forgotten.

    As they were when the last stay ended: what came after it, a later ban too, changes nothing.
    """
    wanted = list(room_ids) if room_ids is not None else None
    return [RoomState(**row) for row in await db.fetch(SELECT_LEFT_ROOMS, user_id, wanted)]


async def get_states(
    db: Queryable, snapshot_ids: Collection[int], types: Collection[str]
) -> dict[int, dict[str, str]]:
    """Snapshot -> type -> event ID, of what has an empty state key."""
    found: dict[int, dict[str, str]] = {snapshot_id: {} for snapshot_id in snapshot_ids}
    for row in await db.fetch(SELECT_STATES, list(snapshot_ids), list(types)):
        found[row["head"]][row["type"]] = row["event_id"]
    return found


async def get_newest_messages(
    db: Queryable,
    rooms: Mapping[str, int],
    *,
    types: Collection[str],
    without_relations: Collection[str],
    among: int,
    limit: int,
) -> dict[str, list[tuple[int, str]]]:
    """Room ID -> ``(order, event ID)`` of its newest messages, the newest first.

    ``rooms``: with the order up to which.  ``among``: how many events are looked at in each.
    """
    found: dict[str, list[tuple[int, str]]] = {room_id: [] for room_id in rooms}
    for row in await db.fetch(
        SELECT_NEWEST_MESSAGES,
        list(rooms),
        list(rooms.values()),
        list(types),
        among,
        list(without_relations),
        limit,
    ):
        found[row["room_id"]].append((row["timeline_order"], row["event_id"]))
    return found


async def get_member_events(
    db: Queryable, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], MemberEvent]:
    """``(room ID, user ID)`` -> the membership, for those who have or had one."""
    rows = await db.fetch(
        SELECT_MEMBER_EVENTS, [room_id for room_id, _ in pairs], [user for _, user in pairs]
    )
    return {(row["room_id"], row["user_id"]): MemberEvent(**row) for row in rows}


async def count_unseen(
    db: Queryable,
    room_ids: Collection[str],
    user_id: str,
    *,
    sent_audience: str,
    types: Collection[str],
    without_relations: Collection[str],
    without: Collection[str],
    limit: int,
) -> dict[str, int]:
    """Room ID -> how many messages a reader has not seen, at most ``limit``.

    ``without``: senders, and instances, whose messages do not count, and single events.
    """
    rows = await db.fetch(
        COUNT_UNSEEN,
        list(room_ids),
        user_id,
        sent_audience,
        list(types),
        list(without_relations),
        list(without),
        limit,
    )
    return {row["room_id"]: row["messages"] for row in rows}


async def get_room_data(db: Queryable, user_id: str, type_: str) -> dict[str, Any]:
    """Room ID -> the content of one type of somebody's account data."""
    rows = await db.fetch(SELECT_ROOM_DATA, user_id, type_)
    return {row["room_id"]: row["content"] for row in rows}


async def get_unmarked_direct_rooms(
    db: Queryable, user_id: str, peer: str, limit: int
) -> list[str]:
    """Rooms of two that were made to be direct, the latest joined first."""
    rows = await db.fetch(SELECT_UNMARKED_DIRECT_ROOMS, user_id, peer, limit)
    return [row["room_id"] for row in rows]
