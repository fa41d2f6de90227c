"""Deletes rows of notifications that nobody's unread counts need any more, a page at a time."""

from __future__ import annotations

from homeserver.storage.database import Queryable

NEXT_ROOM = "SELECT room_id FROM notifications WHERE room_id > $1 ORDER BY room_id LIMIT 1"
# The place up to which a room is old.
SELECT_OLD = """
SELECT timeline_order FROM events
WHERE room_id = $1 AND timeline_order IS NOT NULL AND origin_server_ts < $2
ORDER BY origin_server_ts DESC LIMIT 1
"""
# Who sends something has read what stands before: only the last in each thread says anything.
DELETE_SENT = """
DELETE FROM notifications WHERE ctid = ANY(ARRAY(
    SELECT n.ctid FROM notifications n
    WHERE n.room_id = $1 AND starts_with(n.audience, 'sent:') AND EXISTS (
        SELECT 1 FROM notifications later WHERE later.room_id = n.room_id
            AND later.audience = n.audience AND later.thread_id = n.thread_id
            AND later.position > n.position)
    LIMIT $2))
"""
# Rows for one user each: what they have read, and all of who is not in the room.
DELETE_OWN = """
DELETE FROM notifications WHERE ctid = ANY(ARRAY(
    SELECT n.ctid FROM notifications n
    WHERE n.room_id = $1 AND n.position <= $2 AND starts_with(n.audience, '@')
        AND n.released_at IS NULL AND (
            EXISTS (SELECT 1 FROM receipts r WHERE r.room_id = n.room_id AND r.user_id = n.audience
                AND r.receipt_type IN ('m.read', 'm.read.private')
                AND r.thread_id IN ('', n.thread_id) AND r.event_order >= n.position)
            OR EXISTS (SELECT 1 FROM notifications s WHERE s.room_id = n.room_id
                AND s.audience = 'sent:' || n.audience AND s.thread_id = n.thread_id
                AND s.position > n.position)
            OR NOT EXISTS (SELECT 1 FROM memberships m WHERE m.room_id = n.room_id
                AND m.user_id = n.audience AND m.membership = 'join'))
    LIMIT $3))
"""
SELECT_MEMBERS = """
SELECT user_id FROM memberships WHERE room_id = $1 AND local AND membership = 'join' LIMIT $2
"""
# Rows for all who share the default rules: what each member has read, or was not there for.
DELETE_SHARED = """
WITH page AS (
    SELECT n.ctid AS place, n.thread_id, n.position FROM notifications n
    WHERE n.room_id = $1 AND n.audience = 'default' AND n.position <= $2 AND n.released_at IS NULL
    ORDER BY n.position LIMIT $4
), stay AS (
    SELECT user_id, coalesce((SELECT max(position) FROM (
        SELECT c.position, c.membership, lag(c.membership) OVER (ORDER BY c.position) AS before
        FROM membership_changes c WHERE c.room_id = $1 AND c.user_id = member.user_id
    ) changes WHERE membership = 'join' AND before IS DISTINCT FROM 'join'), 0) AS since
    FROM unnest($3::text[]) AS member (user_id)
), floor AS (
    SELECT thread_id, min(greatest(stay.since,
        coalesce((SELECT max(r.event_order) FROM receipts r
            WHERE r.room_id = $1 AND r.user_id = stay.user_id
                AND r.receipt_type IN ('m.read', 'm.read.private')
                AND r.thread_id IN ('', threads.thread_id)), 0),
        coalesce((SELECT max(s.position) FROM notifications s
            WHERE s.room_id = $1 AND s.audience = 'sent:' || stay.user_id
                AND s.thread_id = threads.thread_id), 0))) AS upto
    FROM (SELECT DISTINCT thread_id FROM page) threads CROSS JOIN stay GROUP BY thread_id
)
DELETE FROM notifications USING page JOIN floor USING (thread_id)
WHERE notifications.ctid = page.place AND page.position <= floor.upto
"""
DELETE_DESERTED = """
DELETE FROM notifications WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM notifications WHERE room_id = $1 AND audience = 'default' LIMIT $2))
"""
# What is beyond the number up to which is counted.
DELETE_UNCOUNTED = """
DELETE FROM notifications WHERE ctid = ANY(ARRAY(
    SELECT n.ctid FROM (
        SELECT audience FROM notifications WHERE room_id = $1
        GROUP BY audience HAVING count(*) > $2
    ) many CROSS JOIN LATERAL (
        SELECT ctid FROM notifications WHERE room_id = $1 AND audience = many.audience
        ORDER BY position DESC OFFSET $2 LIMIT $3
    ) n LIMIT $3))
"""


async def next_room(db: Queryable, after: str) -> str | None:
    """The first room after another, by ID, that has notifications."""
    room_id: str | None = await db.fetchval(NEXT_ROOM, after)
    return room_id


async def get_old(db: Queryable, room_id: str, before: int) -> int | None:
    """The place in a room's timeline up to which it is older than a time (ms)."""
    order: int | None = await db.fetchval(SELECT_OLD, room_id, before)
    return order


async def delete_sent(db: Queryable, room_id: str, limit: int) -> int:
    """Delete what says that somebody sent something, but for the last in each thread."""
    return _count(await db.execute(DELETE_SENT, room_id, limit))


async def delete_own(db: Queryable, room_id: str, upto: int, limit: int) -> int:
    """Delete what single users have read, up to a place."""
    return _count(await db.execute(DELETE_OWN, room_id, upto, limit))


async def delete_shared(
    db: Queryable, room_id: str, upto: int, *, most_members: int, limit: int
) -> int:
    """Delete what all local members have read, up to a place; not where there are too many."""
    rows = await db.fetch(SELECT_MEMBERS, room_id, most_members + 1)
    members = [row["user_id"] for row in rows]
    if not members:
        return _count(await db.execute(DELETE_DESERTED, room_id, limit))
    if len(members) > most_members:
        return 0
    return _count(await db.execute(DELETE_SHARED, room_id, upto, members, limit))


async def delete_uncounted(db: Queryable, room_id: str, most: int, limit: int) -> int:
    """Delete what is beyond the newest ``most`` of an audience."""
    return _count(await db.execute(DELETE_UNCOUNTED, room_id, most, limit))


def _count(tag: str) -> int:
    return int(tag.rpartition(" ")[2])
