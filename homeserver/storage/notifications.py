"""Unread counts, from one row per event and audience.  See :mod:`homeserver.services.unread`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from homeserver.storage.database import Queryable

# An event that notifies several audiences of a reader counts once.  Of a thread counts what is
# past both the reader's mark in the whole room and their mark in that thread.
SELECT_UNREAD = """
SELECT thread_id, count(*) AS notifications, count(*) FILTER (WHERE highlight) AS highlights
FROM (
    SELECT n.position, n.thread_id, bool_or(n.highlight) AS highlight
    FROM notifications n
    LEFT JOIN unnest($6::text[], $7::bigint[]) AS read (thread_id, upto)
        ON read.thread_id = n.thread_id
    WHERE n.room_id = $1 AND n.audience = ANY($2::text[]) AND n.position > $3
        AND n.position <= $4 AND n.sender <> $5
        AND (read.upto IS NULL OR n.position > read.upto)
    GROUP BY n.position, n.thread_id ORDER BY n.position DESC LIMIT $8
) counted GROUP BY thread_id
"""
SELECT_LAST_SENT = """
SELECT thread_id, max(position) AS position FROM (
    SELECT thread_id, position FROM notifications
    WHERE room_id = $1 AND audience = $2 ORDER BY position DESC LIMIT $3
) newest GROUP BY thread_id
"""
SELECT_LATEST_READ = """
SELECT r.thread_id, max(coalesce(r.event_order, e.timeline_order)) AS upto FROM receipts r
LEFT JOIN events e ON e.event_id = r.event_id AND e.room_id = r.room_id
WHERE r.room_id = $1 AND r.user_id = $2 AND r.receipt_type IN ('m.read', 'm.read.private')
GROUP BY r.thread_id
"""
SELECT_JOINED_AT = """
SELECT position, membership FROM membership_changes
WHERE room_id = $1 AND user_id = $2 ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class UnreadRow:
    """How much is unread in a thread, or in the main timeline."""

    thread_id: str
    notifications: int
    highlights: int


async def count_unread(
    db: Queryable,
    room_id: str,
    user_id: str,
    audiences: Collection[str],
    *,
    after: int,
    upto: int,
    threads: Mapping[str, int],
    limit: int,
) -> list[UnreadRow]:
    """Unread events of others at ``after < position <= upto``, the newest ``limit`` of them.

    ``threads``: how far single threads are read.
    """
    rows = await db.fetch(
        SELECT_UNREAD,
        room_id,
        list(audiences),
        after,
        upto,
        user_id,
        list(threads),
        list(threads.values()),
        limit,
    )
    return [UnreadRow(**row) for row in rows]


async def get_last_sent(
    db: Queryable, room_id: str, audience: str, limit: int
) -> dict[str, int]:
    """Thread ID -> the last position of this audience's rows, of which the newest are read."""
    rows = await db.fetch(SELECT_LAST_SENT, room_id, audience, limit)
    return {row["thread_id"]: row["position"] for row in rows}


async def get_read_upto(db: Queryable, room_id: str, user_id: str) -> dict[str, int]:
    """Thread ID (``''``: the whole room) -> timeline order of the last event that was read."""
    rows = await db.fetch(SELECT_LATEST_READ, room_id, user_id)
    return {row["thread_id"]: row["upto"] for row in rows if row["upto"] is not None}


async def get_joined_at(db: Queryable, room_id: str, user_id: str) -> int:
    """The position at which a user who is joined came in; profile changes do not count."""
    joined_at, before = 0, "leave"
    for row in await db.fetch(SELECT_JOINED_AT, room_id, user_id):
        if row["membership"] == "join" and before != "join":
            joined_at = row["position"]
        before = row["membership"]
    return joined_at
