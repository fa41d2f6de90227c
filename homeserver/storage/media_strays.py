"""Bytes of media that may be in storage although no medium has them: see migrations 0031 and 0036.

Noting a content, and deciding that its bytes go, exclude each other by a lock on the content.
While they are being deleted no transaction is open: the note says so, and until when at most.
"""

from __future__ import annotations

from homeserver.storage.database import Database, Queryable

LOCK = "SELECT pg_advisory_xact_lock(hashtext('media content'), hashtext(encode($1, 'hex')))"
RESERVE = """
WITH locked AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtext('media content'), hashtext(encode($1, 'hex')))
)
INSERT INTO media_strays (sha256, due_at) SELECT $1, $2 FROM locked RETURNING stray_id
"""
SELECT_IS_BEING_DELETED = """
SELECT EXISTS (SELECT 1 FROM media_strays WHERE sha256 = $1 AND deleting AND due_at > $2)
"""
INSERT = "INSERT INTO media_strays (sha256, due_at) VALUES ($1, $2) RETURNING stray_id"
DELETE = "DELETE FROM media_strays WHERE stray_id = $1"
LET_GO = """
UPDATE media_strays SET due_at = $2 WHERE stray_id = $1 AND NOT (deleting AND due_at > $2)
"""
SELECT = "SELECT sha256, deleting AND due_at > $2 AS taken FROM media_strays WHERE stray_id = $1"
SELECT_DUE = "SELECT stray_id FROM media_strays WHERE due_at <= $1 ORDER BY due_at LIMIT $2"
SELECT_FIRST_DUE = "SELECT min(due_at) FROM media_strays"
SELECT_IS_HAD = """
SELECT EXISTS (SELECT 1 FROM media WHERE sha256 = $1)
    OR EXISTS (SELECT 1 FROM media_strays WHERE sha256 = $1 AND stray_id <> $2)
"""
SELECT_IS_KNOWN = """
SELECT EXISTS (SELECT 1 FROM media WHERE sha256 = $1)
    OR EXISTS (SELECT 1 FROM media_strays WHERE sha256 = $1)
"""
CLAIM = "UPDATE media_strays SET deleting = true, due_at = $2 WHERE stray_id = $1"
RENEW = "UPDATE media_strays SET due_at = $2 WHERE stray_id = $1 AND deleting"
POSTPONE = "UPDATE media_strays SET deleting = false, due_at = $2 WHERE stray_id = $1"
FINISH = """
WITH gone AS (DELETE FROM media_strays WHERE stray_id = $1)
DELETE FROM media_facts WHERE sha256 = $2
"""


async def reserve(db: Queryable, sha256: bytes, due_at: int) -> int:
    """Note a content that is to be stored; the note's ID.

    From then on nobody decides to delete its bytes: but see :func:`is_being_deleted`.
    """
    stray_id: int = await db.fetchval(RESERVE, sha256, due_at)
    return stray_id


async def is_being_deleted(db: Queryable, sha256: bytes, now: int) -> bool:
    """Whether the bytes of a content are being deleted just now."""
    found: bool = await db.fetchval(SELECT_IS_BEING_DELETED, sha256, now)
    return found


async def is_known(db: Queryable, sha256: bytes) -> bool:
    """Whether a medium has a content, or it was noted."""
    known: bool = await db.fetchval(SELECT_IS_KNOWN, sha256)
    return known


async def insert(db: Queryable, sha256: bytes, due_at: int) -> int:
    """Note a content that a medium leaves; the note's ID."""
    stray_id: int = await db.fetchval(INSERT, sha256, due_at)
    return stray_id


async def delete(db: Queryable, stray_id: int) -> None:
    """Forget a note."""
    await db.execute(DELETE, stray_id)


async def let_go(db: Queryable, stray_id: int, now: int) -> bool:
    """Have a note looked at from now on (ms); False if there is none, or somebody does so."""
    status: str = await db.execute(LET_GO, stray_id, now)
    return not status.endswith(" 0")


async def get_due(db: Queryable, now: int, limit: int) -> list[int]:
    """The IDs of notes to be looked at."""
    return [row["stray_id"] for row in await db.fetch(SELECT_DUE, now, limit)]


async def get_first_due(db: Queryable) -> int | None:
    """When the next note is to be looked at (ms)."""
    due: int | None = await db.fetchval(SELECT_FIRST_DUE)
    return due


async def claim(db: Database, stray_id: int, now: int, until: int) -> bytes | None:
    """The content of a note whose bytes the caller is to delete, at most ``until`` then (ms).

    None if somebody does so already, and if something else has the content: the note is forgotten
    then.
    """
    async with db.transaction() as connection:
        row = await connection.fetchrow(SELECT, stray_id, now)
        if row is None:
            return None
        sha256: bytes = row["sha256"]
        await connection.execute(LOCK, sha256)
        row = await connection.fetchrow(SELECT, stray_id, now)
        if row is None or row["taken"]:
            return None
        if await connection.fetchval(SELECT_IS_HAD, sha256, stray_id):
            await connection.execute(DELETE, stray_id)
            return None
        await connection.execute(CLAIM, stray_id, until)
    return sha256


async def renew(db: Queryable, stray_id: int, until: int) -> None:
    """The bytes are still being deleted: at most ``until`` then (ms)."""
    await db.execute(RENEW, stray_id, until)


async def postpone(db: Queryable, stray_id: int, due_at: int) -> None:
    """The bytes could not be deleted: have that tried from a time on (ms)."""
    await db.execute(POSTPONE, stray_id, due_at)


async def finish(db: Queryable, stray_id: int, sha256: bytes) -> None:
    """The bytes are deleted: forget the note, and what is known of the content."""
    await db.execute(FINISH, stray_id, sha256)
