"""Files that nobody may have: by their address, here or not, and by their content.

A file is quarantined if its row says so, if its content is among the quarantined, or its address
is.  Content is quarantined and released with a file; or by itself, by its hash, and then it is
released by that alone.  Protected files are spared, with their content, by a quarantine of more
than one.
"""

from __future__ import annotations

from msgspec import Struct

from homeserver.protocol.media_uris import MediaUri
from homeserver.storage.database import Connection, Database, Queryable

SELECT_IS_QUARANTINED = """
SELECT EXISTS (SELECT FROM quarantined_uris WHERE origin = $1 AND media_id = $2)
"""
INSERT_URI = """
INSERT INTO quarantined_uris (origin, media_id, quarantined_by, quarantined_at)
SELECT $1, $2, $3, $4
WHERE NOT EXISTS (SELECT FROM media WHERE origin = $1 AND media_id = $2) ON CONFLICT DO NOTHING
"""
DELETE_URI = "DELETE FROM quarantined_uris WHERE origin = $1 AND media_id = $2"
# Not the content of a file that is protected.
INSERT_CONTENT = """
INSERT INTO quarantined_content AS old (sha256, quarantined_by, quarantined_at, by_hash)
SELECT DISTINCT sha256, $2, $3::bigint, $4::boolean FROM unnest($1::bytea[]) AS given (sha256)
WHERE NOT EXISTS (SELECT FROM media m
    WHERE m.sha256 = given.sha256 AND m.protected_by IS NOT NULL)
ON CONFLICT (sha256) DO UPDATE SET by_hash = true WHERE EXCLUDED.by_hash AND NOT old.by_hash
"""
SELECT_IS_CONTENT = "SELECT EXISTS (SELECT FROM quarantined_content WHERE sha256 = $1)"
DELETE_CONTENT = "DELETE FROM quarantined_content WHERE sha256 = ANY($1::bytea[])"
SELECT_CONTENT = """
SELECT encode(sha256, 'hex') AS sha256, quarantined_by, quarantined_at,
    (SELECT count(*) FROM media m WHERE m.sha256 = c.sha256) AS files
FROM quarantined_content c WHERE sha256 > decode($1, 'hex') ORDER BY c.sha256 LIMIT $2
"""
SELECT_URIS = """
SELECT origin, media_id, quarantined_by, quarantined_at FROM quarantined_uris
WHERE (origin, media_id) > ($1, $2) ORDER BY origin, media_id LIMIT $3
"""
ONE = "origin = $1 AND media_id = $2"
SELECT_HASH = f"SELECT sha256 FROM media WHERE {ONE}"
OF_USER = "uploader = $1"
OF_ROOM = "(origin, media_id) IN (SELECT origin, media_id FROM media_references WHERE room_id = $1)"
INSERT_URIS_OF_ROOM = """
INSERT INTO quarantined_uris (origin, media_id, quarantined_by, quarantined_at)
SELECT DISTINCT r.origin, r.media_id, $2, $3::bigint FROM media_references r
WHERE r.room_id = $1 AND r.origin <> $4 AND NOT EXISTS (SELECT FROM media m
    WHERE m.origin = r.origin AND m.media_id = r.media_id)
ON CONFLICT DO NOTHING
"""
DELETE_URIS_OF_ROOM = """
DELETE FROM quarantined_uris u WHERE EXISTS (SELECT FROM media_references r
    WHERE r.room_id = $1 AND r.origin = u.origin AND r.media_id = u.media_id)
"""
SET_PROTECTED = f"UPDATE media SET protected_by = $3 WHERE {ONE}"


class QuarantinedUri(Struct, frozen=True):
    """A file that was not here when it was quarantined: it is not fetched."""

    origin: str
    media_id: str
    quarantined_by: str
    quarantined_at: int  # ms


class QuarantinedContent(Struct, frozen=True):
    """Content that nobody may have, and how many files here have it."""

    sha256: str  # in hexadecimal digits
    quarantined_by: str
    quarantined_at: int  # ms
    files: int


class Doing(Struct, frozen=True):
    """Who quarantines, and when (ms)."""

    by: str
    at: int


async def is_quarantined(db: Queryable, origin: str, media_id: str) -> bool:
    """Whether a file that is not here must not come."""
    found: bool = await db.fetchval(SELECT_IS_QUARANTINED, origin, media_id)
    return found


async def quarantine_file(db: Database, uri: MediaUri, doing: Doing) -> None:
    """Quarantine a file, here or not, and its content, wherever it comes from."""
    async with db.transaction() as connection:
        await connection.execute(INSERT_URI, *uri, doing.by, doing.at)
        # The address first: a file that comes before that is here to be marked.
        await _mark(connection, ONE, doing, *uri)
        hashes = [row["sha256"] for row in await connection.fetch(SELECT_HASH, *uri)]
        await connection.execute(INSERT_CONTENT, hashes, doing.by, doing.at, False)


