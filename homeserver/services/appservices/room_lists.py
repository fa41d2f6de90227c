"""The rooms that application services list for their networks.

Spec: application service API, published room directories.
"""

from __future__ import annotations

from homeserver.services.rooms import Rooms
from homeserver.storage import appservices as storage
from homeserver.storage.database import Database


class NetworkRooms:
    """Keeps the lists."""

    def __init__(self, *, database: Database, rooms: Rooms) -> None:
        self._database = database
        self._rooms = rooms

    async def set_listed(
        self, appservice_id: str, network_id: str, room_id: str, *, listed: bool
    ) -> None:
        """List a room, or take it out.  Raises :class:`~homeserver.errors.NotFound`."""
        if listed:
            await self._rooms.get(room_id)
        await storage.set_listed(self._database, appservice_id, network_id, room_id, listed=listed)
