"""Guests in rooms: they come only where the room's state lets them, and go when it no longer does.

Spec: client-server API, guest access, server behaviour.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from homeserver.errors import Forbidden, GuestForbidden, MatrixError
from homeserver.protocol.identifiers import UserId
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import Rooms
from homeserver.storage import guests as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Notice

logger = structlog.get_logger(__name__)

GUEST_ACCESS = ("m.room.guest_access", "")
REASON = "This room no longer takes guests"


class Leaving(Protocol):
    """What guests need of membership."""

    async def leave(self, user_id: UserId, room_id: str, *, reason: str | None = None) -> None:
        """Leave a room."""


class Guests:
    """Lets guests into rooms, and has them leave."""

    def __init__(
        self,
        *,
        enabled: bool,
        database: Database,
        rooms: Rooms,
        store: EventStore,
        leaving: Leaving,
    ) -> None:
        """``enabled``: whether new guest accounts are made."""
        self.enabled = enabled
        self._database = database
        self._rooms = rooms
        self._store = store
        self._leaving = leaving
        self._changed: set[str] = set()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin with the rooms in which guests are: one may have closed as the server stopped."""
        self._changed.update(await storage.get_rooms_of_guests(self._database))
        self._work.set()
        self._task = asyncio.create_task(self._run(), name="guests")

    async def close(self) -> None:
        """Stop; what is left is found at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def check_join(self, room_id: str) -> None:
        """Raise :class:`GuestForbidden` unless a guest may join a room: one that we are in."""
        room = await self._rooms.find(room_id)
        if room is None or not room.joined_local or not await self._takes_guests(room):
            raise GuestForbidden("That room does not take guests")

    async def _takes_guests(self, room: LiveRoom) -> bool:
        if GUEST_ACCESS not in room.state:
            return False
        await room.load_events(self._store, (GUEST_ACCESS,))
        event = room.event(GUEST_ACCESS)
        return event is not None and event.content.get("guest_access") == "can_join"

    # ------------------------------------------------------------ when a room closes

    def on_notice(self, notice: Notice) -> None:
        """A listener of the log."""
        for _, record in notice.records:
            if isinstance(record, EventRecord) and record.event.type == GUEST_ACCESS[0]:
                self._changed.add(record.event.room_id)
                self._work.set()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._changed:
                room_id = self._changed.pop()
                try:
                    await self.settle(room_id)
                except Exception:
                    logger.exception("guests could not be made to leave", room_id=room_id)

    async def settle(self, room_id: str) -> None:
        """Have the guests in a room leave, unless it takes guests."""
        guests = await storage.get_guests_in(self._database, room_id)
        room = await self._rooms.find(room_id) if guests else None
        if room is None or await self._takes_guests(room):
            return
        for user_id in guests:
            try:
                await self._leaving.leave(UserId(user_id), room_id, reason=REASON)
            except (Forbidden, MatrixError) as error:
                logger.warning("a guest could not leave", room_id=room_id, reason=error.text)
