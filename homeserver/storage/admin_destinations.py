"""Other instances as admins look at them: whether they answer, and what waits for them."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

MOST_COUNTED = 1_000
_COLUMNS = f"""
d.server_name, d.last_success_at, d.failing_since,
CASE WHEN d.failing_since IS NOT NULL THEN d.retry_at END AS retry_at, d.retry_interval_ms,
(SELECT count(*) FROM (
    SELECT 1 FROM destination_sets s JOIN events e
        ON e.destination_set = s.set_id AND e.position > d.acked_position
    WHERE s.servers @> ARRAY[d.server_name] LIMIT {MOST_COUNTED}) waiting) AS waiting_events,
(SELECT count(*) FROM (
    SELECT 1 FROM outbox_edus WHERE destination = d.server_name LIMIT {MOST_COUNTED}) waiting)
    AS waiting_edus
"""
SELECT_PAGE = f"""
SELECT {_COLUMNS} FROM destinations d
WHERE server_name > $1 AND ($2::text IS NULL OR position(lower($2) IN lower(server_name)) > 0)
    AND ($3::boolean IS NULL OR (failing_since IS NOT NULL) = $3)
ORDER BY server_name LIMIT $4
"""
SELECT_ONE = f"SELECT {_COLUMNS} FROM destinations d WHERE server_name = $1"
CLEAR_FAILURE = """
UPDATE destinations SET failing_since = NULL, retry_at = NULL, retry_interval_ms = 0
WHERE server_name = $1
"""


class Destination(Struct, frozen=True):
    """Another instance; times in ms.  ``waiting_...``: up to 1,000 are counted."""

    server_name: str
    last_success_at: int | None
    failing_since: int | None
    retry_at: int | None
    retry_interval_ms: int
    waiting_events: int
    waiting_edus: int


async def get_destinations(
    db: Queryable, *, after: str, search: str | None, failing: bool | None, limit: int
) -> list[Destination]:
    """Instances in the order of their names."""
    rows = await db.fetch(SELECT_PAGE, after, search, failing, limit)
    return [Destination(**row) for row in rows]


async def get_destination(db: Queryable, server_name: str) -> Destination | None:
    """One instance."""
    row = await db.fetchrow(SELECT_ONE, server_name)
    return Destination(**row) if row is not None else None


async def clear_failure(db: Queryable, server_name: str) -> None:
    """Forget that an instance did not answer."""
    await db.execute(CLEAR_FAILURE, server_name)
