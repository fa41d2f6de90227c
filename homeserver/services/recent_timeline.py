"""The newest events in memory, so that a sync that was woken by them asks the database nothing.

Two things are kept up to date from the log: the last events of each room, and, for each kind of
thing that a sync reports, when it last changed for whom.  Both are bounded, and both know how far
back they reach: for an older token the answer comes from the database.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from homeserver.services.event_store import stored_event
from homeserver.services.recent_receipts import RecentReceipts
from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.device_lists import DeviceListRecord, RemoteDeviceListRecord
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.event_records import ClientTransaction, EventRecord, Notification
from homeserver.storage.events import StoredEvent
from homeserver.storage.log import Log, Notice, Record
from homeserver.storage.receipts import ReceiptRecord
from homeserver.storage.releases import ReleaseRecord
from homeserver.storage.to_device import ToDeviceRecord

EVENTS_PER_ROOM = 100
EVENTS_IN_ALL = 10_000
REMEMBERED_CHANGES = 20_000
SHARED_BLOCKS = 16
BLOCK_SECONDS = 0.5  # an event says how old it is, so its bytes do not keep

Key = TypeVar("Key", bound=Hashable)


class Changes(Generic[Key]):
    """When each of many things changed last.  The oldest are forgotten."""

    def __init__(self, limit: int = REMEMBERED_CHANGES) -> None:
        self._limit = limit
        self._latest: OrderedDict[Key, int] = OrderedDict()  # in the order of positions
        self.floor = 0
        """Of what changed up to here, some may be forgotten."""

    def note(self, key: Key, position: int) -> None:
        """The thing has changed at a position, the latest of all."""
        self._latest[key] = position
        self._latest.move_to_end(key)
        if len(self._latest) > self._limit:
            self.floor = self._latest.popitem(last=False)[1]

    def changed(self, key: Key, since: int) -> bool:
        """Whether the thing has, or, with an old ``since``, may have changed."""
        return since < self.floor or self._latest.get(key, 0) > since

    def latest(self, key: Key) -> int:
        """When the thing changed last; 0 if it has not, or that is forgotten."""
        return self._latest.get(key, 0)

    def since(self, since: int) -> list[Key] | None:
        """The things that changed, the latest first; None if some may be forgotten."""
        if since < self.floor:
            return None
        found: list[Key] = []
        for key in reversed(self._latest):
            if self._latest[key] <= since:
                break
            found.append(key)
        return found


class RecentEvent(Struct, eq=False):
    """An event with what its commit said beside it."""

    stored: StoredEvent
    transaction: ClientTransaction | None
    notifications: Sequence[Notification]
    room_snapshot: int | None  # the room's state after it, forks resolved

    @property
    def is_linear(self) -> bool:
        """Whether it followed the room's whole state, so that it changed at most its own key."""
        return self.room_snapshot is None or self.room_snapshot == self.stored.snapshot_after


class RoomTimeline:
    """The last events of a room: all since ``complete_after``."""

    __slots__ = ("_blocks", "complete_after", "events")

    def __init__(self, complete_after: int) -> None:
        self.events: deque[RecentEvent] = deque()
        self.complete_after = complete_after
        self._blocks: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()

    def between(self, since: int, upto: int) -> list[RecentEvent]:
        """The events with a place at ``since < order <= upto``, the oldest first."""
        found: list[RecentEvent] = []
        for recent in reversed(self.events):
            order = recent.stored.order
            if order <= since:
                break
            if order <= upto:
                found.append(recent)
        found.reverse()
        return found

    def append(self, recent: RecentEvent) -> int:
        """Add an event; by how many the room has grown."""
        self.events.append(recent)
        if len(self.events) <= EVENTS_PER_ROOM:
            return 1
        self.complete_after = self.events.popleft().stored.order
        return 0

    def set_redacted(self, event_id: str, redaction_id: str) -> None:
        """Mark an event as redacted, if it is one of these."""
        for recent in self.events:
            if recent.stored.event.event_id == event_id:
                if recent.stored.redacted_by is None:
                    recent.stored.redacted_by = redaction_id
                self._blocks.clear()

    def release(self, event_id: str, position: int) -> None:
        """Show an event that was held, if it is one of these."""
        for recent in self.events:
            if recent.stored.event.event_id == event_id:
                recent.stored.position, recent.stored.withheld = position, None

    def forget(self, position: int) -> int:
        """Leave everything up to a position to the database; by how many the room has shrunk."""
        count = len(self.events)
        self.events.clear()
        self.complete_after = position
        return count

    def erase(self, record: ErasureRecord) -> None:
        """Take up that events' content was deleted."""
        gone = {event.event_id: event for event in record.events}
        for recent in self.events:
            redacted = gone.get(recent.stored.event.event_id)
            if redacted is not None:
                recent.stored.erase(redacted, record.why)
                self._blocks.clear()

    def block(self, key: Hashable) -> bytes | None:
        """A timeline as it was just sent to somebody else."""
        known = self._blocks.get(key)
        return known[1] if known and time.monotonic() - known[0] < BLOCK_SECONDS else None

    def keep_block(self, key: Hashable, block: bytes) -> None:
        """Keep a timeline for the next reader who needs the same."""
        self._blocks[key] = (time.monotonic(), block)
        if len(self._blocks) > SHARED_BLOCKS:
            self._blocks.popitem(last=False)


