"""How far messages have come: devices, other instances, readers.

Nothing is written per message and member: each of them has a position that moves, and a message is
compared with it when somebody asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable

UPSERT_PROGRESS = """
INSERT INTO device_progress AS p (user_id, position, reached_at)
SELECT user_id, position, $3 FROM unnest($1::text[], $2::bigint[]) AS new (user_id, position)
ON CONFLICT (user_id) DO UPDATE SET position = EXCLUDED.position, reached_at = EXCLUDED.reached_at
WHERE p.position < EXCLUDED.position
"""
SELECT_PROGRESS = "SELECT position FROM device_progress WHERE user_id = $1"
DELETE_PROGRESS = "DELETE FROM device_progress WHERE user_id = $1"
UPSERT_REMOTE_PROGRESS = """
INSERT INTO remote_progress AS p (room_id, user_id, timeline_order, reached_at)
SELECT DISTINCT ON (e.room_id, new.user_id) e.room_id, new.user_id, e.timeline_order, $4
FROM unnest($1::text[], $2::text[], $3::text[]) AS new (room_id, user_id, event_id)
JOIN events e ON e.event_id = new.event_id AND e.room_id = new.room_id
JOIN memberships m ON m.room_id = e.room_id AND m.user_id = new.user_id AND m.membership = 'join'
WHERE e.timeline_order IS NOT NULL AND NOT e.soft_failed AND e.withheld IS NULL
ORDER BY e.room_id, new.user_id, e.timeline_order DESC
ON CONFLICT (room_id, user_id) DO UPDATE SET timeline_order = EXCLUDED.timeline_order,
    reached_at = EXCLUDED.reached_at
WHERE p.timeline_order < EXCLUDED.timeline_order
RETURNING room_id, user_id, timeline_order
"""
# What a user had not got when the process ended, of other instances' users, in small rooms: for
# each room the last, if it is among the newest hundred.
SELECT_UNTOLD = """
SELECT m.room_id, e.event_id, e.sender, e.position FROM memberships m
JOIN LATERAL (
    SELECT event_id, sender, position FROM (
        SELECT event_id, sender, position, timeline_order, state_key, soft_failed, withheld
        FROM events
        WHERE room_id = m.room_id AND timeline_order > $2 AND timeline_order <= $3
        ORDER BY timeline_order DESC LIMIT 100
    ) newest
    WHERE state_key IS NULL AND NOT soft_failed AND withheld IS NULL
        AND substr(sender, strpos(sender, ':') + 1) <> $4
    ORDER BY timeline_order DESC LIMIT 1
) e ON true
WHERE m.user_id = $1 AND m.membership = 'join'
    AND (SELECT count(*) FROM (SELECT 1 FROM memberships o WHERE o.room_id = m.room_id
        AND o.membership = 'join' LIMIT $5) few) < $5
ORDER BY e.position LIMIT $6
"""

SELECT_EVENT_FACTS = """
SELECT event_id, destination_set FROM events WHERE event_id = ANY($1::text[])
"""
SELECT_SETS = """
SELECT s.set_id, server AS server_name, coalesce(d.acked_position, 0) AS acked
FROM destination_sets s CROSS JOIN unnest(s.servers) AS server
LEFT JOIN destinations d ON d.server_name = server WHERE s.set_id = ANY($1::bigint[])
"""
SELECT_ACKED = """
SELECT server_name, acked_position AS acked FROM destinations WHERE server_name = ANY($1::text[])
"""
SELECT_REFUSALS = """
SELECT event_id, server_name, reason FROM delivery_refusals WHERE event_id = ANY($1::text[])
"""
DELETE_OLD_REFUSALS = "DELETE FROM delivery_refusals WHERE refused_at < $1"

# The members of each room who can be asked about one by one: one more than the limit shows that
# there are too many.
SELECT_FEW_MEMBERS = """
SELECT few.* FROM unnest($1::text[]) AS wanted (room_id) CROSS JOIN LATERAL (
    SELECT m.room_id, m.user_id, m.membership, m.local, m.position,
        coalesce(d.position, 0) AS device_position, d.reached_at AS device_at,
        p.timeline_order AS remote_order, p.reached_at AS remote_at
    FROM memberships m
    LEFT JOIN device_progress d ON m.local AND d.user_id = m.user_id
    LEFT JOIN remote_progress p ON NOT m.local AND p.room_id = m.room_id AND p.user_id = m.user_id
    WHERE m.room_id = wanted.room_id AND m.membership IN ('join', 'invite') AND m.user_id <> $2
    LIMIT $3
) few
"""
SELECT_MEMBERS = """
SELECT m.room_id, m.user_id, m.membership, m.local, m.position,
    coalesce(d.position, 0) AS device_position, d.reached_at AS device_at,
    p.timeline_order AS remote_order, p.reached_at AS remote_at
