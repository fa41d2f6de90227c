"""``message.status``: senders who are online are told how far what they have just sent has come.

Only for those who are connected when they send, and only in small conversations; everybody else
asks.  All of it is in memory.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from homeserver.protocol.identifiers import server_name_of
from homeserver.services.audience import RECEIPTS_SCOPE, Audience
from homeserver.services.conversations.shapes.delivery import STATES
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.conversations.shapes.updates import MessageStatus
from homeserver.services.delivery.stages import DEVICE, INSTANCE, PENDING, READ, SENT
from homeserver.services.live_room import LiveRoom, LiveRooms
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice
from homeserver.storage.receipts import MAIN_THREAD, UNTHREADED, ReceiptRecord
from homeserver.storage.receipts import READ as READ_RECEIPT

MOST_MEMBERS = 20
MOST_WATCHED = 100  # messages on their way to one recipient
MOST_RECIPIENTS = 20_000

Key = tuple[str, str]


class Updates(Protocol):
    """Those who are connected."""

    def awaits(self, user_id: str) -> bool:
        """Whether a user is told live, or is about to be."""

    def publish(self, user_id: str, update: MessageStatus) -> None:
        """Tell a user."""


class _Watched(Struct, eq=False):
    """A message on its way to one recipient."""

    event_id: str
    room_id: str
    sender: str
    recipient: str
    position: int
    is_threaded: bool
    level: int


class _Queues:
    """Watched messages by what they wait for, the oldest first; bounded."""

    def __init__(self) -> None:
        self._queues: OrderedDict[Key, deque[_Watched]] = OrderedDict()

    def add(self, key: Key, watched: _Watched) -> None:
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque(maxlen=MOST_WATCHED)
            if len(self._queues) > MOST_RECIPIENTS:
                self._queues.popitem(last=False)
        queue.append(watched)

    def upto(self, key: Key, position: int, *, keep: bool = False) -> list[_Watched]:
        """Those up to a position; they wait no more, unless ``keep``."""
        queue = self._queues.get(key)
        if queue is None:
            return []
        found = [watched for watched in queue if watched.position <= position]
        if not keep:
            for _ in found:
                queue.popleft()
            if not queue:
                del self._queues[key]
        return found


class DeliveryUpdates:
    """Follows messages on their way, and tells their senders."""

    def __init__(
        self,
        *,
        server_name: str,
        log: Log,
        live_rooms: LiveRooms,
        audience: Audience,
        updates: Updates,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._live_rooms = live_rooms
        self._audience = audience
        self._updates = updates
        self._clock_ms = clock_ms
        self._devices = _Queues()  # by local recipient
        self._instances = _Queues()  # by instance
        self._readers = _Queues()  # by room and recipient
        self._tasks: set[asyncio.Task[None]] = set()
        log.subscribe(self._on_notice)

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ following the log

    def _on_notice(self, notice: Notice) -> None:
        awaits = self._updates.awaits
        for position, record in notice.records:
            if isinstance(record, EventRecord):
                event = record.event
                if event.state_key is None and record.visible and awaits(event.sender):
                    room = self._live_rooms.cached(event.room_id)
                    if room is not None and room.joined_count <= MOST_MEMBERS:
                        self._watch(position, record, room)
            elif isinstance(record, ReceiptRecord) and record.moved:
                self._read(record)

    def _watch(self, position: int, record: EventRecord, room: LiveRoom) -> None:
        event = record.event
        relation = event.content.get("m.relates_to")
        threaded = isinstance(relation, dict) and relation.get("rel_type") == "m.thread"
        for user_id, membership in room.memberships.items():
            if membership != "join" or user_id == event.sender:
                continue
            server_name = server_name_of(user_id)
            is_local = server_name == self._server_name
            watched = _Watched(
                event.event_id, room.room_id, event.sender, user_id, position, threaded,
                INSTANCE if is_local else SENT,
            )  # fmt: skip
            self._readers.add((room.room_id, user_id), watched)
            if is_local:
                self._devices.add((user_id, ""), watched)
            else:
                self._instances.add((server_name, ""), watched)

    def _read(self, record: ReceiptRecord) -> None:
        if record.receipt_type != READ_RECEIPT or record.event_order is None:
            return
        if record.thread_id not in (UNTHREADED, MAIN_THREAD):
            return
        key = (record.room_id, record.user_id)
        for watched in self._readers.upto(key, record.event_order):
            if not (watched.is_threaded and record.thread_id == MAIN_THREAD):
                self._advance(watched, READ, at=record.ts)

    # ------------------------------------------------------------ what others say

    def device_reached(self, user_id: str, before: int | None, position: int) -> None:
        """A device of a local user has everything up to a position."""
        for watched in self._devices.upto((user_id, ""), position):
            self._advance(watched, DEVICE)

    def remote_reached(self, room_id: str, user_id: str, order: int) -> None:
        """A device of another instance's user has a room up to a place in its timeline."""
        for watched in self._readers.upto((room_id, user_id), order, keep=True):
            self._advance(watched, DEVICE)

    def instance_reached(self, server_name: str, position: int) -> None:
        """Another instance has everything that is for it up to a position."""
        for watched in self._instances.upto((server_name, ""), position):
            self._advance(watched, INSTANCE)

    def instance_failing(self, server_name: str) -> None:
        """Another instance does not answer."""
        for watched in self._instances.upto((server_name, ""), 2**62, keep=True):
            if watched.level == SENT:
                watched.level = PENDING
                self._publish(watched, reason="unreachable")

    def instance_refused(self, server_name: str, reasons: Mapping[str, str]) -> None:
        """Another instance did not take events: event ID -> why."""
        for watched in self._instances.upto((server_name, ""), 2**62, keep=True):
            if watched.event_id in reasons and watched.level <= SENT:
                watched.level = PENDING
                self._publish(watched, reason="refused")
                watched.level = READ  # what it says of later events is no news of this one

    # ------------------------------------------------------------ telling

    def _advance(self, watched: _Watched, level: int, *, at: int | None = None) -> None:
        if level <= watched.level:
            return
        watched.level = level
        user_id = watched.recipient
        if level > INSTANCE and self._audience.restricts(RECEIPTS_SCOPE, user_id):
            task = asyncio.create_task(self._publish_if_shown(watched, at))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._publish(watched, at=at)

    async def _publish_if_shown(self, watched: _Watched, at: int | None) -> None:
        if await self._audience.may_see(watched.recipient, watched.sender, RECEIPTS_SCOPE):
            self._publish(watched, at=at)

    def _publish(
        self, watched: _Watched, *, at: int | None = None, reason: str | None = None
    ) -> None:
        if not self._updates.awaits(watched.sender):
            return
        self._updates.publish(
            watched.sender,
            MessageStatus(
                conversation_id=watched.room_id,
                message_id=watched.event_id,
                recipient=address(watched.recipient),
                status=STATES[watched.level],
                at=rfc3339(at if at is not None else self._clock_ms()),
                reason=reason,
            ),
        )
