"""How much each user has uploaded, and may upload."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

# One row per user, locked until the transaction ends: uploads of one user wait for each other here.
COUNT_IN = """
WITH counted AS (
    INSERT INTO media_usage AS old (user_id, files, bytes) VALUES ($1, 1, $2)
    ON CONFLICT (user_id) DO UPDATE SET files = old.files + 1, bytes = old.bytes + EXCLUDED.bytes
    RETURNING files, bytes
)
SELECT c.files, c.bytes, l.quota_bytes, l.max_files, l.max_upload_bytes
FROM counted c LEFT JOIN media_limits l ON l.user_id = $1
"""
COUNT_OUT = """
UPDATE media_usage SET files = greatest(files - 1, 0), bytes = greatest(bytes - $2, 0)
WHERE user_id = $1
"""
SELECT = """
SELECT coalesce(u.files, 0) AS files, coalesce(u.bytes, 0) AS bytes,
    l.quota_bytes, l.max_files, l.max_upload_bytes
FROM (SELECT $1::text AS user_id) AS one
LEFT JOIN media_usage u USING (user_id) LEFT JOIN media_limits l USING (user_id)
"""
UPSERT_LIMITS = """
INSERT INTO media_limits (user_id, quota_bytes, max_files, max_upload_bytes, changed_by, changed_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (user_id) DO UPDATE SET quota_bytes = EXCLUDED.quota_bytes,
    max_files = EXCLUDED.max_files, max_upload_bytes = EXCLUDED.max_upload_bytes,
    changed_by = EXCLUDED.changed_by, changed_at = EXCLUDED.changed_at
"""
DELETE_LIMITS = "DELETE FROM media_limits WHERE user_id = $1"
UNLIMITED = -1


class UsageRow(Struct, frozen=True):
    """What a user has uploaded, and the limits that an admin gave them.

    A limit that is None is as configured; :data:`UNLIMITED`: there is none.
    """

    files: int
    bytes: int
    quota_bytes: int | None
    max_files: int | None
    max_upload_bytes: int | None


async def count_in(db: Queryable, user_id: str, size_bytes: int) -> UsageRow:
    """Count a file that a user has uploaded: in the transaction that notes it."""
    return UsageRow(**await db.fetchrow(COUNT_IN, user_id, size_bytes))


async def count_out(db: Queryable, user_id: str, size_bytes: int) -> None:
    """Count a file that is deleted: in the transaction that forgets it."""
    await db.execute(COUNT_OUT, user_id, size_bytes)


async def get_usage(db: Queryable, user_id: str) -> UsageRow:
    """What a user has uploaded, and may."""
    return UsageRow(**await db.fetchrow(SELECT, user_id))


async def put_limits(
    db: Queryable,
    user_id: str,
    *,
    quota_bytes: int | None,
    max_files: int | None,
    max_upload_bytes: int | None,
    by: str,
    now: int,
) -> None:
    """Give a user limits of their own."""
    await db.execute(UPSERT_LIMITS, user_id, quota_bytes, max_files, max_upload_bytes, by, now)


async def delete_limits(db: Queryable, user_id: str) -> bool:
    """Let the configured limits hold for a user; False if they do already."""
    status: str = await db.execute(DELETE_LIMITS, user_id)
    return not status.endswith(" 0")