FROM memberships m
LEFT JOIN device_progress d ON m.local AND d.user_id = m.user_id
LEFT JOIN remote_progress p ON NOT m.local AND p.room_id = m.room_id AND p.user_id = m.user_id
WHERE m.room_id = $1 AND m.user_id <> $2 AND m.user_id > $3
    AND (m.membership IN ('join', 'invite') OR m.position > $4)
ORDER BY m.user_id LIMIT $5
"""
# Of those whose membership moved since: what it was.
SELECT_MEMBERSHIPS_BEFORE = """
SELECT DISTINCT ON (state_key) state_key, pdu FROM events
WHERE room_id = $1 AND type = 'm.room.member' AND state_key = ANY($2::text[]) AND position <= $3
    AND rejected IS NULL AND NOT soft_failed
ORDER BY state_key, position DESC
"""
SELECT_READS = """
SELECT room_id, user_id, thread_id, event_order, ts FROM receipts
WHERE room_id = ANY($1::text[]) AND user_id = ANY($2::text[]) AND receipt_type = 'm.read'
    AND event_order IS NOT NULL
"""
# How far the readers of large rooms have got, without their names.
SELECT_READ_ORDERS = """
SELECT room_id, array_agg(event_order ORDER BY event_order) AS orders FROM (
    SELECT room_id, user_id, max(event_order) AS event_order FROM receipts
    WHERE room_id = ANY($1::text[]) AND receipt_type = 'm.read' AND user_id <> $2
        AND thread_id IN ('', 'main') AND event_order IS NOT NULL
    GROUP BY room_id, user_id
) readers GROUP BY room_id
"""
SELECT_DEVICE_COUNT = """
SELECT (SELECT count(*) FROM memberships m JOIN device_progress d USING (user_id)
        WHERE m.room_id = $1 AND m.membership = 'join' AND m.local AND d.position >= $2
            AND m.user_id <> $4)
    + (SELECT count(*) FROM remote_progress WHERE room_id = $1 AND timeline_order >= $3)
"""
COUNT_MEMBERS = """
SELECT room_id, count(*) FILTER (WHERE membership = 'join') AS joined,
    count(*) FILTER (WHERE membership = 'invite') AS invited
FROM memberships WHERE room_id = ANY($1::text[]) AND membership IN ('join', 'invite')
GROUP BY room_id
"""


class MemberProgress(Struct, frozen=True):
    """A member of a room, and how far their devices are.  Times in ms."""

    room_id: str
    user_id: str
    membership: str
    local: bool
    position: int  # when their membership changed last
    device_position: int  # of a local user
    device_at: int | None
    remote_order: int | None  # of another Comity's user
    remote_at: int | None


class Read(Struct, frozen=True):
    """How far somebody has read in a thread ('': everything; 'main': outside of threads)."""

    room_id: str
    user_id: str
    thread_id: str
    event_order: int
    ts: int


class Untold(Struct, frozen=True):
    """An event that a user has got since, of which its sender's instance has not been told."""

    room_id: str
    event_id: str
    sender: str
    position: int


# ---------------------------------------------------------------- progress


async def save_progress(db: Queryable, positions: Mapping[str, int], now_ms: int) -> None:
    """Note how far local users' devices have got; never backwards."""
    users = sorted(positions)
    await db.execute(UPSERT_PROGRESS, users, [positions[user] for user in users], now_ms)


async def get_progress(db: Queryable, user_id: str) -> int | None:
    """How far a local user had got when it was last written down."""
    position: int | None = await db.fetchval(SELECT_PROGRESS, user_id)
    return position


async def delete_progress(db: Queryable, user_id: str) -> None:
    """Forget how far a user has got."""
    await db.execute(DELETE_PROGRESS, user_id)


async def save_remote_progress(
    db: Queryable, entries: Sequence[tuple[str, str, str]], now_ms: int
) -> list[tuple[str, str, int]]:
    """Note how far other instances' users have got: room ID, user ID, event ID.

    What moved: room ID, user ID, timeline order.
    """
    rows = await db.fetch(
        UPSERT_REMOTE_PROGRESS,
        [room_id for room_id, _, _ in entries],
        [user_id for _, user_id, _ in entries],
        [event_id for _, _, event_id in entries],
        now_ms,
    )
    return [(row["room_id"], row["user_id"], row["timeline_order"]) for row in rows]


