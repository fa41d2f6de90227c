"""E-mail pushers: when each is due, and whose addresses are whose."""

from __future__ import annotations

from homeserver.storage.database import Queryable

HAS_EMAIL = """
SELECT EXISTS (SELECT 1 FROM third_party_ids
    WHERE medium = 'email' AND address = $2 AND user_id = $1)
"""
# After the first of what waits has waited for a while, and not too soon after the last mail.
SELECT_NEXT = """
SELECT p.pusher_id, greatest(min(q.queued_at) + $1, coalesce(p.sent_at, 0) + $2,
    coalesce(p.retry_at, 0)) AS due_at
FROM pushers p JOIN push_queue q USING (pusher_id)
WHERE p.kind = 'email' AND p.enabled GROUP BY p.pusher_id ORDER BY due_at LIMIT 1
"""


async def has_email(db: Queryable, user_id: str, address: str) -> bool:
    """Whether an e-mail address, in canonical form, is an account's."""
    return bool(await db.fetchval(HAS_EMAIL, user_id, address))


async def get_next(db: Queryable, *, after_ms: int, every_ms: int) -> tuple[int, int] | None:
    """The pusher that is to write next, and when (ms).

    ``after_ms``: since the first of what waits was queued; ``every_ms``: since its last mail.
    """
    row = await db.fetchrow(SELECT_NEXT, after_ms, every_ms)
    return (row["pusher_id"], row["due_at"]) if row is not None else None
