"""What a user was notified of, and what of it they have read; calls that they missed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

# Of each room the newest before a place, then the newest of all.  A row of the user's own audience
# goes before that of their ruleset.
_PAGE = """
SELECT DISTINCT ON (found.position) found.* FROM (
    SELECT n.* FROM unnest($1::text[]) AS wanted (room_id)
    CROSS JOIN unnest($3::text[]) AS heard (audience) CROSS JOIN LATERAL (
        SELECT room_id, position, event_id, thread_id, highlight, audience FROM notifications
        WHERE room_id = wanted.room_id AND audience = heard.audience AND position < $4
            AND sender <> $2{}
        ORDER BY position DESC LIMIT $5
    ) n ORDER BY n.position DESC LIMIT $5
) found ORDER BY found.position DESC, found.audience = $2 DESC
"""
SELECT_PAGE = _PAGE.format("")
# In words of its own, so that the index of highlights is of use.
SELECT_PAGE_OF_HIGHLIGHTS = _PAGE.format(" AND highlight")
# Read by a receipt for the room or for the thread, or since the reader sent something there.
# What was held is read only by receipts since its release.
SELECT_READ = """
SELECT asked.event_id FROM unnest($2::text[]) AS asked (event_id)
JOIN events e ON e.event_id = asked.event_id
WHERE EXISTS (
    SELECT 1 FROM receipts r LEFT JOIN events upto
        ON r.event_order IS NULL AND upto.event_id = r.event_id AND upto.room_id = r.room_id
    WHERE r.room_id = e.room_id AND r.user_id = $1
        AND r.receipt_type IN ('m.read', 'm.read.private')
        AND r.thread_id IN ('', (SELECT n.thread_id FROM notifications n WHERE n.room_id = e.room_id
            AND n.position = e.timeline_order AND n.audience = ANY($3::text[]) LIMIT 1))
        AND coalesce(r.event_order, upto.timeline_order) >= e.timeline_order
        AND (e.position = e.timeline_order OR r.position > e.position)
) OR EXISTS (
    SELECT 1 FROM notifications n JOIN notifications s ON s.room_id = n.room_id
        AND s.audience = 'sent:' || $1 AND s.thread_id = n.thread_id AND s.position > n.position
    WHERE n.room_id = e.room_id AND n.position = e.timeline_order AND n.audience = ANY($3::text[])
        AND e.position = e.timeline_order
)
"""
COUNT_MISSED_CALLS = """
SELECT count(*) FROM (
    SELECT 1 FROM unnest($2::text[]) AS wanted (room_id)
    JOIN calls c ON c.room_id = wanted.room_id AND c.started_at > $3
    JOIN events e ON e.event_id = c.event_id
    WHERE c.caller <> $1 AND (c.invitee IS NULL OR c.invitee = $1) AND c.answered_at IS NULL
        AND (c.ended_at IS NOT NULL OR c.rings_until < $4) AND c.ended_by IS DISTINCT FROM $1
        AND NOT EXISTS (
            SELECT 1 FROM receipts r WHERE r.room_id = c.room_id AND r.user_id = $1
                AND r.receipt_type IN ('m.read', 'm.read.private')
                AND r.thread_id IN ('', 'main') AND r.event_order >= e.timeline_order)
    LIMIT $5
) missed
"""


class NotificationRow(Struct, frozen=True):
    """An event that a user was notified of; ``position`` is its place in the timeline."""

    room_id: str
    position: int
    event_id: str
    thread_id: str
    highlight: bool
    audience: str


async def get_page(
    db: Queryable,
    room_ids: Collection[str],
    user_id: str,
    *,
    audiences: Collection[str],
    before: int,
    only_highlights: bool,
    limit: int,
) -> list[NotificationRow]:
    """The newest notifications before a place, in some rooms; fewer than ``limit`` only at the
    end, or where several audiences have the same."""
    rows = await db.fetch(
        SELECT_PAGE_OF_HIGHLIGHTS if only_highlights else SELECT_PAGE,
        list(room_ids),
        user_id,
        list(audiences),
        before,
        limit * len(audiences),
    )
    return [NotificationRow(**row) for row in rows]


async def get_read(
    db: Queryable, user_id: str, event_ids: Iterable[str], audiences: Sequence[str]
) -> set[str]:
    """Those of some events, which notified a user, that the user has read."""
    rows = await db.fetch(SELECT_READ, user_id, list(event_ids), list(audiences))
    return {row["event_id"] for row in rows}


async def count_missed_calls(
    db: Queryable, user_id: str, room_ids: Collection[str], *, since: int, now: int, limit: int
) -> int:
    """Calls in some rooms that rang for a user in vain since a time (ms), and are not read."""
    count: int = await db.fetchval(COUNT_MISSED_CALLS, user_id, list(room_ids), since, now, limit)
    return count
