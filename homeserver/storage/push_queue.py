"""What each pusher has yet to send, and how far the log was gone through for that."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable
from homeserver.storage.event_records import Notification
from homeserver.storage.rooms import MembershipRow

INSERT = """
INSERT INTO push_queue (pusher_id, event_id, room_id, thread_id, actions, queued_at)
SELECT new.pusher_id, new.event_id, new.room_id, new.thread_id, new.actions::json, $6
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
    AS new (pusher_id, event_id, room_id, thread_id, actions, number)
JOIN pushers p ON p.pusher_id = new.pusher_id
ORDER BY number ON CONFLICT DO NOTHING
"""
SELECT_POSITION = "SELECT position FROM push_position"
SET_POSITION = """
INSERT INTO push_position (position) VALUES ($1)
ON CONFLICT (only_row) DO UPDATE SET position = EXCLUDED.position
"""
SELECT_WAITING = "SELECT DISTINCT pusher_id FROM push_queue"
SELECT_ITEMS = """
SELECT queue_id, pusher_id, event_id, room_id, thread_id, actions, queued_at FROM push_queue
WHERE pusher_id = $1 ORDER BY queue_id LIMIT $2
"""
DELETE_ITEMS = "DELETE FROM push_queue WHERE queue_id = ANY($1::bigint[])"
DELETE_STALE = """
DELETE FROM push_queue WHERE pusher_id = $1 AND event_id IS NOT NULL AND (queued_at < $2
    OR queue_id < (SELECT queue_id FROM push_queue
        WHERE pusher_id = $1 ORDER BY queue_id DESC OFFSET $3 LIMIT 1))
"""
# For going through the log again after a stop.  What takes part in a timeline, or was released.
SELECT_EVENTS = """
SELECT event_id, position, timeline_order, room_id FROM events
WHERE position > $1 AND position <= $2 AND timeline_order > 0 AND withheld IS NULL
ORDER BY position LIMIT $3
"""
SELECT_NOTIFICATIONS = """
SELECT n.event_id, n.audience, n.thread_id, n.highlight
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS wanted (room_id, position, audience)
JOIN notifications n USING (room_id, audience, position)
"""
SELECT_INVITES = """
SELECT room_id, user_id, membership, event_id, sender, position, forgotten, stripped_state
FROM memberships
WHERE position > $1 AND position <= $2 AND local AND membership = 'invite'
    AND user_id = ANY($3::text[]) ORDER BY position
"""
SELECT_READERS = """
SELECT DISTINCT r.user_id FROM unnest($2::text[], $3::text[]) AS stay (room_id, user_id)
JOIN receipts r ON r.room_id = stay.room_id AND r.user_id = stay.user_id
    AND r.receipt_type IN ('m.read', 'm.read.private') AND r.position > $1
"""


class NewPush(Struct, frozen=True):
    """Something to be pushed; without an event: the counts."""

    pusher_id: int
    event_id: str | None = None
    room_id: str | None = None
    thread_id: str | None = None
    actions: str | None = None  # JSON


class QueuedPush(Struct, frozen=True):
    """Something that waits to be pushed.  ``queued_at`` in ms."""

    queue_id: int
    pusher_id: int
    event_id: str | None
    room_id: str | None
    thread_id: str | None
    actions: list[Any] | None
    queued_at: int


class LoggedEvent(Struct, frozen=True):
    """An event of the log, and where it stands."""

    event_id: str
    position: int
    timeline_order: int
    room_id: str


async def insert(db: Queryable, pushes: Sequence[NewPush], now: int) -> None:
    """Queue pushes in this order; what is queued already, or for no pusher, is left out."""
    await db.execute(
        INSERT,
        [push.pusher_id for push in pushes],
        [push.event_id for push in pushes],
        [push.room_id for push in pushes],
        [push.thread_id for push in pushes],
        [push.actions for push in pushes],
        now,
    )


async def get_position(db: Queryable) -> int | None:
    """How far the log was gone through; None: never."""
    position: int | None = await db.fetchval(SELECT_POSITION)
    return position


async def set_position(db: Queryable, position: int) -> None:
    """Note how far the log was gone through."""
    await db.execute(SET_POSITION, position)


async def get_waiting(db: Queryable) -> set[int]:
    """The pushers that have something to send."""
    return {row["pusher_id"] for row in await db.fetch(SELECT_WAITING)}


async def get_items(db: Queryable, pusher_id: int, limit: int) -> list[QueuedPush]:
    """What a pusher has to send, the oldest first."""
    return [QueuedPush(**row) for row in await db.fetch(SELECT_ITEMS, pusher_id, limit)]


async def delete_items(db: Queryable, queue_ids: Collection[int]) -> None:
    """These were sent, or need not be."""
    await db.execute(DELETE_ITEMS, list(queue_ids))


async def delete_stale(db: Queryable, pusher_id: int, *, before: int, most: int) -> None:
    """Give up what was queued before a time (ms), and what is beyond the newest ``most``."""
    await db.execute(DELETE_STALE, pusher_id, before, most)


async def get_events(db: Queryable, since: int, upto: int, limit: int) -> list[LoggedEvent]:
    """Events that could be seen first at ``since < position <= upto``, the oldest first."""
    rows = await db.fetch(SELECT_EVENTS, since, upto, limit)
    return [LoggedEvent(**row) for row in rows]


async def get_notifications(
    db: Queryable, wanted: Sequence[tuple[str, int, str]]
) -> dict[str, list[Notification]]:
    """Event ID -> its notifications among these rooms, places and audiences."""
    if not wanted:
        return {}
    found: dict[str, list[Notification]] = {}
    rows = await db.fetch(SELECT_NOTIFICATIONS, *map(list, zip(*wanted, strict=True)))
    for row in rows:
        notification = Notification(row["audience"], row["thread_id"], row["highlight"])
        found.setdefault(row["event_id"], []).append(notification)
    return found


async def get_invites(
    db: Queryable, since: int, upto: int, user_ids: Collection[str]
) -> list[tuple[str, MembershipRow]]:
    """Who of these users was invited after a position, and still is."""
    rows = await db.fetch(SELECT_INVITES, since, upto, list(user_ids))
    return [
        (
            row["user_id"],
            MembershipRow(
                row["room_id"],
                row["membership"],
                row["event_id"],
                row["sender"],
                row["position"],
                row["forgotten"],
                row["stripped_state"],
            ),
        )
        for row in rows
    ]


async def get_readers(db: Queryable, since: int, stays: Sequence[tuple[str, str]]) -> set[str]:
    """Those of ``(room, user)`` who have read something since a position."""
    if not stays:
        return set()
    rooms, users = map(list, zip(*stays, strict=True))
    return {row["user_id"] for row in await db.fetch(SELECT_READERS, since, rooms, users)}
