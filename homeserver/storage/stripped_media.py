"""Media that content policy keeps from being served here; rows come with the events
(:mod:`homeserver.storage.event_marks`)."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

_COLUMNS = "origin, media_id, rule, event_id, created_at"
SELECT_IS_STRIPPED = """
SELECT 1 FROM stripped_media WHERE origin = $1 AND media_id = $2 AND lifted_at IS NULL
"""
SELECT_STRIPPED = f"""
SELECT {_COLUMNS} FROM stripped_media WHERE lifted_at IS NULL
    AND ($1::bigint IS NULL OR (created_at, origin, media_id) > ($1, $2, $3))
ORDER BY created_at, origin, media_id LIMIT $4
"""
LIFT = f"""
UPDATE stripped_media SET lifted_by = $3, lifted_at = $4
WHERE origin = $1 AND media_id = $2 AND lifted_at IS NULL RETURNING {_COLUMNS}
"""


class StrippedMedia(Struct, frozen=True):
    """A file that is not served: by which rule, and for which event first."""

    origin: str
    media_id: str
    rule: str
    event_id: str
    created_at: int  # ms


async def is_stripped(db: Queryable, origin: str, media_id: str) -> bool:
    """Whether a file is not to be served."""
    return await db.fetchval(SELECT_IS_STRIPPED, origin, media_id) is not None


async def get_stripped(
    db: Queryable, after: tuple[int, str, str] | None, limit: int
) -> list[StrippedMedia]:
    """A page of what is not served; ``after``: time, origin and ID of the last one seen."""
    rows = await db.fetch(SELECT_STRIPPED, *(after or (None, None, None)), limit)
    return [StrippedMedia(**row) for row in rows]


async def lift(
    db: Queryable, origin: str, media_id: str, by: str, now_ms: int
) -> StrippedMedia | None:
    """Serve a file after all, for good; None if it was not withheld."""
    row = await db.fetchrow(LIFT, origin, media_id, by, now_ms)
    return StrippedMedia(**row) if row is not None else None
