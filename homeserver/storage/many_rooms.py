"""What readers ask of many rooms at once: timelines and state, each in one query.

One look at an index for each room, whatever its size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from homeserver.protocol.events import StateKey
from homeserver.storage.database import Queryable
from homeserver.storage.events import (
    StoredEvent,
    get_transaction_ids,
    select_columns,
    stored_events,
)

OwnEvent = tuple[str, str, str]
"""A user, a device of theirs, and the ID of an event that may be the device's."""

SELECT_TIMELINES = f"""
SELECT wanted.number, {select_columns("e")}
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::int[]) WITH ORDINALITY
    AS wanted (room_id, newest, oldest, most, number)
CROSS JOIN LATERAL (
    SELECT * FROM events live WHERE live.room_id = wanted.room_id
        AND live.timeline_order IS NOT NULL AND live.timeline_order <= wanted.newest
        AND live.timeline_order > wanted.oldest
    ORDER BY live.timeline_order DESC LIMIT wanted.most
) e JOIN rooms r ON r.room_id = e.room_id
"""
SELECT_OLDER = """
SELECT wanted.number
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS wanted (room_id, before, number)
WHERE EXISTS (SELECT 1 FROM events e
        WHERE e.room_id = wanted.room_id AND e.timeline_order < wanted.before)
    OR EXISTS (SELECT 1 FROM backward_extremities b JOIN events e ON e.event_id = b.successor_id
        WHERE b.room_id = wanted.room_id)
"""
SELECT_SNAPSHOTS = """
SELECT room_id, snapshot_id FROM rooms WHERE room_id = ANY($1::text[]) AND snapshot_id IS NOT NULL
"""
# A chain is read newest first; the first entry found for a key counts.  Each step is a look at an
# index: without LIMIT and OFFSET the planner would read whole tables for a few dozen rooms.
_CHAIN = """
WITH RECURSIVE chain (root, snapshot_id, parent_id, step) AS (
    SELECT snapshot_id, snapshot_id, parent_id, 0 FROM state_snapshots
    WHERE snapshot_id = ANY($1::bigint[])
    UNION ALL
    SELECT c.root, s.snapshot_id, s.parent_id, c.step + 1
    FROM chain c CROSS JOIN LATERAL (
        SELECT snapshot_id, parent_id FROM state_snapshots WHERE snapshot_id = c.parent_id LIMIT 1
    ) s
)
SELECT DISTINCT ON (chain.root, e.type, e.state_key) chain.root, e.type, e.state_key, e.event_id
"""
SELECT_STATES = f"""
{_CHAIN} FROM chain CROSS JOIN LATERAL (
    SELECT type, state_key, event_id FROM state_entries
    WHERE snapshot_id = chain.snapshot_id OFFSET 0
) e ORDER BY chain.root, e.type, e.state_key, chain.step
"""
SELECT_STATES_BUT_MEMBERS = f"""
{_CHAIN} FROM chain CROSS JOIN LATERAL (
    SELECT type, state_key, event_id FROM state_entries
    WHERE snapshot_id = chain.snapshot_id AND type <> 'm.room.member' OFFSET 0
) e ORDER BY chain.root, e.type, e.state_key, chain.step
"""
SELECT_STATES_KEYS = f"""
{_CHAIN} FROM unnest($2::bigint[], $3::text[], $4::text[]) AS wanted (root, type, state_key)
JOIN chain ON chain.root = wanted.root CROSS JOIN LATERAL (
    SELECT type, state_key, event_id FROM state_entries
    WHERE snapshot_id = chain.snapshot_id AND type = wanted.type AND state_key = wanted.state_key
    LIMIT 1
) e ORDER BY chain.root, e.type, e.state_key, chain.step
"""


class Stretch(Struct, frozen=True):
    """The newest events of a room's timeline with ``oldest < timeline_order <= newest``."""

    room_id: str
    newest: int
    oldest: int
    limit: int


