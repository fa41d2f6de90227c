"""By what a new room is found: its alias, its place in the directory, both from the room that it
replaces.  Written with the room, in the log's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

# A taken alias fails the room that wants it.
INSERT_ALIAS = "INSERT INTO room_aliases (alias, room_id, creator) VALUES ($1, $2, $3)"
PUBLISH = "UPDATE rooms SET published = true WHERE room_id = $1"
MOVE_ALIASES = "UPDATE room_aliases SET room_id = $2 WHERE room_id = $1"
MOVE_PUBLISHED = """
WITH old AS (
    SELECT room_id, published FROM rooms WHERE room_id = $1 FOR UPDATE
), moved AS (
    UPDATE rooms SET published = old.published FROM old WHERE rooms.room_id = $2
)
UPDATE rooms SET published = false FROM old WHERE rooms.room_id = old.room_id
"""
# The server's own list is the one without a network.  Networks of two application services may have
# one name, so that clients name them by both (services/appservices/third_party.py: instance_id).
SELECT_LISTED = """
SELECT room_id FROM rooms WHERE published AND $2::text IS NULL
UNION
SELECT room_id FROM appservice_room_lists
WHERE $1::boolean OR network_id = $2 OR appservice_id || '|' || network_id = $2
"""


class RoomListing(Record, eq=False):
    """What a room that was just made is found by."""

    room_id: str
    creator: str
    alias: str | None = None
    published: bool = False
    replaces: str | None = None  # the room whose aliases and place in the directory it takes

    @classmethod
    async def write(cls, connection: Connection, batch: Sequence[tuple[int, RoomListing]]) -> None:
        """Write them.  Raises :class:`asyncpg.UniqueViolationError` for a taken alias."""
        for _, record in batch:
            if record.alias is not None:
                await connection.execute(INSERT_ALIAS, record.alias, record.room_id, record.creator)
            if record.published:
                await connection.execute(PUBLISH, record.room_id)
            if record.replaces is not None:
                await connection.execute(MOVE_ALIASES, record.replaces, record.room_id)
                await connection.execute(MOVE_PUBLISHED, record.replaces, record.room_id)


async def get_listed_rooms(
    db: Queryable, *, every_network: bool, network_id: str | None
) -> list[str]:
    """The rooms of the server's own list, of a network's, or of all lists."""
    return [row["room_id"] for row in await db.fetch(SELECT_LISTED, every_network, network_id)]