class RecentTimeline:
    """The rooms' last events, and what else changed lately.  Follows the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._rooms: OrderedDict[str, RoomTimeline] = OrderedDict()
        self._size = 0
        self._floor = 0
        self.rooms: Changes[str] = Changes()
        """Rooms with a new event."""
        self.releases: Changes[str] = Changes()
        """Rooms in which a held event was released."""
        self.members: Changes[str] = Changes()
        """Rooms in which somebody's membership changed."""
        self.memberships: Changes[str] = Changes()
        """Local users whose own membership changed somewhere."""
        self.receipts: Changes[str] = Changes()
        """Rooms with a new public receipt."""
        self.own_receipts: Changes[tuple[str, str]] = Changes()
        """``(user, room)``: readers who moved a receipt of their own."""
        self.recent_receipts = RecentReceipts()
        self.erasures: Changes[str] = Changes()
        """Rooms in which a message ended by itself."""
        self.account_data: Changes[str] = Changes()
        self.to_device: Changes[str] = Changes()
        self.device_rooms: Changes[str] = Changes()
        """Rooms whose members' device lists, or membership, changed."""
        self.device_users: Changes[str] = Changes()
        """Users who see a change of device lists whatever room they are in."""
        log.subscribe(self._on_notice)

    @property
    def position(self) -> int:
        """How far all this goes: the last committed position."""
        return self._log.position

    def start(self, released: Sequence[tuple[str, int]] = ()) -> None:
        """Begin at the log's present position; call it once the log has started.

        ``released``: rooms with releases from before, and the positions of the last, in any order;
        all there are, unless they are as many as :data:`REMEMBERED_CHANGES`.
        """
        self._floor = self.recent_receipts.floor = self._log.position
        for changes in (
            self.rooms,
            self.members,
            self.memberships,
            self.receipts,
            self.own_receipts,
            self.erasures,
            self.account_data,
            self.to_device,
            self.device_rooms,
            self.device_users,
        ):
            changes.floor = self._floor
        for room_id, position in sorted(released, key=lambda pair: pair[1]):
            self.releases.note(room_id, position)
        if len(released) >= REMEMBERED_CHANGES:
            self.releases.floor = max(self.releases.floor, min(p for _, p in released))

    # ------------------------------------------------------------ reading

    def room(self, room_id: str) -> RoomTimeline | None:
        """A room's last events; None if there were none lately."""
        return self._rooms.get(room_id)

    def complete_after(self, room_id: str) -> int:
        """From which position on all of a room's events are here."""
        room = self._rooms.get(room_id)
        return room.complete_after if room is not None else self._floor

    # ------------------------------------------------------------ following the log

    def _on_notice(self, notice: Notice) -> None:
        for position, record in notice.records:
            if isinstance(record, ReleaseRecord):
                self._take_release(position, record)
            elif isinstance(record, EventRecord):
                self._take_event(position, record)
                if record.stands:
                    self._append(position, record)
            elif isinstance(record, ReceiptRecord):
                if record.moved:
                    self._take_receipt(position, record)
            elif isinstance(record, ErasureRecord):
                self._take_erasure(position, record)
            elif isinstance(record, AccountDataRecord):
                self.account_data.note(record.user_id, position)
            else:
                self._take_of_devices(position, record)

    def _take_of_devices(self, position: int, record: Record) -> None:
        if isinstance(record, ToDeviceRecord):
            for user_id in record.touched_users():
                self.to_device.note(user_id, position)
        elif isinstance(record, DeviceListRecord | RemoteDeviceListRecord):
            for room_id in record.touched_rooms():
                self.device_rooms.note(room_id, position)
            for user_id in record.touched_users():
                self.device_users.note(user_id, position)

    def _take_erasure(self, position: int, record: ErasureRecord) -> None:
        for room_id in record.touched_rooms():
            self.erasures.note(room_id, position)
        room = self._rooms.get(record.room_id)
        if room is not None:
            room.erase(record)

    def _take_receipt(self, position: int, receipt: ReceiptRecord) -> None:
        self.own_receipts.note((receipt.user_id, receipt.room_id), position)
        for room_id in receipt.touched_rooms():
            self.receipts.note(room_id, position)
        self.recent_receipts.add(position, receipt)

    def _take_event(self, position: int, record: EventRecord) -> None:
        for change in record.memberships:
            self.members.note(change.room_id, position)
            self.device_rooms.note(change.room_id, position)
            if change.local:
                self.memberships.note(change.user_id, position)
                self.device_users.note(change.user_id, position)
        if record.redacts is not None:
            room = self._rooms.get(record.event.room_id)
            if room is not None:
                room.set_redacted(record.redacts, record.event.event_id)

    def _take_release(self, position: int, record: ReleaseRecord) -> None:
        room_id = record.event.room_id
        self._take_event(position, record)
        self.rooms.note(room_id, position)
        self.releases.note(room_id, position)
        room = self._rooms.get(room_id)
        if room is None or not room.events:
            return
        update = record.room
        if update is not None and update.snapshot_id != room.events[-1].room_snapshot:
            # What it did to the room's state is not to be seen in the events in memory.
            self._size -= room.forget(position)
        else:
            room.release(record.event.event_id, position)

    def _append(self, position: int, record: EventRecord) -> None:
        room_id = record.event.room_id
        self.rooms.note(room_id, position)
        room = self._rooms.get(room_id)
        if room is None:
            room = self._rooms[room_id] = RoomTimeline(self._floor)
        self._rooms.move_to_end(room_id)
        update = record.room
        self._size += room.append(
            RecentEvent(
                stored_event(position, record),
                record.transaction,
                record.notifications,
                update.snapshot_id if update is not None else record.snapshot_after,
            )
        )
        while self._size > EVENTS_IN_ALL:
            self._forget_coldest()

    def _forget_coldest(self) -> None:
        _, room = self._rooms.popitem(last=False)
        self._size -= len(room.events)
        last = room.events[-1].stored.order if room.events else room.complete_after
        self._floor = max(self._floor, last)
