"""Rooms that no local user may come to."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

UPSERT = """
INSERT INTO blocked_rooms (room_id, reason, blocked_by, blocked_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (room_id) DO UPDATE SET reason = EXCLUDED.reason
"""
DELETE = "DELETE FROM blocked_rooms WHERE room_id = $1 RETURNING room_id"
SELECT = "SELECT room_id, reason, blocked_by, blocked_at FROM blocked_rooms ORDER BY room_id"


class BlockedRoom(Struct, frozen=True):
    """A blocked room: why, by whom, since when (ms)."""

    room_id: str
    reason: str
    blocked_by: str
    blocked_at: int


async def block_room(db: Queryable, room: BlockedRoom) -> None:
    """Block a room; of one that is blocked already the reason changes."""
    await db.execute(UPSERT, room.room_id, room.reason, room.blocked_by, room.blocked_at)


async def unblock_room(db: Queryable, room_id: str) -> bool:
    """Lift a block; False if there was none."""
    return await db.fetchval(DELETE, room_id) is not None


async def get_blocked_rooms(db: Queryable) -> list[BlockedRoom]:
    """All blocked rooms."""
    return [BlockedRoom(**row) for row in await db.fetch(SELECT)]
