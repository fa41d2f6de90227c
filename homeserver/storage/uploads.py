"""Resumable uploads: what is known of each.  The bytes lie in a file until it is whole."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Database, Queryable

RECEIVING, DONE, REFUSED = "receiving", "done", "refused"
COLUMNS = """upload_id, owner, length, received, metadata, name, content_type, partial, parts,
    state, code, reason, created_at, expires_at"""
LOCK_OWNER = "SELECT pg_advisory_xact_lock(hashtext('uploads'), hashtext($1))"
SELECT_UNFINISHED = """
SELECT count(*)::bigint AS number, coalesce(sum(greatest(length, received)), 0)::bigint AS bytes
FROM uploads WHERE owner = $1 AND state = 'receiving' AND expires_at > $2
"""
INSERT = f"""
INSERT INTO uploads ({COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""
SELECT = f"SELECT {COLUMNS} FROM uploads WHERE upload_id = $1"
SELECT_OF_OWNER = f"SELECT {COLUMNS} FROM uploads WHERE owner = $1"
SELECT_EXPIRED = f"""
SELECT {COLUMNS} FROM uploads WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2
"""
SELECT_FIRST_EXPIRY = "SELECT min(expires_at) FROM uploads"
NOTE_RECEIVED = """
UPDATE uploads SET received = $2, length = coalesce(length, $3), expires_at = $4
WHERE upload_id = $1
"""
SET_STATE = "UPDATE uploads SET state = $2, code = $3, reason = $4 WHERE upload_id = $1"
DELETE = "DELETE FROM uploads WHERE upload_id = $1"


class UploadRow(Struct, frozen=True):
    """An upload.  Sizes in bytes, times in ms."""

    upload_id: str
    owner: str
    length: int | None
    received: int
    metadata: str | None
    name: str | None
    content_type: str | None
    partial: bool
    parts: list[str] | None
    state: str
    code: str | None
    reason: str | None
    created_at: int
    expires_at: int


async def insert(
    db: Database, row: UploadRow, now: int, *, most: int, most_bytes: int
) -> str | None:
    """Begin an upload; if its owner has too many unfinished ones: ``number`` or ``bytes``.

    ``most``, ``most_bytes``: how many there may be, and how much they may have in all.
    """
    async with db.transaction() as connection:
        await connection.execute(LOCK_OWNER, row.owner)
        unfinished = await connection.fetchrow(SELECT_UNFINISHED, row.owner, now)
        assert unfinished is not None
        if unfinished["number"] >= most:
            return "number"
        if unfinished["bytes"] + (row.length or 0) > most_bytes:
            return "bytes"
        await connection.execute(INSERT, *(getattr(row, name) for name in _NAMES))
    return None


async def get_unfinished_bytes(db: Queryable, owner: str, now: int) -> int:
    """How many bytes the unfinished uploads of a user have, or will have."""
    unfinished = await db.fetchrow(SELECT_UNFINISHED, owner, now)
    total: int = unfinished["bytes"]
    return total


async def get(db: Queryable, upload_id: str) -> UploadRow | None:
    """An upload."""
    row = await db.fetchrow(SELECT, upload_id)
    return UploadRow(**row) if row is not None else None


async def get_of_owner(db: Queryable, owner: str) -> list[UploadRow]:
    """All uploads of a user."""
    return [UploadRow(**row) for row in await db.fetch(SELECT_OF_OWNER, owner)]


async def get_expired(db: Queryable, now: int, limit: int) -> list[UploadRow]:
    """Uploads that have expired, the oldest first."""
    return [UploadRow(**row) for row in await db.fetch(SELECT_EXPIRED, now, limit)]


async def get_first_expiry(db: Queryable) -> int | None:
    """When the next upload expires (ms)."""
    first: int | None = await db.fetchval(SELECT_FIRST_EXPIRY)
    return first


async def note_received(
    db: Queryable, upload_id: str, received: int, length: int | None, expires_at: int
) -> None:
    """Note how far an upload has come, its length if that is known now, and that it goes on."""
    await db.execute(NOTE_RECEIVED, upload_id, received, length, expires_at)


async def set_state(
    db: Queryable, upload_id: str, state: str, code: str | None = None, reason: str | None = None
) -> None:
    """Note what became of an upload."""
    await db.execute(SET_STATE, upload_id, state, code, reason)


async def delete(db: Queryable, upload_id: str) -> None:
    """Forget an upload."""
    await db.execute(DELETE, upload_id)


_NAMES = [name.strip() for name in COLUMNS.split(",")]
