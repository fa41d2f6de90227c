"""What sliding sync asks of the database: the order and kind of a user's rooms; connections."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import orjson
from msgspec import Struct

from homeserver.protocol.events import StateKey
from homeserver.storage.database import Queryable
from homeserver.storage.rooms import MembershipRow

# The last live event of each room: one look at an index for each.
SELECT_ACTIVITY = """
SELECT wanted.room_id, last.timeline_order FROM unnest($1::text[]) AS wanted (room_id)
CROSS JOIN LATERAL (
    SELECT e.timeline_order FROM events e
    WHERE e.room_id = wanted.room_id AND e.timeline_order > 0 AND e.rejected IS NULL
        AND NOT e.soft_failed AND e.withheld IS NULL
    ORDER BY e.timeline_order DESC LIMIT 1
) last
"""
# Among each room's last live events, those of some types.
SELECT_LAST_OF_TYPES = """
SELECT wanted.room_id, last.event_id, last.sender, last.timeline_order, last.counts
FROM unnest($1::text[]) AS wanted (room_id)
CROSS JOIN LATERAL (
    SELECT e.event_id, e.sender, e.timeline_order,
        e.type = ANY($2::text[]) AND e.rejected IS NULL AND NOT e.soft_failed
            AND e.withheld IS NULL AND e.redacted_by IS NULL AS counts
    FROM events e WHERE e.room_id = wanted.room_id AND e.timeline_order > 0
    ORDER BY e.timeline_order DESC LIMIT $3
) last
ORDER BY last.timeline_order
"""
# Rooms from which somebody else removed the user, who was in them.
SELECT_REMOVED = """
SELECT m.room_id, m.membership, m.event_id, m.sender, m.position, m.forgotten, m.stripped_state
FROM memberships m
WHERE m.user_id = $1 AND m.membership IN ('leave', 'ban') AND NOT m.forgotten AND m.sender <> $1
    AND EXISTS (SELECT 1 FROM membership_changes c WHERE c.room_id = m.room_id
        AND c.user_id = $1 AND c.membership = 'join')
"""
SELECT_GONE = """
SELECT room_id, membership, event_id, sender, position, forgotten, stripped_state
FROM memberships WHERE user_id = $1 AND room_id = ANY($2::text[])
    AND membership IN ('leave', 'ban') AND NOT forgotten
"""
SELECT_CREATE_EVENTS = """
SELECT room_id, pdu FROM events
WHERE room_id = ANY($1::text[]) AND type = 'm.room.create' AND state_key = ''
    AND rejected IS NULL AND NOT soft_failed
"""
SELECT_ENCRYPTED = """
SELECT DISTINCT room_id FROM events
WHERE room_id = ANY($1::text[]) AND type = 'm.room.encryption' AND state_key = ''
    AND rejected IS NULL AND NOT soft_failed
"""
SELECT_STATE_OF_TYPES = """
WITH RECURSIVE chain (snapshot_id, parent_id, step) AS (
    SELECT snapshot_id, parent_id, 0 FROM state_snapshots WHERE snapshot_id = $1
    UNION ALL
    SELECT s.snapshot_id, s.parent_id, c.step + 1
    FROM chain c JOIN state_snapshots s ON s.snapshot_id = c.parent_id
)
SELECT DISTINCT ON (e.type, e.state_key) e.type, e.state_key, e.event_id
FROM chain JOIN state_entries e ON e.snapshot_id = chain.snapshot_id
    AND e.type = ANY($2::text[])
ORDER BY e.type, e.state_key, chain.step
"""
SELECT_TAGS = """
SELECT room_id, content FROM account_data WHERE user_id = $1 AND type = 'm.tag' AND room_id <> ''
"""

SAVE_CONNECTION = """
INSERT INTO sliding_connections (user_id, device_id, conn_id, state, saved_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bigint[])
ON CONFLICT (user_id, device_id, conn_id)
    DO UPDATE SET state = EXCLUDED.state, saved_at = EXCLUDED.saved_at
"""
TAKE_CONNECTION = """
DELETE FROM sliding_connections WHERE user_id = $1 AND device_id = $2 AND conn_id = $3
RETURNING state
"""
DELETE_OLD = "DELETE FROM sliding_connections WHERE saved_at < $1"
DELETE_REMOVED = """
DELETE FROM sliding_connections s WHERE s.user_id = $1 AND ($2 OR (s.device_id <> ''
    AND NOT EXISTS (
        SELECT 1 FROM devices d WHERE d.user_id = s.user_id AND d.device_id = s.device_id)))
