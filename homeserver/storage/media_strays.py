"""Bytes of media that may be in storage although no medium has them: see migration 0031.

Noting a content, and deleting its bytes, exclude each other by a lock on the content.
"""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage.database import Connection, Queryable

LOCK = "SELECT pg_advisory_xact_lock(hashtext('media content'), hashtext(encode($1, 'hex')))"
# While its bytes are being deleted, this waits.
RESERVE = """
WITH locked AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtext('media content'), hashtext(encode($1, 'hex')))
)
INSERT INTO media_strays (sha256, due_at) SELECT $1, $2 FROM locked RETURNING stray_id
"""
INSERT = "INSERT INTO media_strays (sha256, due_at) VALUES ($1, $2) RETURNING stray_id"
DELETE = "DELETE FROM media_strays WHERE stray_id = $1"
SET_DUE = "UPDATE media_strays SET due_at = $2 WHERE stray_id = $1"
SELECT = "SELECT stray_id, sha256 FROM media_strays WHERE stray_id = $1"
SELECT_DUE = """
SELECT stray_id, sha256 FROM media_strays WHERE due_at <= $1 ORDER BY due_at LIMIT $2
"""
SELECT_FIRST_DUE = "SELECT min(due_at) FROM media_strays"
SELECT_IS_HAD = """
SELECT EXISTS (SELECT 1 FROM media WHERE sha256 = $1)
    OR EXISTS (SELECT 1 FROM media_strays WHERE sha256 = $1 AND stray_id <> $2)
"""
DELETE_FACTS = "DELETE FROM media_facts WHERE sha256 = $1"


@dataclass(frozen=True, slots=True)
class Stray:
    """A content of which a note was made."""

    stray_id: int
    sha256: bytes


async def reserve(db: Queryable, sha256: bytes, due_at: int) -> int:
    """Note a content that is to be stored; the note's ID.  Waits while its bytes are deleted."""
    stray_id: int = await db.fetchval(RESERVE, sha256, due_at)
    return stray_id


async def insert(db: Queryable, sha256: bytes, due_at: int) -> int:
    """Note a content that a medium leaves; the note's ID."""
    stray_id: int = await db.fetchval(INSERT, sha256, due_at)
    return stray_id


async def delete(db: Queryable, stray_id: int) -> None:
    """Forget a note."""
    await db.execute(DELETE, stray_id)


async def set_due(db: Queryable, stray_id: int, due_at: int) -> bool:
    """Have a note looked at from a time on (ms); False if there is none."""
    status: str = await db.execute(SET_DUE, stray_id, due_at)
    return not status.endswith(" 0")


async def get_due(db: Queryable, now: int, limit: int) -> list[Stray]:
    """Notes to be looked at."""
    return [Stray(**row) for row in await db.fetch(SELECT_DUE, now, limit)]


async def get_first_due(db: Queryable) -> int | None:
    """When the next note is to be looked at (ms)."""
    due: int | None = await db.fetchval(SELECT_FIRST_DUE)
    return due


async def lock(connection: Connection, stray_id: int) -> Stray | None:
    """A note; nobody notes the same content anew, or deletes its bytes, until the transaction ends.

    None if it was dealt with meanwhile.
    """
    row = await connection.fetchrow(SELECT, stray_id)
    if row is None:
        return None
    await connection.execute(LOCK, row["sha256"])
    row = await connection.fetchrow(SELECT, stray_id)
    return Stray(**row) if row is not None else None


async def is_had(connection: Connection, stray: Stray) -> bool:
    """Whether a medium has the content of a note that is locked, or another note speaks for it."""
    found: bool = await connection.fetchval(SELECT_IS_HAD, stray.sha256, stray.stray_id)
    return found


async def delete_facts(connection: Connection, sha256: bytes) -> None:
    """Forget what is known of a content."""
    await connection.execute(DELETE_FACTS, sha256)
