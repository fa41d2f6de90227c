"""Copies of other instances' files, by when they were last used.  What is quarantined is none of
them, nor what waits for a moderator: it stays."""

from __future__ import annotations

from msgspec import Struct

from homeserver.protocol.media_uris import MediaUri
from homeserver.storage.database import Queryable

# $1: this server, which fetches files of web pages too (origin), as of no uploader.
_COPIES = """
uploader IS NULL AND quarantined_by IS NULL AND origin <> $1
    AND NOT EXISTS (SELECT FROM quarantined_content q WHERE q.sha256 = media.sha256)
    AND NOT EXISTS (SELECT FROM media_verdicts v
        WHERE (v.origin, v.media_id) = (media.origin, media.media_id)
            AND v.action IN ('hold', 'strip'))
"""
SELECT_LEAST_USED = f"""
SELECT origin, media_id, size_bytes FROM media
WHERE {_COPIES} AND last_access_at < $2 ORDER BY last_access_at LIMIT $3
"""
SELECT_BYTES = f"SELECT coalesce(sum(size_bytes), 0)::bigint FROM media WHERE {_COPIES}"


class RemoteCopy(Struct, frozen=True):
    """A copy, and how large it is."""

    uri: MediaUri
    size_bytes: int


async def get_least_used(
    db: Queryable, server_name: str, before: int, limit: int
) -> list[RemoteCopy]:
    """Copies that were last used before a time (ms), those first that nobody used for longest."""
    rows = await db.fetch(SELECT_LEAST_USED, server_name, before, limit)
    return [RemoteCopy(MediaUri(row["origin"], row["media_id"]), row["size_bytes"]) for row in rows]


async def get_bytes(db: Queryable, server_name: str) -> int:
    """How many bytes all copies have."""
    total: int = await db.fetchval(SELECT_BYTES, server_name)
    return total