async def get_timelines(
    db: Queryable, stretches: Sequence[Stretch]
) -> dict[Stretch, list[StoredEvent]]:
    """The events of several stretches, of each the newest first."""
    rows = await db.fetch(
        SELECT_TIMELINES,
        [stretch.room_id for stretch in stretches],
        [stretch.newest for stretch in stretches],
        [stretch.oldest for stretch in stretches],
        [stretch.limit for stretch in stretches],
    )
    found: dict[Stretch, list[StoredEvent]] = {stretch: [] for stretch in stretches}
    for row, stored in zip(rows, await stored_events(rows), strict=True):
        found[stretches[row["number"] - 1]].append(stored)
    for events in found.values():
        events.sort(key=_order, reverse=True)
    return found


def _order(stored: StoredEvent) -> int:
    return stored.order


async def get_rooms_with_older(
    db: Queryable, places: Sequence[tuple[str, int]]
) -> set[tuple[str, int]]:
    """Those pairs of a room and a place where there is history before the place, here or
    elsewhere."""
    rows = await db.fetch(SELECT_OLDER, [room for room, _ in places], [at for _, at in places])
    return {places[row["number"] - 1] for row in rows}


async def get_room_snapshots(db: Queryable, room_ids: Iterable[str]) -> dict[str, int]:
    """Room ID -> the snapshot of its current state."""
    rows = await db.fetch(SELECT_SNAPSHOTS, list(room_ids))
    return {row["room_id"]: row["snapshot_id"] for row in rows}


async def get_states(
    db: Queryable, snapshot_ids: Collection[int]
) -> dict[int, dict[StateKey, str]]:
    """Snapshots in full: snapshot ID -> ``(type, state_key)`` -> event ID."""
    return _by_snapshot(snapshot_ids, await db.fetch(SELECT_STATES, list(snapshot_ids)))


async def get_states_but_members(
    db: Queryable, snapshot_ids: Collection[int]
) -> dict[int, dict[StateKey, str]]:
    """Snapshots without the rooms' members, who may be many."""
    rows = await db.fetch(SELECT_STATES_BUT_MEMBERS, list(snapshot_ids))
    return _by_snapshot(snapshot_ids, rows)


async def get_states_keys(
    db: Queryable, wanted: Sequence[tuple[int, StateKey]]
) -> dict[tuple[int, StateKey], str]:
    """Entries of snapshots, read without the rest of them: those that there are."""
    rows = await db.fetch(
        SELECT_STATES_KEYS,
        list({snapshot_id for snapshot_id, _ in wanted}),
        [snapshot_id for snapshot_id, _ in wanted],
        [key[0] for _, key in wanted],
        [key[1] for _, key in wanted],
    )
    return {(row["root"], (row["type"], row["state_key"])): row["event_id"] for row in rows}


async def get_own_transaction_ids(db: Queryable, events: Iterable[OwnEvent]) -> dict[OwnEvent, str]:
    """The transaction IDs of those events that the devices sent; a query for each device."""
    by_device: dict[tuple[str, str], list[str]] = {}
    for user_id, device_id, event_id in events:
        by_device.setdefault((user_id, device_id), []).append(event_id)
    found: dict[OwnEvent, str] = {}
    for (user_id, device_id), event_ids in by_device.items():
        read = await get_transaction_ids(db, event_ids, user_id, device_id)
        found |= {(user_id, device_id, event_id): txn for event_id, txn in read.items()}
    return found


def _by_snapshot(
    snapshot_ids: Iterable[int], rows: Iterable[Mapping[str, Any]]
) -> dict[int, dict[StateKey, str]]:
    found: dict[int, dict[StateKey, str]] = {snapshot_id: {} for snapshot_id in snapshot_ids}
    for row in rows:
        found[row["root"]][(row["type"], row["state_key"])] = row["event_id"]
    return found