async def get_untold(
    db: Queryable,
    user_id: str,
    *,
    after: int,
    upto: int,
    server_name: str,
    most_members: int,
    limit: int,
) -> list[Untold]:
    """What others wrote at ``after < position <= upto`` in the user's small rooms: of each room the
    last."""
    rows = await db.fetch(SELECT_UNTOLD, user_id, after, upto, server_name, most_members + 1, limit)
    return [Untold(**row) for row in rows]


# ---------------------------------------------------------------- instances


async def get_destination_sets(db: Queryable, event_ids: Iterable[str]) -> dict[str, int | None]:
    """Event ID -> the number of the set of instances that it is for."""
    rows = await db.fetch(SELECT_EVENT_FACTS, list(event_ids))
    return {row["event_id"]: row["destination_set"] for row in rows}


async def get_acked_by_set(db: Queryable, set_ids: Collection[int]) -> dict[int, dict[str, int]]:
    """Set -> instance -> up to where it has what is for it."""
    found: dict[int, dict[str, int]] = {set_id: {} for set_id in set_ids}
    if set_ids:
        for row in await db.fetch(SELECT_SETS, list(set_ids)):
            found[row["set_id"]][row["server_name"]] = row["acked"]
    return found


async def get_refusals(db: Queryable, event_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Event ID -> instance -> why it did not take the event."""
    found: dict[str, dict[str, str]] = {}
    for row in await db.fetch(SELECT_REFUSALS, list(event_ids)):
        found.setdefault(row["event_id"], {})[row["server_name"]] = row["reason"]
    return found


async def delete_old_refusals(db: Queryable, before: int) -> None:
    """Forget what was refused before a time (ms)."""
    await db.execute(DELETE_OLD_REFUSALS, before)


# ---------------------------------------------------------------- members and readers


async def get_few_members(
    db: Queryable, room_ids: Collection[str], but: str, most: int
) -> dict[str, list[MemberProgress]]:
    """The members of each room, invited ones too; of a room with more than ``most``, one more."""
    found: dict[str, list[MemberProgress]] = {room_id: [] for room_id in room_ids}
    for row in await db.fetch(SELECT_FEW_MEMBERS, list(room_ids), but, most + 1):
        found[row["room_id"]].append(MemberProgress(**row))
    return found


async def get_members(
    db: Queryable, room_id: str, *, but: str, after: str, position: int, limit: int
) -> list[MemberProgress]:
    """Members by user ID, and whose membership changed after a position."""
    rows = await db.fetch(SELECT_MEMBERS, room_id, but, after, position, limit)
    return [MemberProgress(**row) for row in rows]


async def get_member_pdus(
    db: Queryable, room_id: str, user_ids: Collection[str], position: int
) -> dict[str, bytes]:
    """User ID -> the PDU of their membership as it stood at a position."""
    rows = await db.fetch(SELECT_MEMBERSHIPS_BEFORE, room_id, list(user_ids), position)
    return {row["state_key"]: row["pdu"] for row in rows}


async def get_reads(
    db: Queryable, room_ids: Collection[str], user_ids: Collection[str]
) -> list[Read]:
    """How far users have read in rooms."""
    rows = await db.fetch(SELECT_READS, list(room_ids), list(user_ids))
    return [Read(**row) for row in rows]


async def get_read_orders(
    db: Queryable, room_ids: Collection[str], but: str
) -> dict[str, list[int]]:
    """Room ID -> up to where its readers have read, one number each, ascending."""
    rows = await db.fetch(SELECT_READ_ORDERS, list(room_ids), but)
    return {row["room_id"]: row["orders"] for row in rows}


async def count_devices_at(
    db: Queryable, room_id: str, position: int, timeline_order: int, but: str
) -> int:
    """How many members have a device that is at a position, as far as is known."""
    count: int = await db.fetchval(SELECT_DEVICE_COUNT, room_id, position, timeline_order, but)
    return count


async def count_members(db: Queryable, room_ids: Collection[str]) -> dict[str, tuple[int, int]]:
    """Room ID -> how many are joined, and invited."""
    rows: list[Any] = await db.fetch(COUNT_MEMBERS, list(room_ids))
    return {row["room_id"]: (row["joined"], row["invited"]) for row in rows}
