"""Telling other Comity instances which of their users' messages have come to our users' devices.

An EDU, ``dev.comity.delivered``: how far a user's devices are in a room, as the last event of that
instance's users that they have.  What waits for a device is in memory; what is to be told is
gathered for a moment, and then durable.  Only in small rooms, only where the user shows receipts.
See ``docs/consent-between-instances.md``.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog
from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.audience import RECEIPTS_SCOPE, Audience
from homeserver.services.delivery.progress import DeviceProgress
from homeserver.services.live_room import LiveRooms
from homeserver.services.outgoing import EduQueue
from homeserver.services.values import is_text, is_user_id
from homeserver.storage import delivery as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice

logger = structlog.get_logger(__name__)

DELIVERED_EDU = "dev.comity.delivered"
MOST_MEMBERS = 50  # of a room in which it is told
GATHER_SECONDS = 1.0
TOLD_AT_ONCE = 32  # instances; who is met for the first time is asked what it is
MOST_WAITING = 100  # messages for a user
MOST_USERS = 100_000
MOST_PER_EDU = 500
MOST_ROOMS = 200  # of a user, for which it is made up after a start
CATCH_UP_PAUSE_SECONDS = 0.01


class Peers(Protocol):
    """Which instances are Comities; ``federation`` provides it."""

    def known(self, server_name: str) -> bool | None:
        """Whether an instance is one, if that is known."""

    async def is_comity(self, server_name: str) -> bool:
        """Whether an instance is one."""

    def heard_from(self, server_name: str) -> None:
        """An instance has used what only Comities know."""


class _Waiting(Struct, frozen=True):
    """A message of another instance's user that a device has not got yet."""

    position: int
    room_id: str
    event_id: str
    server_name: str


