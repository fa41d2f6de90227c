"""What lists filter rooms by, and when something was last said in them: in memory, from the log.

Spec: MSC4186, ``SlidingRoomFilter``, ``bump_stamp``.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.services.event_store import EventStore
from homeserver.services.reading_together import ReadingTogether
from homeserver.services.visibility import Withheld
from homeserver.storage import sliding as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice
from homeserver.storage.many_rooms import get_room_snapshots
from homeserver.storage.rooms import MembershipRow

CACHED_ROOMS = 50_000
CACHED_SPACES = 2_000
CACHED_BUMPS = 50_000
BUMPS_PER_ROOM = 5
LOOKED_THROUGH = 100
CREATE, ENCRYPTION, SPACE_CHILD = "m.room.create", "m.room.encryption", "m.space.child"
BUMPS = frozenset(
    (
        CREATE,
        "m.room.message",
        "m.room.encrypted",
        "m.sticker",
        "m.call.invite",
        "m.poll.start",
        "org.matrix.msc3381.poll.start",
        "m.beacon_info",
        "org.matrix.msc3672.beacon_info",
    )
)


class Traits(Struct, frozen=True):
    """What kind of room it is."""

    room_type: str | None
    is_encrypted: bool


UNKNOWN = Traits(None, False)


class RoomTraits:
    """Rooms' kinds, read once for many and kept up to date."""

    def __init__(self, *, database: Database, log: Log, store: EventStore) -> None:
        self._database = database
        self._store = store
        self._rooms: OrderedDict[str, Traits] = OrderedDict()
        self._spaces: OrderedDict[str, frozenset[str]] = OrderedDict()
        self.version = 0
        """Changes whenever any room's kind, or what is in any space, changes."""
        log.subscribe(self._on_notice)

    async def get_many(self, room_ids: Iterable[str]) -> dict[str, Traits]:
        """Room ID -> its kind."""
        wanted = list(room_ids)
        missing = [room_id for room_id in wanted if room_id not in self._rooms]
        read: dict[str, Traits] = {}
        if missing:
            version = self.version
            types = await storage.get_room_types(self._database, missing)
            encrypted = await storage.get_encrypted(self._database, missing)
            read = {
                room_id: Traits(types.get(room_id), room_id in encrypted) for room_id in missing
            }
            if version == self.version:
                self._rooms.update(read)
        found = {room_id: self._rooms.get(room_id) or read[room_id] for room_id in wanted}
        while len(self._rooms) > CACHED_ROOMS:
            self._rooms.popitem(last=False)
        return found

    async def children(self, space_id: str) -> frozenset[str]:
        """The rooms that a space names as its own, sub-spaces not entered."""
        known = self._spaces.get(space_id)
        if known is not None:
            return known
        version = self.version
        snapshot = (await get_room_snapshots(self._database, [space_id])).get(space_id)
        found: frozenset[str] = frozenset()
        if snapshot is not None:
            ids = await storage.get_state_of_types(self._database, snapshot, [SPACE_CHILD])
            events = await self._store.get_many(ids.values())
            found = frozenset(
                stored.event.state_key
                for stored in events.values()
                if stored.redacted_by is None
                and stored.event.state_key
                and _is_list(stored.event.content.get("via"))
            )
        if version == self.version:
            self._spaces[space_id] = found
            if len(self._spaces) > CACHED_SPACES:
                self._spaces.popitem(last=False)
        return found

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if not isinstance(record, EventRecord):
                continue
            event = record.event
            room_id = event.room_id
            if event.type in (ENCRYPTION, CREATE) and event.is_state:
                self.version += 1
                self._rooms.pop(room_id, None)
            if room_id in self._spaces and (
                event.type == SPACE_CHILD or record.redacts is not None or _jumps(record)
            ):
                self.version += 1
                self._spaces.pop(room_id, None)


def _is_list(value: object) -> bool:
    return isinstance(value, list) and bool(value)


def _jumps(record: EventRecord) -> bool:
    """Whether the room's state may have changed in more than the event's own key."""
    update = record.room
    return update is not None and update.snapshot_id != record.snapshot_after


def stripped_traits(row: MembershipRow) -> Traits:
    """What kind of room an invite is to, as far as it says."""
    room_type: str | None = None
    is_encrypted = False
    for event in row.stripped_state or ():
        if event.get("type") == CREATE:
            value = _content(event).get("type")
            room_type = value if isinstance(value, str) else None
        elif event.get("type") == ENCRYPTION:
            is_encrypted = True
    return Traits(room_type, is_encrypted)


def _content(event: Mapping[str, object]) -> JsonObject:
    content = event.get("content")
    return content if isinstance(content, dict) else {}


# ---------------------------------------------------------------- when something was last said


class _Bump(Struct, frozen=True):
    """An event that counts as activity."""

    event_id: str
    sender: str
    position: int


class BumpStamps:
    """When something was last said in rooms: the last few such events, for readers who do not hear
    everybody."""

    def __init__(self, *, database: Database, log: Log) -> None:
        self._database = database
        self._rooms: OrderedDict[str, tuple[int, deque[_Bump]]] = OrderedDict()
        self._changes = 0
        self._reading: ReadingTogether[str, tuple[int, deque[_Bump]]] = ReadingTogether(self._read)
        log.subscribe(self._on_notice)

    async def get(self, room_id: str, withheld: Withheld) -> int:
        """A position of the log: greater is later.

        Of a room with nothing said lately it is the earliest that was looked at.
        """
        known = self._rooms.get(room_id)
        if known is None:
            known = (await self._reading.get_many((room_id,)))[room_id]
        floor, bumps = known
        for bump in reversed(bumps):
            if bump.event_id not in withheld.hidden and not withheld.is_unheard(bump.sender):
                return bump.position
        return floor

    async def _read(self, room_ids: Sequence[str]) -> dict[str, tuple[int, deque[_Bump]]]:
        changes = self._changes
        found: dict[str, tuple[int, deque[_Bump]]] = {}
        rows = await storage.get_last_events(self._database, room_ids, BUMPS, LOOKED_THROUGH)
        for row in rows:
            if row.room_id not in found:
                found[row.room_id] = (row.timeline_order, deque(maxlen=BUMPS_PER_ROOM))
            if row.counts:
                found[row.room_id][1].append(_Bump(row.event_id, row.sender, row.timeline_order))
        for room_id in room_ids:
            found.setdefault(room_id, (0, deque(maxlen=BUMPS_PER_ROOM)))
        if changes == self._changes:
            self._rooms.update(found)
            while len(self._rooms) > CACHED_BUMPS:
                self._rooms.popitem(last=False)
        return found

    def _on_notice(self, notice: Notice) -> None:
        for position, record in notice.records:
            if not isinstance(record, EventRecord) or not (record.live and record.visible):
                continue
            self._changes += 1
            event = record.event
            known = self._rooms.get(event.room_id)
            if known is None:
                continue
            if record.redacts is not None:
                del self._rooms[event.room_id]
            elif event.type in BUMPS:
                known[1].append(_Bump(event.event_id, event.sender, position))
