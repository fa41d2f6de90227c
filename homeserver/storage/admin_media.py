"""Files as admins look at them."""

from __future__ import annotations

from msgspec import Struct

from homeserver.protocol.media_uris import MediaUri
from homeserver.storage.database import Queryable

_MEDIA = """
SELECT origin, media_id, uploader, content_type, upload_name, size_bytes, created_at,
    last_access_at, encode(sha256, 'hex') AS sha256, protected_by,
    coalesce(m.quarantined_by, c.quarantined_by, u.quarantined_by) AS quarantined_by
FROM media m LEFT JOIN quarantined_content c USING (sha256)
LEFT JOIN quarantined_uris u USING (origin, media_id)
"""
SELECT_ONE = f"{_MEDIA} WHERE origin = $1 AND media_id = $2"
SELECT_OF_USER = f"{_MEDIA} WHERE uploader = $1 AND media_id > $2 ORDER BY media_id LIMIT $3"
SELECT_OF_CONTENT = f"{_MEDIA} WHERE sha256 = $1 ORDER BY origin, media_id LIMIT $2"
# Walks over the table in the order of its key, so that no step takes long.
SELECT_NEXT = """
SELECT origin, media_id, quarantined_by IS NULL AND ($3::text IS NULL OR uploader = $3)
    AND CASE WHEN $4::text IS NULL THEN uploader IS NOT NULL AND created_at < $5
        ELSE uploader IS NULL AND origin <> $4 AND coalesce(last_access_at, created_at) < $5
            AND NOT EXISTS (SELECT FROM media_verdicts v
                WHERE (v.origin, v.media_id) = (media.origin, media.media_id)
                    AND v.action IN ('hold', 'strip'))
        END AS wanted
FROM media WHERE (origin, media_id) > ($1, $2) ORDER BY origin, media_id LIMIT $6
"""


class Media(Struct, frozen=True):
    """A file: uploaded here, or a copy of another server's (without an uploader)."""

    origin: str
    media_id: str
    uploader: str | None
    content_type: str
    upload_name: str | None
    size_bytes: int
    created_at: int  # ms
    last_access_at: int | None  # ms, to a day
    sha256: str  # of the content, in hexadecimal digits
    quarantined_by: str | None  # an admin: this file, or its content wherever it comes from
    protected_by: str | None  # an admin: no quarantine of all of a user or a room covers it


class MediaChoice(Struct, frozen=True):
    """Which files are to go: a user's, or of everybody; uploads made before a time (ms), or copies
    of files of others than ``server_name``, used last before it, if no moderator is to see them."""

    user_id: str | None
    server_name: str | None
    before_ms: int


async def get_media(db: Queryable, uri: MediaUri) -> Media | None:
    """One file."""
    row = await db.fetchrow(SELECT_ONE, *uri)
    return Media(**row) if row is not None else None


async def get_media_of(db: Queryable, user_id: str, *, after: str, limit: int) -> list[Media]:
    """What a user uploaded, in the order of the IDs."""
    return [Media(**row) for row in await db.fetch(SELECT_OF_USER, user_id, after, limit)]


async def get_media_with(db: Queryable, sha256: bytes, limit: int) -> list[Media]:
    """Files that have a content, in the order of their addresses."""
    return [Media(**row) for row in await db.fetch(SELECT_OF_CONTENT, sha256, limit)]


async def get_next(
    db: Queryable, choice: MediaChoice, after: MediaUri, limit: int
) -> list[tuple[MediaUri, bool]]:
    """The next files of all, and which of them are to go."""
    rows = await db.fetch(
        SELECT_NEXT, *after, choice.user_id, choice.server_name, choice.before_ms, limit
    )
    return [(MediaUri(row["origin"], row["media_id"]), row["wanted"]) for row in rows]