class DeliveryNotices:
    """Sends and takes notices of delivery."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        log: Log,
        live_rooms: LiveRooms,
        progress: DeviceProgress,
        edus: EduQueue,
        peers: Peers,
        audience: Audience,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._live_rooms = live_rooms
        self._edus = edus
        self._peers = peers
        self._audience = audience
        self._clock_ms = clock_ms
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._to_tell: defaultdict[str, dict[tuple[str, str], str]] = defaultdict(dict)
        self._new: deque[tuple[str, int]] = deque()  # users who are back since the start
        self._work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.arrived: Callable[[str, str, int], None] = lambda _room, _user, _order: None
        """Told how far another instance's user has got: room ID, user ID, timeline order."""
        progress.subscribe(self._reached)
        log.subscribe(self._on_notice)

    async def start(self) -> None:
        """Begin to tell."""
        self._tasks = [
            asyncio.create_task(self._tell_always(), name="delivery notices"),
            asyncio.create_task(self._catch_up_always(), name="delivery notices after a start"),
        ]

    async def close(self) -> None:
        """Stop; what was gathered is told."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._tell()

    # ------------------------------------------------------------ what waits for devices

    def _on_notice(self, notice: Notice) -> None:
        for position, record in notice.records:
            if not isinstance(record, EventRecord) or record.event.state_key is not None:
                continue
            server_name = server_name_of(record.event.sender)
            if server_name == self._server_name or not record.visible:
                continue
            if self._peers.known(server_name) is False:
                continue
            room = self._live_rooms.cached(record.event.room_id)
            if room is None or room.joined_count > MOST_MEMBERS:
                continue
            waiting = _Waiting(position, room.room_id, record.event.event_id, server_name)
            for user_id in room.joined_local:
                self._wait(user_id, waiting)

    def _wait(self, user_id: str, waiting: _Waiting) -> None:
        queue = self._waiting.get(user_id)
        if queue is None:
            queue = self._waiting[user_id] = deque(maxlen=MOST_WAITING)
            if len(self._waiting) > MOST_USERS:
                self._waiting.popitem(last=False)
        queue.append(waiting)

    def _reached(self, user_id: str, before: int | None, position: int) -> None:
        if before is None:
            self._new.append((user_id, position))
            self._work.set()
        queue = self._waiting.get(user_id)
        if queue is None:
            return
        while queue and queue[0].position <= position:
            waiting = queue.popleft()
            self._note(user_id, waiting.room_id, waiting.event_id, waiting.server_name)
        if not queue:
            del self._waiting[user_id]

    def _note(self, user_id: str, room_id: str, event_id: str, server_name: str) -> None:
        self._to_tell[server_name][(room_id, user_id)] = event_id

    # ------------------------------------------------------------ telling

    async def _tell_always(self) -> None:
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            if self._to_tell:
                await self._tell()

    async def _tell(self) -> None:
        to_tell, self._to_tell = self._to_tell, defaultdict(dict)
        slots = asyncio.Semaphore(TOLD_AT_ONCE)

        async def tell(server_name: str, entries: dict[tuple[str, str], str]) -> None:
            async with slots:
                await self._tell_instance(server_name, entries)

        results = await asyncio.gather(
            *(tell(server_name, entries) for server_name, entries in to_tell.items()),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, Exception):
                logger.error("deliveries could not be told", exc_info=result)

    async def _tell_instance(self, server_name: str, entries: dict[tuple[str, str], str]) -> None:
        if not await self._peers.is_comity(server_name):
            return
        shown = {}
        for (room_id, user_id), event_id in entries.items():
            if await self._audience.servers_that_may_see(user_id, (server_name,), RECEIPTS_SCOPE):
                shown[(room_id, user_id)] = event_id
        for content in edu_contents(shown):
            await self._edus.queue_edu([server_name], DELIVERED_EDU, content)

    async def _catch_up_always(self) -> None:
        """After a start: what came to devices of which nothing was in memory."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._new:
                user_id, position = self._new.popleft()
                try:
                    await self._catch_up(user_id, position)
                except Exception:
                    logger.exception("deliveries could not be looked up")
                await asyncio.sleep(CATCH_UP_PAUSE_SECONDS)

    async def _catch_up(self, user_id: str, position: int) -> None:
        after = await storage.get_progress(self._database, user_id)
        if after is None or after >= position:
            return
        untold = await storage.get_untold(
            self._database,
            user_id,
            after=after,
            upto=position,
            server_name=self._server_name,
            most_members=MOST_MEMBERS,
            limit=MOST_ROOMS,
        )
        for event in untold:
            self._note(user_id, event.room_id, event.event_id, server_name_of(event.sender))

    # ------------------------------------------------------------ being told

    async def receive(self, origin: str, content: JsonObject) -> None:
        """Another instance says how far its users' devices are."""
        entries = list(_parse(origin, content))
        if not entries:
            return
        self._peers.heard_from(origin)
        moved = await storage.save_remote_progress(self._database, entries, self._clock_ms())
        for room_id, user_id, order in moved:
            self.arrived(room_id, user_id, order)


def edu_contents(entries: dict[tuple[str, str], str]) -> Iterator[JsonObject]:
    """``dev.comity.delivered`` contents of bounded size: ``(room ID, user ID)`` -> event ID."""
    listed = list(entries.items())
    for start in range(0, len(listed), MOST_PER_EDU):
        rooms: dict[str, dict[str, str]] = {}
        for (room_id, user_id), event_id in listed[start : start + MOST_PER_EDU]:
            rooms.setdefault(room_id, {})[user_id] = event_id
        yield {"rooms": rooms}


def _parse(origin: str, content: JsonObject) -> Iterator[tuple[str, str, str]]:
    """Room ID, user ID, event ID: only of the sending instance's users, and not too many."""
    rooms = content.get("rooms")
    left = MOST_PER_EDU
    for room_id, users in rooms.items() if isinstance(rooms, dict) else ():
        for user_id, event_id in users.items() if isinstance(users, dict) else ():
            if left == 0:
                return
            left -= 1
            if not (is_text(room_id) and is_user_id(user_id) and is_text(event_id)):
                continue
            if server_name_of(user_id) == origin:
                yield room_id, user_id, event_id
