"""Rooms that an admin has blocked: nobody of this server comes to them, by whatever way.

They are in memory, so that asking costs nothing.  Who is in such a room stays there, until they
leave or the room is deleted.
"""

from __future__ import annotations

from collections.abc import Callable

from homeserver.errors import Forbidden
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import Draft
from homeserver.storage import blocked_rooms as storage
from homeserver.storage.blocked_rooms import BlockedRoom
from homeserver.storage.database import Database

COMING = ("join", "knock", "invite")


class RoomBlocks:
    """Blocks rooms, and says which are."""

    def __init__(self, *, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._blocked: dict[str, BlockedRoom] = {}

    async def start(self) -> None:
        """Read what is blocked."""
        found = await storage.get_blocked_rooms(self._database)
        self._blocked = {room.room_id: room for room in found}

    def find(self, room_id: str) -> BlockedRoom | None:
        """The block of a room."""
        return self._blocked.get(room_id)

    def list_all(self) -> list[BlockedRoom]:
        """All blocked rooms, in the order of their IDs."""
        return sorted(self._blocked.values(), key=lambda room: room.room_id)

    async def block(self, room_id: str, *, reason: str, by: str) -> BlockedRoom:
        """Block a room, known here or not."""
        await storage.block_room(self._database, BlockedRoom(room_id, reason, by, self._clock_ms()))
        await self.start()
        return self._blocked[room_id]

    async def unblock(self, room_id: str) -> bool:
        """Lift a block; False if there was none."""
        found = await storage.unblock_room(self._database, room_id)
        await self.start()
        return found

    def check(self, room_id: str) -> None:
        """Refuse a blocked room.  Raises :class:`Forbidden`."""
        if room_id in self._blocked:
            raise Forbidden("This room has been blocked on this server")

    def check_send(self, room: LiveRoom, draft: Draft) -> None:
        """Refuse who wants to come to a blocked room, or to let somebody in.

        Raises :class:`Forbidden`.
        """
        if not self._blocked or draft.type != "m.room.member" or draft.state_key is None:
            return
        if draft.content.get("membership") in COMING and not room.is_joined(draft.state_key):
            self.check(room.room_id)
