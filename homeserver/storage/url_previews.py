"""Previews of what links lead to."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT = """
INSERT INTO url_previews (url_sha256, fetched_at, host, answer, media_id, image_bytes)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (url_sha256, fetched_at) DO NOTHING
"""
# The version nearest to a time, and whether its picture is here.
SELECT_NEAREST = """
SELECT p.fetched_at, p.answer, p.media_id IS NULL OR EXISTS (
    SELECT 1 FROM media m
    WHERE m.origin = $3 AND m.media_id = p.media_id AND m.quarantined_by IS NULL
        AND NOT EXISTS (SELECT 1 FROM quarantined_content c WHERE c.sha256 = m.sha256)
) AS picture_is_here
FROM url_previews p WHERE p.url_sha256 = $1 AND p.fetched_at > $4
ORDER BY abs(p.fetched_at - $2) LIMIT 1
"""
SELECT_OLDEST = """
SELECT url_sha256, fetched_at, media_id, image_bytes FROM url_previews WHERE fetched_at < $1
ORDER BY fetched_at LIMIT $2
"""
SELECT_OF_URL = """
SELECT url_sha256, fetched_at, media_id, image_bytes FROM url_previews WHERE url_sha256 = $1
LIMIT $2
"""
SELECT_OF_HOST = """
SELECT url_sha256, fetched_at, media_id, image_bytes FROM url_previews WHERE host = $1 LIMIT $2
"""
SELECT_TOTALS = """
SELECT count(*) AS previews, coalesce(sum(image_bytes), 0)::bigint AS bytes FROM url_previews
"""
DELETE = """
DELETE FROM url_previews WHERE (url_sha256, fetched_at) IN (
    SELECT * FROM unnest($1::bytea[], $2::bigint[])
)
"""


class NewPreview(Struct, frozen=True):
    """What is kept of a preview."""

    url_sha256: bytes
    fetched_at: int  # ms
    host: str
    answer: str  # JSON
    media_id: str | None
    image_bytes: int


class KeptPreview(Struct, frozen=True):
    """What is said of a URL."""

    fetched_at: int  # ms
    answer: str  # JSON
    picture_is_here: bool


class OldPreview(Struct, frozen=True):
    """What must be known of a preview before it is deleted."""

    url_sha256: bytes
    fetched_at: int  # ms
    media_id: str | None
    image_bytes: int


class Totals(Struct, frozen=True):
    """How much is kept."""

    previews: int
    bytes: int


async def insert_preview(db: Queryable, preview: NewPreview) -> None:
    """Keep a preview."""
    await db.execute(
        INSERT,
        preview.url_sha256,
        preview.fetched_at,
        preview.host,
        preview.answer,
        preview.media_id,
        preview.image_bytes,
    )


async def get_nearest(
    db: Queryable, url_sha256: bytes, at: int, origin: str, *, after: int
) -> KeptPreview | None:
    """What was said of a URL at about a time (ms); of what was fetched ``after`` another.

    ``origin``: this server, which has the pictures.
    """
    row = await db.fetchrow(SELECT_NEAREST, url_sha256, at, origin, after)
    return KeptPreview(**row) if row is not None else None


async def get_oldest(db: Queryable, before: int, limit: int) -> list[OldPreview]:
    """The oldest of those fetched before a time (ms)."""
    return [OldPreview(**row) for row in await db.fetch(SELECT_OLDEST, before, limit)]


async def get_of_url(db: Queryable, url_sha256: bytes, limit: int) -> list[OldPreview]:
    """Those of a URL."""
    return [OldPreview(**row) for row in await db.fetch(SELECT_OF_URL, url_sha256, limit)]


async def get_of_host(db: Queryable, host: str, limit: int) -> list[OldPreview]:
    """Those of a host's URLs."""
    return [OldPreview(**row) for row in await db.fetch(SELECT_OF_HOST, host, limit)]


async def get_totals(db: Queryable) -> Totals:
    """How much is kept in all."""
    row = await db.fetchrow(SELECT_TOTALS)
    assert row is not None
    return Totals(**row)


async def delete_previews(db: Queryable, previews: Sequence[OldPreview]) -> None:
    """Forget previews."""
    await db.execute(DELETE, [p.url_sha256 for p in previews], [p.fetched_at for p in previews])
