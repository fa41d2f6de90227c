"""Since when users of other instances are known here."""

from __future__ import annotations

from collections.abc import Mapping

from homeserver.storage.database import Queryable

INSERT_NEWCOMERS = """
INSERT INTO first_seen (user_id, seen_at) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (user_id) DO NOTHING
"""
# Who was in a room before we were is as old here as their membership, by their server's clock.
INSERT_SEEN = """
INSERT INTO first_seen (user_id, seen_at)
SELECT wanted.user_id, least(wanted.seen_at, (
    SELECT min(e.origin_server_ts) FROM memberships m JOIN events e USING (event_id)
    WHERE m.user_id = wanted.user_id AND m.membership = 'join'))
FROM unnest($1::text[], $2::bigint[]) AS wanted (user_id, seen_at)
ON CONFLICT (user_id) DO NOTHING
"""
SELECT_SEEN_AT = "SELECT seen_at FROM first_seen WHERE user_id = $1"


async def insert_newcomers(db: Queryable, seen_at: Mapping[str, int]) -> None:
    """Users whom we saw come: user ID -> ms."""
    await db.execute(INSERT_NEWCOMERS, list(seen_at), list(seen_at.values()))


async def insert_seen(db: Queryable, seen_at: Mapping[str, int]) -> None:
    """Users who may have been in our rooms before we noted them: user ID -> ms."""
    await db.execute(INSERT_SEEN, list(seen_at), list(seen_at.values()))


async def get_seen_at(db: Queryable, user_id: str) -> int | None:
    """Since when a user is known here, in ms."""
    found: int | None = await db.fetchval(SELECT_SEEN_AT, user_id)
    return found
