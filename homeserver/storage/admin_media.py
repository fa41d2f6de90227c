"""Files as admins look at them."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.protocol.media_uris import MediaUri
from homeserver.storage.database import Queryable

_COLUMNS = """origin, media_id, uploader, content_type, upload_name, size_bytes, created_at,
    last_access_at, quarantined_by"""
SELECT_ONE = f"SELECT {_COLUMNS} FROM media WHERE origin = $1 AND media_id = $2"
SELECT_OF_USER = f"""
SELECT {_COLUMNS} FROM media WHERE uploader = $1 AND media_id > $2 ORDER BY media_id LIMIT $3
"""
# $1: by whom it is quarantined, null: no longer.
SET_ONE = """
UPDATE media SET quarantined_by = $1::text WHERE origin = $2 AND media_id = $3
    AND (quarantined_by IS NULL) = ($1::text IS NOT NULL)
"""
SET_OF_USER = """
UPDATE media SET quarantined_by = $1::text WHERE uploader = $2
    AND (quarantined_by IS NULL) = ($1::text IS NOT NULL)
"""
SET_OF_ROOM = """
UPDATE media SET quarantined_by = $1::text
WHERE (origin, media_id) IN (SELECT origin, media_id FROM media_references WHERE room_id = $2)
    AND (quarantined_by IS NULL) = ($1::text IS NOT NULL)
"""
# Walks over the table in the order of its key, so that no step takes long.
SELECT_NEXT = """
SELECT origin, media_id, quarantined_by IS NULL AND ($3::text IS NULL OR uploader = $3)
    AND CASE WHEN $4 THEN uploader IS NULL AND coalesce(last_access_at, created_at) < $5
        ELSE uploader IS NOT NULL AND created_at < $5 END AS wanted
FROM media WHERE (origin, media_id) > ($1, $2) ORDER BY origin, media_id LIMIT $6
"""


@dataclass(frozen=True, slots=True)
class Media:
    """A file: uploaded here, or a copy of another server's (without an uploader)."""

    origin: str
    media_id: str
    uploader: str | None
    content_type: str
    upload_name: str | None
    size_bytes: int
    created_at: int  # ms
    last_access_at: int | None  # ms
    quarantined_by: str | None


@dataclass(frozen=True, slots=True)
class MediaChoice:
    """Which files are to go: a user's, or of everybody; uploads made, or copies of other servers'
    files (``cache``) used last, before a time (ms)."""

    user_id: str | None
    cache: bool
    before_ms: int


async def get_media(db: Queryable, uri: MediaUri) -> Media | None:
    """One file."""
    row = await db.fetchrow(SELECT_ONE, *uri)
    return Media(**row) if row is not None else None


async def get_media_of(db: Queryable, user_id: str, *, after: str, limit: int) -> list[Media]:
    """What a user uploaded, in the order of the IDs."""
    return [Media(**row) for row in await db.fetch(SELECT_OF_USER, user_id, after, limit)]


async def set_quarantined(db: Queryable, uri: MediaUri, by: str | None) -> int:
    """Quarantine a file, or for None no longer; how many that changed."""
    return _count(await db.execute(SET_ONE, by, *uri))


async def set_quarantined_of_user(db: Queryable, user_id: str, by: str | None) -> int:
    """The same for all that a user uploaded."""
    return _count(await db.execute(SET_OF_USER, by, user_id))


async def set_quarantined_of_room(db: Queryable, room_id: str, by: str | None) -> int:
    """The same for all that unencrypted messages of a room refer to."""
    return _count(await db.execute(SET_OF_ROOM, by, room_id))


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])


async def get_next(
    db: Queryable, choice: MediaChoice, after: MediaUri, limit: int
) -> list[tuple[MediaUri, bool]]:
    """The next files of all, and which of them are to go."""
    rows = await db.fetch(
        SELECT_NEXT, *after, choice.user_id, choice.cache, choice.before_ms, limit
    )
    return [(MediaUri(row["origin"], row["media_id"]), row["wanted"]) for row in rows]
