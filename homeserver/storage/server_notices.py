"""The rooms in which users get the notices of this server."""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

INSERT_ROOMS = """
INSERT INTO server_notice_rooms (user_id, room_id) SELECT * FROM unnest($1::text[], $2::text[])
"""
SELECT_ROOM = "SELECT room_id FROM server_notice_rooms WHERE user_id = $1"


class NoticeRoomRecord(Record, eq=False):
    """A user's room for notices, written with the room itself."""

    user_id: str
    room_id: str

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, NoticeRoomRecord]]
    ) -> None:
        """Write them.  Raises :class:`asyncpg.UniqueViolationError` for a user who has one."""
        records = [record for _, record in batch]
        await connection.execute(
            INSERT_ROOMS, [r.user_id for r in records], [r.room_id for r in records]
        )


async def get_notice_room(db: Queryable, user_id: str) -> str | None:
    """A user's room for notices, if there is one."""
    room_id: str | None = await db.fetchval(SELECT_ROOM, user_id)
    return room_id
