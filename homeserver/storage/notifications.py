"""Unread counts, from one row per event and audience.  See :mod:`homeserver.services.unread`."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from homeserver.storage.database import Queryable

# For each room: how far it is read as a whole (a receipt for no thread, or the reader's join),
# how far each thread is (a receipt for it, or an event that the reader sent there), and what of
# the notifications for the reader's audiences is past both.  An event that notifies several of
# the audiences counts once.  One that was held is unread for whoever has read past its place,
# too, if they did so before its release ("made": when a mark was set).
COUNT_UNREAD = """
SELECT wanted.room_id, counted.thread_id, counted.notifications, counted.highlights
FROM unnest($1::text[]) AS wanted (room_id) CROSS JOIN LATERAL (
    WITH receipt AS (
        SELECT r.thread_id, max(coalesce(r.event_order, e.timeline_order)) AS upto,
            max(r.position) AS made
        FROM receipts r LEFT JOIN events e
            ON r.event_order IS NULL AND e.event_id = r.event_id AND e.room_id = r.room_id
        WHERE r.room_id = wanted.room_id AND r.user_id = $2
            AND r.receipt_type IN ('m.read', 'm.read.private')
        GROUP BY r.thread_id
    ), stay AS (
        SELECT max(position) AS since FROM (
            SELECT position, membership, lag(membership) OVER (ORDER BY position) AS before
            FROM membership_changes WHERE room_id = wanted.room_id AND user_id = $2
        ) changes WHERE membership = 'join' AND before IS DISTINCT FROM 'join'
    ), sent AS (
        SELECT thread_id, max(position) AS upto FROM (
            SELECT thread_id, position FROM notifications
            WHERE room_id = wanted.room_id AND audience = $4 ORDER BY position DESC LIMIT $6
        ) newest GROUP BY thread_id
    ), room_read AS (
        SELECT greatest((SELECT upto FROM receipt WHERE thread_id = ''), (SELECT since FROM stay),
            0) AS upto,
            greatest((SELECT made FROM receipt WHERE thread_id = ''), (SELECT since FROM stay),
            0) AS made,
            coalesce((SELECT since FROM stay), 0) AS since
    ), thread_read AS (
        SELECT thread_id, max(upto) AS upto, max(made) AS made
        FROM (
            SELECT thread_id, upto, made FROM receipt WHERE thread_id <> ''
            UNION ALL SELECT thread_id, upto, upto FROM sent
        ) marks GROUP BY thread_id
    )
    SELECT thread_id, count(*) AS notifications, count(*) FILTER (WHERE highlight) AS highlights
    FROM (
        SELECT n.position, n.thread_id, bool_or(n.highlight) AS highlight
        FROM room_read CROSS JOIN LATERAL (
            SELECT position, event_id, thread_id, highlight, sender, released_at
            FROM notifications
            WHERE room_id = wanted.room_id AND audience = ANY($3::text[])
                AND position > room_read.upto AND position <= $5
            UNION ALL
            SELECT position, event_id, thread_id, highlight, sender, released_at
            FROM notifications
            WHERE room_id = wanted.room_id AND audience = ANY($3::text[])
                AND released_at > room_read.made AND released_at <= $5
                AND position <= room_read.upto AND position > room_read.since
        ) n LEFT JOIN thread_read ON thread_read.thread_id = n.thread_id
        WHERE n.sender <> $2 AND (n.released_at IS NULL OR n.released_at <= $5)
            AND (thread_read.upto IS NULL OR n.position > thread_read.upto
                OR n.released_at > thread_read.made)
            AND n.sender <> ALL($8::text[]) AND n.event_id <> ALL($8::text[])
            AND (substr(n.sender, strpos(n.sender, ':') + 1) <> ALL($8::text[])
                OR '+' || n.sender = ANY($8::text[]))
        GROUP BY n.position, n.thread_id ORDER BY n.position DESC LIMIT $7
    ) unread GROUP BY thread_id
) counted
"""
# Of the newest notifications of each room and audience those that call, by their event's type.
SELECT_CALLS = """
SELECT n.event_id, n.sender FROM unnest($1::text[]) AS wanted (room_id)
CROSS JOIN unnest($2::text[]) AS heard (audience) CROSS JOIN LATERAL (
    SELECT event_id, sender FROM notifications
    WHERE room_id = wanted.room_id AND audience = heard.audience AND position <= $3
    ORDER BY position DESC LIMIT $4
) n JOIN events e ON e.event_id = n.event_id
WHERE EXISTS (SELECT 1 FROM unnest($5::text[]) AS p (prefix) WHERE starts_with(e.type, p.prefix))
"""


class UnreadRow(Struct, frozen=True):
    """How much is unread in a thread, or in the main timeline, of a room."""

    room_id: str
    thread_id: str
    notifications: int
    highlights: int


async def count_unread(
    db: Queryable,
    room_ids: Collection[str],
    user_id: str,
    *,
    audiences: Collection[str],
    sent_audience: str,
    upto: int,
    marks: int,
    limit: int,
    without: Collection[str],
) -> list[UnreadRow]:
    """What a reader who is joined has not read, of what stands up to a position.

    ``sent_audience``: the rows that stand for what the reader sent, of which the newest ``marks``
    are looked at.  ``limit``: how many events are counted in a room at most.
    ``without``: senders, and instances, whose events do not count, and single events.
    """
    rows = await db.fetch(
        COUNT_UNREAD,
        list(room_ids),
        user_id,
        list(audiences),
        sent_audience,
        upto,
        marks,
        limit,
        list(without),
    )
    return [UnreadRow(**row) for row in rows]


async def get_calls(
    db: Queryable,
    room_ids: Collection[str],
    *,
    audiences: Collection[str],
    upto: int,
    types: Collection[str],
    limit: int,
) -> list[tuple[str, str]]:
    """``(event ID, sender)`` of calls among the newest ``limit`` notifications of each room.

    ``types``: how the types of events that call begin.
    """
    rows = await db.fetch(SELECT_CALLS, list(room_ids), list(audiences), upto, limit, list(types))
    return [(row["event_id"], row["sender"]) for row in rows]
