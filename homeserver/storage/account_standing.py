"""Who is locked or suspended."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

SELECT_RESTRICTED = """
SELECT user_id, locked_at IS NOT NULL AS locked, suspended_at IS NOT NULL AS suspended
FROM accounts
WHERE (locked_at IS NOT NULL OR suspended_at IS NOT NULL) AND deactivated_at IS NULL
"""
SET_LOCKED = """
UPDATE accounts SET locked_at = CASE WHEN $2::bigint IS NULL THEN NULL
    ELSE coalesce(locked_at, $2) END WHERE user_id = $1
"""
SET_SUSPENDED = """
UPDATE accounts SET suspended_at = CASE WHEN $2::bigint IS NULL THEN NULL
    ELSE coalesce(suspended_at, $2) END WHERE user_id = $1
"""


class Restricted(Struct, frozen=True):
    """An account that is locked, suspended, or both."""

    user_id: str
    locked: bool
    suspended: bool


async def get_restricted(db: Queryable) -> list[Restricted]:
    """All locked and suspended accounts."""
    return [Restricted(**row) for row in await db.fetch(SELECT_RESTRICTED)]


async def set_locked(db: Queryable, user_id: str, since: int | None) -> None:
    """Lock an account since a time (ms), or unlock it, for None."""
    await db.execute(SET_LOCKED, user_id, since)


async def set_suspended(db: Queryable, user_id: str, since: int | None) -> None:
    """Suspend an account since a time (ms), or no longer, for None."""
    await db.execute(SET_SUSPENDED, user_id, since)
