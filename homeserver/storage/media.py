"""Media: what is known of each file.  The bytes lie on disk, by their SHA-256."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Database, Queryable

INSERT_MEDIA = """
INSERT INTO media (origin, media_id, uploader, content_type, upload_name, size_bytes, sha256,
    created_at, last_access_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
ON CONFLICT (origin, media_id) DO NOTHING
"""
UPSERT_MEDIA = """
INSERT INTO media (origin, media_id, uploader, content_type, upload_name, size_bytes, sha256,
    created_at, last_access_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
ON CONFLICT (origin, media_id) DO UPDATE SET content_type = EXCLUDED.content_type,
    upload_name = EXCLUDED.upload_name, size_bytes = EXCLUDED.size_bytes,
    sha256 = EXCLUDED.sha256, last_access_at = EXCLUDED.last_access_at
"""
SELECT_MEDIA = """
SELECT m.origin, m.media_id, m.uploader, m.content_type, m.upload_name, m.size_bytes, m.sha256,
    m.created_at, m.last_access_at,
    coalesce(m.quarantined_by, c.quarantined_by, u.quarantined_by) AS quarantined_by
FROM media m LEFT JOIN quarantined_content c USING (sha256)
LEFT JOIN quarantined_uris u USING (origin, media_id)
WHERE m.origin = $1 AND m.media_id = $2
"""
SELECT_IS_KNOWN = "SELECT EXISTS (SELECT 1 FROM media WHERE sha256 = $1)"
TOUCH_MEDIA = """
UPDATE media SET last_access_at = $3
WHERE origin = $1 AND media_id = $2 AND coalesce(last_access_at, 0) < $3::bigint - $4::bigint
"""
LOCK_PENDING = "SELECT pg_advisory_xact_lock(hashtext('media_pending'), hashtext($1))"
SELECT_WAITING = """
SELECT count(*) AS number, min(expires_at) AS first_expiry FROM media_pending
WHERE uploader = $1 AND expires_at > $2
"""
INSERT_PENDING = "INSERT INTO media_pending (media_id, uploader, expires_at) VALUES ($1, $2, $3)"
DELETE_EXPIRED = "DELETE FROM media_pending WHERE expires_at <= $1"
SELECT_PENDING = "SELECT media_id, uploader, expires_at FROM media_pending WHERE media_id = $1"
DELETE_PENDING = "DELETE FROM media_pending WHERE media_id = $1"


class MediaRow(Struct, frozen=True):
    """A file: whose it is, what it claims to be, and where it lies."""

    origin: str
    media_id: str
    uploader: str | None  # None: of another instance
    content_type: str
    upload_name: str | None
    size_bytes: int
    sha256: bytes
    created_at: int  # ms
    quarantined_by: str | None = None  # the file, or its content wherever it comes from
    last_access_at: int | None = None  # ms, to a day


class PendingMedia(Struct, frozen=True):
    """An ID given out before its upload."""

    media_id: str
    uploader: str
    expires_at: int  # ms


async def insert_media(db: Queryable, media: MediaRow) -> bool:
    """Note a file; False if its ID has content already."""
    status: str = await db.execute(INSERT_MEDIA, *_columns(media))
    return not status.endswith(" 0")


async def put_media(db: Queryable, media: MediaRow) -> None:
    """Note a file that was fetched, perhaps again since it was gone from here."""
    await db.execute(UPSERT_MEDIA, *_columns(media))


def _columns(media: MediaRow) -> tuple[object, ...]:
    return (
        media.origin,
        media.media_id,
        media.uploader,
        media.content_type,
        media.upload_name,
        media.size_bytes,
        media.sha256,
        media.created_at,
    )


async def get_media(db: Queryable, origin: str, media_id: str) -> MediaRow | None:
    """What is known of a file."""
    row = await db.fetchrow(SELECT_MEDIA, origin, media_id)
    return MediaRow(**row) if row is not None else None


async def is_content_known(db: Queryable, sha256: bytes) -> bool:
    """Whether any medium has this content."""
    known: bool = await db.fetchval(SELECT_IS_KNOWN, sha256)
    return known


async def touch_media(
    db: Queryable, origin: str, media_id: str, now: int, precision_ms: int
) -> None:
    """Note that a file was read, at most once in ``precision_ms``."""
    await db.execute(TOUCH_MEDIA, origin, media_id, now, precision_ms)


async def insert_pending(db: Database, pending: PendingMedia, now: int, limit: int) -> int | None:
    """Give out an ID, unless its owner has ``limit`` of them waiting already: then, and only then,
    when the first of those expires (ms)."""
    async with db.transaction() as connection:
        await connection.execute(LOCK_PENDING, pending.uploader)
        waiting = await connection.fetchrow(SELECT_WAITING, pending.uploader, now)
        assert waiting is not None
        if waiting["number"] >= limit:
            first: int = waiting["first_expiry"]
            return first
        await connection.execute(
            INSERT_PENDING, pending.media_id, pending.uploader, pending.expires_at
        )
    return None


async def delete_expired_pending(db: Queryable, before: int) -> None:
    """Forget IDs whose content did not come before a time (ms)."""
    await db.execute(DELETE_EXPIRED, before)


async def get_pending(db: Queryable, media_id: str) -> PendingMedia | None:
    """An ID given out whose content has not come yet."""
    row = await db.fetchrow(SELECT_PENDING, media_id)
    return PendingMedia(**row) if row is not None else None


async def delete_pending(db: Queryable, media_id: str) -> None:
    """The content has come."""
    await db.execute(DELETE_PENDING, media_id)
