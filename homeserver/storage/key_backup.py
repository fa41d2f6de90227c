"""Backups of room keys: their versions, and the keys in each.

A change locks the row of its owner first, so that changes of one user follow one another; which of
two keys for a session stays is decided by the statement that writes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Connection, Queryable

LOCK_OWNER = "SELECT last_version FROM key_backup_owners WHERE user_id = $1 FOR UPDATE"
SELECT_LAST_VERSION = "SELECT last_version FROM key_backup_owners WHERE user_id = $1"
NEXT_VERSION = """
INSERT INTO key_backup_owners (user_id, last_version) VALUES ($1, 1)
ON CONFLICT (user_id) DO UPDATE SET last_version = key_backup_owners.last_version + 1
RETURNING last_version
"""
INSERT_BACKUP = """
INSERT INTO key_backups (user_id, version, algorithm, auth_data) VALUES ($1, $2, $3, $4)
"""
COUNT_BACKUPS = "SELECT count(*) FROM key_backups WHERE user_id = $1"
SELECT_BACKUP = """
SELECT version, algorithm, auth_data, etag, key_count FROM key_backups
WHERE user_id = $1 AND version = $2
"""
SELECT_CURRENT = """
SELECT version, algorithm, auth_data, etag, key_count FROM key_backups
WHERE user_id = $1 ORDER BY version DESC LIMIT 1
"""
UPDATE_AUTH_DATA = "UPDATE key_backups SET auth_data = $3 WHERE user_id = $1 AND version = $2"
DELETE_BACKUP = "DELETE FROM key_backups WHERE user_id = $1 AND version = $2"
COUNT_CHANGES = """
UPDATE key_backups SET etag = etag + 1, key_count = key_count + $3
WHERE user_id = $1 AND version = $2
"""

# Spec, server-side key backups: a verified key stays before one that is not, then the one with the
# lower first_message_index, then the one with the lower forwarded_count.  false sorts before true.
PUT_KEYS = """
INSERT INTO key_backup_keys AS old (user_id, version, room_id, session_id, first_message_index,
    forwarded_count, is_verified, session_data)
SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[],
    $8::json[])
ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET
    first_message_index = EXCLUDED.first_message_index,
    forwarded_count = EXCLUDED.forwarded_count,
    is_verified = EXCLUDED.is_verified,
    session_data = EXCLUDED.session_data
WHERE (NOT EXCLUDED.is_verified, EXCLUDED.first_message_index, EXCLUDED.forwarded_count)
    < (NOT old.is_verified, old.first_message_index, old.forwarded_count)
RETURNING old.xmax = 0 AS added
"""
SELECT_KEYS = """
SELECT room_id, session_id, first_message_index, forwarded_count, is_verified,
    session_data::text AS session_data
FROM key_backup_keys
WHERE user_id = $1 AND version = $2 AND (room_id, session_id) > ($3, $4)
    AND ($5::text IS NULL OR room_id = $5)
ORDER BY room_id, session_id LIMIT $6
"""
SELECT_KEY = """
SELECT room_id, session_id, first_message_index, forwarded_count, is_verified,
    session_data::text AS session_data
FROM key_backup_keys
WHERE user_id = $1 AND version = $2 AND room_id = $3 AND session_id = $4
"""
DELETE_KEYS = """
DELETE FROM key_backup_keys WHERE user_id = $1 AND version = $2
    AND ($3::text IS NULL OR room_id = $3) AND ($4::text IS NULL OR session_id = $4)
"""


class Backup(Struct, frozen=True):
    """A backup, without its keys."""

    version: int
    algorithm: str
    auth_data: JsonObject
    etag: int
    key_count: int


class BackupKey(Struct, frozen=True):
    """The key of a session; ``session_data`` is JSON that nobody here has to look into."""

    room_id: str
    session_id: str
    first_message_index: int
    forwarded_count: int
    is_verified: bool
    session_data: JsonObject | orjson.Fragment


# ---------------------------------------------------------------- versions


async def lock_owner(connection: Connection, user_id: str) -> int:
    """Have a user's changes follow one another; the last version that was made, or 0."""
    last: int | None = await connection.fetchval(LOCK_OWNER, user_id)
    return last or 0