"""
SELECT_DEVICE_IDS = "SELECT device_id FROM devices WHERE user_id = $1"
DELETE_SURPLUS = """
DELETE FROM sliding_connections s USING (
    SELECT user_id, device_id, conn_id,
        row_number() OVER (PARTITION BY user_id, device_id ORDER BY saved_at DESC) AS place
    FROM sliding_connections WHERE user_id = ANY($1::text[])
) r
WHERE r.place > $2 AND s.user_id = r.user_id AND s.device_id = r.device_id
    AND s.conn_id = r.conn_id
"""

ConnectionKey = tuple[str, str, str]


class LastEvent(Struct, frozen=True):
    """One of a room's last events; ``counts``: whether it is of one of the types asked for."""

    room_id: str
    event_id: str
    sender: str
    timeline_order: int
    counts: bool


async def get_activity(db: Queryable, room_ids: Collection[str]) -> dict[str, int]:
    """Room ID -> the place of its last live event; rooms without one are left out."""
    rows = await db.fetch(SELECT_ACTIVITY, list(room_ids))
    return {row["room_id"]: row["timeline_order"] for row in rows}


async def get_last_events(
    db: Queryable, room_ids: Collection[str], types: Collection[str], limit: int
) -> list[LastEvent]:
    """The last ``limit`` live events of each room, the oldest first."""
    rows = await db.fetch(SELECT_LAST_OF_TYPES, list(room_ids), list(types), limit)
    return [LastEvent(**row) for row in rows]


async def get_removed(db: Queryable, user_id: str) -> list[MembershipRow]:
    """The rooms that a user was in and that somebody else removed them from."""
    return [MembershipRow(**row) for row in await db.fetch(SELECT_REMOVED, user_id)]


async def get_gone(db: Queryable, user_id: str, room_ids: Collection[str]) -> list[MembershipRow]:
    """Those of some rooms that a user has left, or been removed from, and has not forgotten."""
    return [MembershipRow(**row) for row in await db.fetch(SELECT_GONE, user_id, list(room_ids))]


async def get_room_types(db: Queryable, room_ids: Collection[str]) -> dict[str, str | None]:
    """Room ID -> the type in its create event; rooms whose create event we lack are left out."""
    found: dict[str, str | None] = {}
    for row in await db.fetch(SELECT_CREATE_EVENTS, list(room_ids)):
        content = orjson.loads(row["pdu"]).get("content")
        room_type = content.get("type") if isinstance(content, dict) else None
        found[row["room_id"]] = room_type if isinstance(room_type, str) else None
    return found


async def get_encrypted(db: Queryable, room_ids: Collection[str]) -> set[str]:
    """Those of some rooms in which encryption was switched on."""
    return {row["room_id"] for row in await db.fetch(SELECT_ENCRYPTED, list(room_ids))}


async def get_state_of_types(
    db: Queryable, snapshot_id: int, types: Collection[str]
) -> dict[StateKey, str]:
    """The entries of a snapshot of some types, read without the rest of it."""
    rows = await db.fetch(SELECT_STATE_OF_TYPES, snapshot_id, list(types))
    return {(row["type"], row["state_key"]): row["event_id"] for row in rows}


async def get_tags(db: Queryable, user_id: str) -> dict[str, frozenset[str]]:
    """Room ID -> the user's tags."""
    found: dict[str, frozenset[str]] = {}
    for row in await db.fetch(SELECT_TAGS, user_id):
        content = row["content"]
        tags = content.get("tags") if isinstance(content, dict) else None
        if isinstance(tags, dict) and tags:
            found[row["room_id"]] = frozenset(tags)
    return found


# ---------------------------------------------------------------- connections


async def save_connections(
    db: Queryable, states: Sequence[tuple[ConnectionKey, bytes]], saved_at: int, per_device: int
) -> None:
    """Put connections away, of each device the last ``per_device``."""
    await db.execute(
        SAVE_CONNECTION,
        [key[0] for key, _ in states],
        [key[1] for key, _ in states],
        [key[2] for key, _ in states],
        [state for _, state in states],
        [saved_at] * len(states),
    )
    await db.execute(DELETE_SURPLUS, list({key[0] for key, _ in states}), per_device)


async def take_connection(db: Queryable, key: ConnectionKey) -> bytes | None:
    """Take a connection out: from now on it is in memory alone."""
    state: bytes | None = await db.fetchval(TAKE_CONNECTION, *key)
    return state


async def forget_connections(db: Queryable, before: int) -> None:
    """Forget the connections that were put away before a moment (ms)."""
    await db.execute(DELETE_OLD, before)


async def forget_removed(db: Queryable, user_id: str, *, everything: bool) -> set[str]:
    """Forget the connections of devices that are gone, or all of a user's; the devices left."""
    await db.execute(DELETE_REMOVED, user_id, everything)
    return {row["device_id"] for row in await db.fetch(SELECT_DEVICE_IDS, user_id)}
