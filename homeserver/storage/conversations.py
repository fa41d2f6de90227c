"""What the Conversations API asks of rooms and their members, many at a time."""

from __future__ import annotations

from homeserver.storage.database import Queryable

# Rooms with nobody in them but these two, between whom an invite said that it is direct.  Sending
# such an invite, or answering one, puts the two member events here.
SELECT_UNMARKED_DIRECT_ROOMS = """
SELECT mine.room_id FROM memberships mine
JOIN memberships theirs ON theirs.room_id = mine.room_id AND theirs.user_id = $2
WHERE mine.user_id = $1 AND mine.membership = 'join' AND theirs.membership IN ('join', 'invite')
    AND NOT EXISTS (
        SELECT 1 FROM memberships others WHERE others.room_id = mine.room_id
            AND others.membership IN ('join', 'invite') AND others.user_id NOT IN ($1, $2))
    AND EXISTS (
        SELECT 1 FROM events e WHERE e.room_id = mine.room_id AND e.type = 'm.room.member'
            AND (e.state_key = $1 AND e.sender = $2 OR e.state_key = $2 AND e.sender = $1)
            AND convert_from(e.pdu, 'UTF8')::json -> 'content' ->> 'is_direct' = 'true')
ORDER BY mine.position DESC LIMIT $3
"""


async def get_unmarked_direct_rooms(
    db: Queryable, user_id: str, peer: str, limit: int
) -> list[str]:
    """Rooms of two that were made to be direct, the latest joined first."""
    rows = await db.fetch(SELECT_UNMARKED_DIRECT_ROOMS, user_id, peer, limit)
    return [row["room_id"] for row in rows]
