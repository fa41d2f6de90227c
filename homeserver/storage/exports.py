"""Exports of users' data: who asked for one, and what became of it.  The files lie on disk.

While an export is built, ``expires_at`` says until when its builder has it; a process that dies
does not prolong that, and another one begins anew.
"""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

QUEUED, RUNNING, READY, FAILED, EXPIRED = "queued", "running", "ready", "failed", "expired"

COLUMNS = "export_id, user_id, state, requested_at, finished_at, expires_at, size_bytes"
# The unique index on what is queued or running lets one through.
INSERT_EXPORT = """
INSERT INTO exports (export_id, user_id, state, requested_at) VALUES ($1, $2, 'queued', $3)
ON CONFLICT DO NOTHING RETURNING export_id
"""
SELECT_EXPORT = f"SELECT {COLUMNS} FROM exports WHERE export_id = $1"
SELECT_EXPORTS = f"""
SELECT {COLUMNS} FROM exports WHERE user_id = $1 ORDER BY requested_at DESC, export_id LIMIT $2
"""
TAKE_NEXT = f"""
UPDATE exports SET state = 'running', expires_at = $2 WHERE export_id = (
    SELECT export_id FROM exports
    WHERE state = 'queued' OR (state = 'running' AND expires_at < $1)
    ORDER BY requested_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING {COLUMNS}
"""
PROLONG = """
UPDATE exports SET expires_at = $2 WHERE export_id = $1 AND state = 'running' RETURNING export_id
"""
PUT_BACK = """
UPDATE exports SET state = 'queued', expires_at = NULL WHERE export_id = $1 AND state = 'running'
"""
FINISH = """
UPDATE exports SET state = $2, finished_at = $3, expires_at = $4, size_bytes = $5
WHERE export_id = $1 AND state = 'running' RETURNING export_id
"""
SELECT_DUE = """
SELECT export_id FROM exports WHERE state = 'ready' AND expires_at <= $1
ORDER BY expires_at LIMIT $2
"""
SELECT_OLDER = """
SELECT export_id FROM exports WHERE user_id = $1 AND state = 'ready' AND export_id <> $2
"""
SET_EXPIRED = "UPDATE exports SET state = 'expired' WHERE export_id = $1"
DELETE_FORGOTTEN = """
DELETE FROM exports WHERE requested_at < $1 AND state IN ('failed', 'expired')
"""
SELECT_KNOWN = "SELECT export_id FROM exports WHERE state IN ('ready', 'running')"
DELETE_OF_USER = "DELETE FROM exports WHERE user_id = $1 RETURNING export_id"


class Export(Struct, frozen=True):
    """One export.  Times in ms."""

    export_id: str
    user_id: str
    state: str
    requested_at: int
    finished_at: int | None
    expires_at: int | None
    size_bytes: int | None


async def insert_export(db: Queryable, export_id: str, user_id: str, now: int) -> bool:
    """Queue an export.  False if the user has one queued or running."""
    return await db.fetchval(INSERT_EXPORT, export_id, user_id, now) is not None


async def get_export(db: Queryable, export_id: str) -> Export | None:
    """An export, whatever became of it."""
    row = await db.fetchrow(SELECT_EXPORT, export_id)
    return Export(**row) if row is not None else None


async def get_exports(db: Queryable, user_id: str, limit: int = 20) -> list[Export]:
    """A user's exports, the newest first."""
    return [Export(**row) for row in await db.fetch(SELECT_EXPORTS, user_id, limit)]


async def take_next(db: Queryable, now: int, until: int) -> Export | None:
    """The next export to build, or one whose builder has died; the caller has it ``until`` (ms)."""
    row = await db.fetchrow(TAKE_NEXT, now, until)
    return Export(**row) if row is not None else None


async def prolong(db: Queryable, export_id: str, until: int) -> bool:
    """Keep it longer.  False if it is wanted no more."""
    return await db.fetchval(PROLONG, export_id, until) is not None


async def put_back(db: Queryable, export_id: str) -> None:
    """Leave an export for later."""
    await db.execute(PUT_BACK, export_id)


async def finish(
    db: Queryable,
    export_id: str,
    state: str,
    now: int,
    *,
    expires_at: int | None = None,
    size_bytes: int | None = None,
) -> bool:
    """Say what became of an export.  False if it is wanted no more."""
    done = await db.fetchval(FINISH, export_id, state, now, expires_at, size_bytes)
    return done is not None


async def get_due(db: Queryable, now: int, limit: int = 100) -> list[str]:
    """Exports whose files are to be deleted."""
    return [row["export_id"] for row in await db.fetch(SELECT_DUE, now, limit)]


async def get_older(db: Queryable, user_id: str, export_id: str) -> list[str]:
    """A user's other exports that are ready."""
    return [row["export_id"] for row in await db.fetch(SELECT_OLDER, user_id, export_id)]


async def set_expired(db: Queryable, export_id: str) -> None:
    """Note that an export's file is gone."""
    await db.execute(SET_EXPIRED, export_id)


async def delete_forgotten(db: Queryable, before: int) -> None:
    """Delete the rows of exports that failed or expired and were asked for before a time (ms)."""
    await db.execute(DELETE_FORGOTTEN, before)


async def get_known_ids(db: Queryable) -> set[str]:
    """Exports that may have a file."""
    return {row["export_id"] for row in await db.fetch(SELECT_KNOWN)}


async def delete_exports(db: Queryable, user_id: str) -> list[str]:
    """Delete a user's exports; whose files are to go."""
    return [row["export_id"] for row in await db.fetch(DELETE_OF_USER, user_id)]
