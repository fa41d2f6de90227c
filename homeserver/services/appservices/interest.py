"""Which events an application service is told of.

Spec: application service API, registration: its users are in the room or are meant, or the room or
one of its aliases is in its namespaces.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from msgspec import Struct, field

from homeserver.protocol.events import Event
from homeserver.services.appservices.registration import AppService

CACHED_ROOMS = 20_000
CACHED_USERS = 50_000


class _Room(Struct):
    named: bool  # by its ID or one of its aliases
    users: set[str] = field(default_factory=set)

    @property
    def interesting(self) -> bool:
        return self.named or bool(self.users)


class Interest:
    """What one application service is interested in, at the position that it has reached."""

    def __init__(
        self,
        service: AppService,
        *,
        server_name: str,
        members_at: Callable[[str, int], Awaitable[list[str]]],
        aliases_of: Callable[[str], Awaitable[list[str]]],
    ) -> None:
        """``members_at``: local users who were in a room at a position."""
        self._service = service
        self._suffix = f":{server_name}"
        self._members_at = members_at
        self._aliases_of = aliases_of
        self._rooms: OrderedDict[str, _Room] = OrderedDict()
        self._users: OrderedDict[str, bool] = OrderedDict()

    def is_own(self, user_id: str) -> bool:
        """Whether a user is a local one in its namespaces."""
        known = self._users.get(user_id)
        if known is None:
            known = user_id.endswith(self._suffix) and self._service.is_interested_in_user(user_id)
            self._users[user_id] = known
            if len(self._users) > CACHED_USERS:
                self._users.popitem(last=False)
        return known

    def is_alone(self, user_id: str) -> bool:
        """Whether a local user is this application service's, and nobody else's."""
        return user_id.endswith(self._suffix) and self._service.has_alone("users", user_id)

    def is_certainly_indifferent(self, room_id: str) -> bool:
        """Whether it is known, without looking, that a room does not matter to it."""
        room = self._rooms.get(room_id)
        return room is not None and not room.interesting

    async def in_room(self, room_id: str, position: int) -> bool:
        """Whether it is told what happens in a room after a position."""
        return (await self._room(room_id, position)).interesting

    async def users_in(self, room_id: str, position: int) -> set[str]:
        """Its users in a room."""
        return (await self._room(room_id, position)).users

    async def wants(self, event: Event, position: int) -> bool:
        """Whether it is told of an event, which is at this position."""
        if event.type == "m.room.member" and self.is_own(event.state_key or ""):
            return True
        return await self.in_room(event.room_id, position - 1)

    def moved(self, room_id: str, user_id: str, membership: str) -> None:
        """A local user came or went; positions have to be passed in order."""
        room = self._rooms.get(room_id)
        if room is None or not self.is_own(user_id):
            return
        if membership == "join":
            room.users.add(user_id)
        else:
            room.users.discard(user_id)

    def forget_aliases(self, room_id: str) -> None:
        """A room's aliases changed."""
        self._rooms.pop(room_id, None)

    def forget(self) -> None:
        """Begin at another position."""
        self._rooms.clear()

    async def _room(self, room_id: str, position: int) -> _Room:
        room = self._rooms.get(room_id)
        if room is not None:
            self._rooms.move_to_end(room_id)
            return room
        named = self._service.is_interested_in_room(room_id)
        if not named and self._service.aliases:
            aliases = await self._aliases_of(room_id)
            named = any(self._service.is_interested_in_alias(alias) for alias in aliases)
        users = {user for user in await self._members_at(room_id, position) if self.is_own(user)}
        room = self._rooms[room_id] = _Room(named, users)
        if len(self._rooms) > CACHED_ROOMS:
            self._rooms.popitem(last=False)
        return room
