"""Small questions about rooms that other services ask, answered from memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.event_store import EventStore
from homeserver.services.rooms import Draft, Rooms
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database


class RoomFacts:
    """Who is where; and member events that follow a changed profile."""

    def __init__(self, *, database: Database, rooms: Rooms, store: EventStore) -> None:
        self._database = database
        self._rooms = rooms
        self._store = store

    async def joined_servers(self, room_id: str) -> Collection[str]:
        """The other instances with a joined member."""
        room = await self._rooms.find(room_id)
        return room.destinations if room is not None else ()

    async def is_joined(self, room_id: str, user_id: str) -> bool:
        """Whether a user, ours or another instance's, is joined."""
        room = await self._rooms.find(room_id)
        return room is not None and room.is_joined(user_id)

    async def is_server_allowed(self, room_id: str, server_name: str) -> bool:
        """Whether the room's ``m.room.server_acl`` lets an instance in; false if unknown."""
        room = await self._rooms.find(room_id)
        return room is not None and room.allows_server(server_name)

    async def joined_rooms(self, user_id: UserId) -> Sequence[str]:
        """The rooms to which a local user is joined."""
        rows = await storage.get_user_rooms(self._database, user_id, ("join",))
        return [row.room_id for row in rows]

    async def update_member(self, user_id: UserId, room_id: str, fields: JsonObject) -> None:
        """Send a member event with these fields in the place of the present ones."""
        room = await self._rooms.get_joined(room_id, user_id)
        key = ("m.room.member", str(user_id))
        await room.load_events(self._store, (key,))
        kept = {
            name: value
            for name, value in room.content(key).items()
            if name not in ("displayname", "avatar_url", "join_authorised_via_users_server")
        }
        content = {**kept, **fields, "membership": "join"}
        await self._rooms.send(room_id, Draft(user_id, "m.room.member", content, user_id))
