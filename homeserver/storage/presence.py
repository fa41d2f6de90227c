"""The last presence of each user.  The live state is in memory; this outlasts a restart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

UPSERT_PRESENCE = """
INSERT INTO presence (user_id, presence, status_msg, last_active_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (user_id) DO UPDATE SET presence = EXCLUDED.presence,
    status_msg = EXCLUDED.status_msg, last_active_at = EXCLUDED.last_active_at
"""
SELECT_PRESENCE = """
SELECT user_id, presence, status_msg, last_active_at FROM presence
WHERE user_id = ANY($1::text[])
"""
# ``near``: shares a room with the reader, or has them among their contacts.
SELECT_SEEN_BY = """
SELECT wanted.user_id, p.presence, p.status_msg, p.last_active_at,
    EXISTS (SELECT 1 FROM memberships theirs JOIN memberships mine USING (room_id)
        WHERE theirs.user_id = wanted.user_id AND theirs.membership = 'join'
            AND mine.user_id = $1 AND mine.membership = 'join')
    OR EXISTS (SELECT 1 FROM consent_current c
        WHERE c.owner = wanted.user_id AND c.scope = 'message' AND c.peer = $1
            AND c.state = 'granted') AS near
FROM unnest($2::text[]) AS wanted (user_id) LEFT JOIN presence p USING (user_id)
"""

SELECT_LOCAL_MEMBERS = """
SELECT user_id FROM memberships WHERE room_id = $1 AND local AND membership = 'join' LIMIT $2
"""
SELECT_MEMBERS = """
SELECT DISTINCT user_id FROM memberships
WHERE room_id = ANY($1::text[]) AND membership = 'join' LIMIT $2
"""


class PresenceRow(Struct, frozen=True):
    """A user's presence as last stored."""

    user_id: str
    presence: str
    status_msg: str | None
    last_active_at: int  # ms


async def put_presence(db: Queryable, rows: Sequence[PresenceRow]) -> None:
    """Store the presence of some users, each once."""
    await db.execute(
        UPSERT_PRESENCE,
        [row.user_id for row in rows],
        [row.presence for row in rows],
        [row.status_msg for row in rows],
        [row.last_active_at for row in rows],
    )


async def get_presence(db: Queryable, user_ids: Iterable[str]) -> dict[str, PresenceRow]:
    """The stored presence of these users."""
    rows = await db.fetch(SELECT_PRESENCE, list(user_ids))
    return {row["user_id"]: PresenceRow(**row) for row in rows}


class Seen(Struct, frozen=True):
    """Whether somebody is near enough to a reader to be seen, and their presence on disk."""

    near: bool
    last: PresenceRow | None


async def get_seen_by(db: Queryable, reader: str, user_ids: Iterable[str]) -> dict[str, Seen]:
    """What of some users' presence is on disk, and whether a reader may be shown any."""
    found: dict[str, Seen] = {}
    for row in await db.fetch(SELECT_SEEN_BY, reader, list(user_ids)):
        user_id, last = row["user_id"], None
        if row["presence"] is not None:
            last = PresenceRow(user_id, row["presence"], row["status_msg"], row["last_active_at"])
        found[user_id] = Seen(row["near"], last)
    return found


async def get_local_members(db: Queryable, room_id: str, limit: int) -> list[str]:
    """Some of our users in a room."""
    return [row["user_id"] for row in await db.fetch(SELECT_LOCAL_MEMBERS, room_id, limit)]


async def get_members(db: Queryable, room_ids: Collection[str], limit: int) -> list[str]:
    """Some of those who are joined to some rooms."""
    return [row["user_id"] for row in await db.fetch(SELECT_MEMBERS, list(room_ids), limit)]
