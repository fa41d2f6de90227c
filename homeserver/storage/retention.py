"""What is too old to be kept: rooms with their policies, and messages from before a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

# One look at an index per room tells whether it ever had a policy.
SELECT_ROOMS = """
SELECT r.room_id, r.snapshot_id, r.forward_extremities, EXISTS (
    SELECT 1 FROM events e WHERE e.room_id = r.room_id AND e.type = ANY($3::text[])
        AND e.state_key = '') AS has_policy
FROM rooms r WHERE r.room_id > $1 ORDER BY r.room_id LIMIT $2
"""
# The second half are those that are kept unshown.
SELECT_OLD = """
(SELECT event_id, origin_server_ts FROM events
WHERE room_id = $1 AND timeline_order IS NOT NULL AND origin_server_ts >= $2
    AND origin_server_ts < $3 AND state_key IS NULL AND event_id <> ALL($4::text[])
ORDER BY origin_server_ts LIMIT $5)
UNION ALL
(SELECT event_id, origin_server_ts FROM events
WHERE room_id = $1 AND timeline_order IS NULL AND state_key IS NULL AND erased IS NULL
    AND origin_server_ts >= $2 AND origin_server_ts < $3 AND event_id <> ALL($4::text[])
ORDER BY origin_server_ts LIMIT $5)
ORDER BY origin_server_ts LIMIT $5
"""
# Nobody can read them any more, so they do not count as unread.
DELETE_NOTIFICATIONS = """
DELETE FROM notifications n USING events e
WHERE n.room_id = $1 AND e.event_id = n.event_id AND e.erased = 'retention'
"""


class RetentionRoom(Struct, frozen=True):
    """A room as the purge sees it."""

    room_id: str
    snapshot_id: int | None
    forward_extremities: Sequence[str]
    has_policy: bool  # or had one


class OldEvent(Struct, frozen=True):
    """A message that is too old."""

    event_id: str
    origin_server_ts: int


async def get_rooms(
    db: Queryable, after: str, types: Collection[str], limit: int
) -> list[RetentionRoom]:
    """The next rooms in the order of their IDs."""
    return [RetentionRoom(**row) for row in await db.fetch(SELECT_ROOMS, after, limit, list(types))]


async def get_old_events(
    db: Queryable, room: RetentionRoom, *, since: int, before: int, limit: int
) -> list[OldEvent]:
    """Messages of a room from before a time (ms), the oldest first.

    State events stay, and so do the forward extremities.
    """
    rows = await db.fetch(
        SELECT_OLD, room.room_id, since, before, list(room.forward_extremities), limit
    )
    return [OldEvent(**row) for row in rows]


async def delete_purged_notifications(db: Queryable, room_id: str) -> None:
    """Forget what was unread in a room and is gone."""
    await db.execute(DELETE_NOTIFICATIONS, room_id)