async def release_file(db: Database, uri: MediaUri) -> None:
    """Quarantine a file and its content no longer; but content that was named itself."""
    async with db.transaction() as connection:
        await connection.execute(DELETE_URI, *uri)
        await _release(connection, ONE, *uri)


async def quarantine_of_user(db: Database, user_id: str, doing: Doing) -> int:
    """Quarantine what a user uploaded, but what is protected; how many files."""
    async with db.transaction() as connection:
        hashes = await _mark(connection, f"{OF_USER} AND protected_by IS NULL", doing, user_id)
        await connection.execute(INSERT_CONTENT, hashes, doing.by, doing.at, False)
    return len(hashes)


async def release_of_user(db: Database, user_id: str) -> int:
    """Quarantine what a user uploaded no longer, but content that was named itself; how many."""
    async with db.transaction() as connection:
        return await _release(connection, OF_USER, user_id)


async def quarantine_of_room(db: Database, room_id: str, doing: Doing, *, server_name: str) -> int:
    """Quarantine all to which unencrypted messages of a room refer, but what is protected; how many
    files, counting other servers' that were never fetched."""
    async with db.transaction() as connection:
        elsewhere = await connection.execute(
            INSERT_URIS_OF_ROOM, room_id, doing.by, doing.at, server_name
        )
        hashes = await _mark(connection, f"{OF_ROOM} AND protected_by IS NULL", doing, room_id)
        await connection.execute(INSERT_CONTENT, hashes, doing.by, doing.at, False)
    return len(hashes) + _count(elsewhere)


async def release_of_room(db: Database, room_id: str) -> int:
    """Quarantine the files of a room no longer, but content that was named itself; how many."""
    async with db.transaction() as connection:
        here = await _release(connection, OF_ROOM, room_id)
        return here + _count(await connection.execute(DELETE_URIS_OF_ROOM, room_id))


async def quarantine_content(db: Database, sha256: bytes, doing: Doing) -> bool:
    """Quarantine content, whoever has sent it or will; False if a file with it is protected."""
    async with db.transaction() as connection:
        await connection.execute(INSERT_CONTENT, [sha256], doing.by, doing.at, True)
        found: bool = await connection.fetchval(SELECT_IS_CONTENT, sha256)
        return found


async def release_content(db: Database, sha256: bytes) -> bool:
    """Quarantine content no longer, nor files that have it; False if none was."""
    async with db.transaction() as connection:
        files = await _release(connection, "sha256 = $1", sha256)
        return _count(await connection.execute(DELETE_CONTENT, [sha256])) + files > 0


async def get_quarantined_content(
    db: Queryable, after: str, limit: int
) -> list[QuarantinedContent]:
    """Quarantined content, in the order of the hashes; ``after``: the last one seen."""
    return [QuarantinedContent(**row) for row in await db.fetch(SELECT_CONTENT, after, limit)]


async def get_quarantined_uris(
    db: Queryable, after: tuple[str, str], limit: int
) -> list[QuarantinedUri]:
    """Addresses that are quarantined, in their order."""
    return [QuarantinedUri(**row) for row in await db.fetch(SELECT_URIS, *after, limit)]


async def set_protected(db: Queryable, uri: MediaUri, by: str | None) -> None:
    """Have a file spared by a quarantine of more than one, or for None no longer."""
    await db.execute(SET_PROTECTED, *uri, by)


async def _mark(connection: Connection, which: str, doing: Doing, *args: object) -> list[bytes]:
    """Mark the files that are not marked yet; the hashes of their contents."""
    statement = f"""
UPDATE media SET quarantined_by = ${len(args) + 1} WHERE {which} AND quarantined_by IS NULL
RETURNING sha256
"""
    return [row["sha256"] for row in await connection.fetch(statement, *args, doing.by)]


async def _release(connection: Connection, which: str, *args: object) -> int:
    """Take the marks from files, and from contents that have them with files; how many files can be
    had again."""
    rows = await connection.fetch(
        f"""
SELECT m.sha256 FROM media m LEFT JOIN quarantined_content c USING (sha256)
WHERE {which} AND (m.quarantined_by IS NOT NULL OR c.quarantined_by IS NOT NULL)
    AND c.by_hash IS NOT TRUE
""",
        *args,
    )
    await connection.execute(
        f"UPDATE media SET quarantined_by = NULL WHERE {which} AND quarantined_by IS NOT NULL",
        *args,
    )
    await connection.execute(DELETE_CONTENT, [row["sha256"] for row in rows])
    return len(rows)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
