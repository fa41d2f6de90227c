"""What goes by: typing, receipts and presence, for one application service.

Nothing of it is kept on disk, and while the service does not answer, only the last of it is kept.
Spec: application service API, pushing ephemeral data.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol, TypeVar

from homeserver.protocol.events import JsonObject
from homeserver.services.appservices.interest import Interest
from homeserver.services.audience import PRESENCE_SCOPE, RECEIPTS_SCOPE, TYPING_SCOPE, Audience
from homeserver.services.receipts import receipt_contents
from homeserver.storage.database import Database
from homeserver.storage.receipts import READ_PRIVATE, ReceiptRecord
from homeserver.storage.shared_rooms import rooms_of

K = TypeVar("K")
V = TypeVar("V")

MOST_WAITING = 500
AT_ONCE = 100


class Typists(Protocol):
    """Who is typing."""

    def typing_in(self, room_id: str) -> list[str]:
        """Who is typing in a room."""


class PresenceOf(Protocol):
    """How users are."""

    def event(self, user_id: str) -> JsonObject | None:
        """A user's ``m.presence`` event, as far as memory knows."""


class Passing:
    """Gathers what goes by until the next transaction; a later state replaces an earlier one."""

    def __init__(
        self,
        *,
        database: Database,
        interest: Interest,
        typing: Typists,
        presence: PresenceOf,
        audience: Audience,
        sender: str,
    ) -> None:
        self._database = database
        self._interest = interest
        self._typing = typing
        self._presence = presence
        self._audience = audience
        self._sender = sender
        self._typing_rooms: OrderedDict[str, None] = OrderedDict()
        self._receipts: OrderedDict[tuple[str, str, str, str], ReceiptRecord] = OrderedDict()
        self._present: OrderedDict[str, None] = OrderedDict()

    @property
    def any(self) -> bool:
        """Whether something may have to be told."""
        return bool(self._typing_rooms or self._receipts or self._present)

    # ------------------------------------------------------------ noting

    def typing(self, room_id: str) -> None:
        """Who types in a room has changed."""
        _put(self._typing_rooms, room_id, None)

    def receipt(self, record: ReceiptRecord) -> bool:
        """Somebody has read something; False if that cannot matter."""
        if not record.moved:
            return False
        if record.receipt_type == READ_PRIVATE and not self._interest.is_own(record.user_id):
            return False
        _put(self._receipts, record.key, record)
        return True

    def presence(self, user_id: str) -> None:
        """How somebody is has changed."""
        _put(self._present, user_id, None)

    # ------------------------------------------------------------ telling

    async def take(self, position: int) -> list[JsonObject]:
        """What there is to tell, some of it at once."""
        events = [
            *await self._take_typing(position),
            *await self._take_receipts(position),
        ]
        if self._present:
            events += await self._take_presence(position)
        return events

    async def _take_typing(self, position: int) -> list[JsonObject]:
        events = []
        for room_id, _ in _some(self._typing_rooms):
            if not await self._interest.in_room(room_id, position):
                continue
            reader = await self._reader(room_id, position)
            typists = [
                user
                for user in self._typing.typing_in(room_id)
                if await self._audience.may_see(user, reader, TYPING_SCOPE)
            ]
            content = {"user_ids": typists}
            events.append({"type": "m.typing", "room_id": room_id, "content": content})
        return events

    async def _take_receipts(self, position: int) -> list[JsonObject]:
        told: list[ReceiptRecord] = []
        for _, record in _some(self._receipts):
            if not await self._interest.in_room(record.room_id, position):
                continue
            reader = await self._reader(record.room_id, position)
            if await self._audience.may_see(record.user_id, reader, RECEIPTS_SCOPE):
                told.append(record)
        return [
            {"type": "m.receipt", "room_id": room_id, "content": content}
            for room_id, content in receipt_contents(told).items()
        ]

    async def _take_presence(self, position: int) -> list[JsonObject]:
        users = [user for user, _ in _some(self._present)]
        others = [user for user in users if not self._interest.is_own(user)]
        rooms = await rooms_of(self._database, others)
        events = []
        for user in users:
            own = self._interest.is_own(user)
            if not own and not await self._shares_room(rooms.get(user, ()), position):
                continue
            if not own and not await self._audience.may_see(user, self._sender, PRESENCE_SCOPE):
                continue
            event = self._presence.event(user)
            if event is not None:
                events.append(event)
        return events

    async def _shares_room(self, room_ids: list[str] | tuple[str, ...], position: int) -> bool:
        for room_id in room_ids:
            if await self._interest.in_room(room_id, position):
                return True
        return False

    async def _reader(self, room_id: str, position: int) -> str:
        """Who of its users reads in a room: consent is asked for one of them."""
        return min(await self._interest.users_in(room_id, position), default=self._sender)


def _put(waiting: OrderedDict[K, V], key: K, value: V) -> None:
    waiting[key] = value
    waiting.move_to_end(key)
    if len(waiting) > MOST_WAITING:
        waiting.popitem(last=False)


def _some(waiting: OrderedDict[K, V]) -> list[tuple[K, V]]:
    """Take out the oldest."""
    return [waiting.popitem(last=False) for _ in range(min(AT_ONCE, len(waiting)))]