async def get_last_version(db: Queryable, user_id: str) -> int:
    """The last version that was made, or 0."""
    last: int | None = await db.fetchval(SELECT_LAST_VERSION, user_id)
    return last or 0


async def create_backup(
    connection: Connection, user_id: str, algorithm: str, auth_data: JsonObject
) -> int:
    """Make a backup; its version."""
    version: int = await connection.fetchval(NEXT_VERSION, user_id)
    await connection.execute(INSERT_BACKUP, user_id, version, algorithm, auth_data)
    return version


async def count_backups(db: Queryable, user_id: str) -> int:
    """How many backups a user has."""
    count: int = await db.fetchval(COUNT_BACKUPS, user_id)
    return count


async def get_backup(db: Queryable, user_id: str, version: int) -> Backup | None:
    """One backup."""
    row = await db.fetchrow(SELECT_BACKUP, user_id, version)
    return Backup(**row) if row is not None else None


async def get_current_backup(db: Queryable, user_id: str) -> Backup | None:
    """The backup that was made last."""
    row = await db.fetchrow(SELECT_CURRENT, user_id)
    return Backup(**row) if row is not None else None


async def set_auth_data(
    connection: Connection, user_id: str, version: int, auth_data: JsonObject
) -> None:
    """Set a backup's ``auth_data``."""
    await connection.execute(UPDATE_AUTH_DATA, user_id, version, auth_data)


async def delete_backup(connection: Connection, user_id: str, version: int) -> None:
    """Delete a backup with its keys."""
    await connection.execute(DELETE_BACKUP, user_id, version)


# ---------------------------------------------------------------- keys


async def put_keys(
    connection: Connection, user_id: str, version: int, keys: Sequence[BackupKey]
) -> None:
    """Store keys, each unless there is a better one; the owner is locked."""
    rows = await connection.fetch(
        PUT_KEYS,
        user_id,
        version,
        [key.room_id for key in keys],
        [key.session_id for key in keys],
        [key.first_message_index for key in keys],
        [key.forwarded_count for key in keys],
        [key.is_verified for key in keys],
        [key.session_data for key in keys],
    )
    if rows:
        added = sum(row["added"] for row in rows)
        await connection.execute(COUNT_CHANGES, user_id, version, added)


async def get_keys(
    db: Queryable,
    user_id: str,
    version: int,
    *,
    room_id: str | None = None,
    after: tuple[str, str] = ("", ""),
    limit: int,
) -> list[BackupKey]:
    """Keys of a backup, in the order of room and session, those behind ``after``."""
    rows = await db.fetch(SELECT_KEYS, user_id, version, *after, room_id, limit)
    return [_key(row) for row in rows]


async def get_key(
    db: Queryable, user_id: str, version: int, room_id: str, session_id: str
) -> BackupKey | None:
    """One key of a backup."""
    row = await db.fetchrow(SELECT_KEY, user_id, version, room_id, session_id)
    return _key(row) if row is not None else None


async def delete_keys(
    connection: Connection,
    user_id: str,
    version: int,
    room_id: str | None = None,
    session_id: str | None = None,
) -> None:
    """Delete the keys of a backup, of a room, or of a session; the owner is locked."""
    status = await connection.execute(DELETE_KEYS, user_id, version, room_id, session_id)
    deleted = int(status.rpartition(" ")[2])
    if deleted:
        await connection.execute(COUNT_CHANGES, user_id, version, -deleted)


def _key(row: dict[str, object]) -> BackupKey:
    fields = dict(row)
    text = fields.pop("session_data")
    assert isinstance(text, str)
    return BackupKey(**fields, session_data=orjson.Fragment(text))  # type: ignore[arg-type]
