"""E-mail pushers: when each is due, and whose addresses are whose."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.storage.database import Queryable

HAS_EMAIL = """
SELECT EXISTS (SELECT 1 FROM third_party_ids
    WHERE medium = 'email' AND address = $2 AND user_id = $1)
"""
# After the first of what waits has waited for a while, and not too soon after the last mail.  One
# look into an index for each pusher, however much waits for it.
SELECT_NEXT = """
SELECT p.pusher_id, greatest(oldest.queued_at + $1, coalesce(p.sent_at, 0) + $2,
    coalesce(p.retry_at, 0)) AS due_at
FROM pushers p CROSS JOIN LATERAL (SELECT q.queued_at FROM push_queue q
    WHERE q.pusher_id = p.pusher_id ORDER BY q.queue_id LIMIT 1) AS oldest
WHERE p.kind = 'email' AND p.enabled ORDER BY due_at LIMIT $3
"""
# Who has read the newest of a thread has read what is before it.  The oldest of all stays, for it
# says since when something waits.
TRIM = """
DELETE FROM push_queue WHERE queue_id IN (
    SELECT queue_id FROM (
        SELECT queue_id, row_number() OVER (PARTITION BY pusher_id ORDER BY queue_id) AS oldest,
            row_number() OVER (PARTITION BY pusher_id ORDER BY queue_id DESC) AS newest,
            row_number() OVER (PARTITION BY pusher_id, room_id, thread_id
                ORDER BY queue_id DESC) AS newest_of_thread
        FROM push_queue WHERE pusher_id = ANY($1::bigint[]) AND event_id IS NOT NULL) AS ranked
    WHERE oldest > 1 AND (newest_of_thread > $2 OR newest > $3))
"""
# Whoever else has mailed them meanwhile has deleted them.
TAKE = "DELETE FROM push_queue WHERE queue_id = ANY($1::bigint[]) RETURNING queue_id"


async def has_email(db: Queryable, user_id: str, address: str) -> bool:
    """Whether an e-mail address, in canonical form, is an account's."""
    return bool(await db.fetchval(HAS_EMAIL, user_id, address))


async def get_next(
    db: Queryable, *, after_ms: int, every_ms: int, limit: int
) -> list[tuple[int, int]]:
    """The pushers that are to write next, and when (ms).

    ``after_ms``: since the first of what waits was queued; ``every_ms``: since its last mail.
    """
    rows = await db.fetch(SELECT_NEXT, after_ms, every_ms, limit)
    return [(row["pusher_id"], row["due_at"]) for row in rows]


async def trim(
    db: Queryable, pusher_ids: Collection[int], *, of_thread: int, altogether: int
) -> None:
    """Leave of what waits for each pusher the newest of each thread, the newest, and the oldest."""
    await db.execute(TRIM, list(pusher_ids), of_thread, altogether)


async def take(db: Queryable, queue_ids: Collection[int]) -> int:
    """Take out what is mailed, in its transaction; how much of it was still there."""
    return len(await db.fetch(TAKE, list(queue_ids)))
