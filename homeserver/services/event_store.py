"""Events by ID, kept in memory while they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TypeVar

from homeserver.protocol.events import Event
from homeserver.services.reading_together import ReadingTogether
from homeserver.storage import events as storage
from homeserver.storage.database import Database
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.events import StoredEvent
from homeserver.storage.log import Notice
from homeserver.storage.releases import ReleaseRecord

CACHED_EVENTS = 10_000

Key = TypeVar("Key")


class EventStore:
    """Reads events through a bounded cache that the log keeps up to date."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: OrderedDict[str, StoredEvent] = OrderedDict()
        self._pending: dict[str, StoredEvent] = {}
        self._changes = 0  # of events that are known: what was read meanwhile is not kept
        self._reads: ReadingTogether[str, StoredEvent] = ReadingTogether(self._read)

    def expect(self, record: EventRecord) -> None:
        """Know an event that is on its way to the disk; its position is not known yet."""
        if isinstance(record, ReleaseRecord):
            return  # it stays hidden until its release is on disk
        self._pending[record.event.event_id] = stored_event(0, record)

    def on_notice(self, notice: Notice) -> None:
        """Take up what was committed: new events, and redactions of old ones."""
        for position, record in notice.records:
            if isinstance(record, ErasureRecord):
                self._erase(record)
            if not isinstance(record, EventRecord):
                continue
            self._pending.pop(record.event.event_id, None)
            if isinstance(record, ReleaseRecord):
                self._release(position, record)
            else:
                self._remember(stored_event(position, record))
            if record.redacts is not None:
                self._changes += 1
                target = self._cache.get(record.redacts)
                if target is not None and target.redacted_by is None:
                    target.redacted_by = record.event.event_id

    def _release(self, position: int, record: ReleaseRecord) -> None:
        self._changes += 1
        stored = self._cache.get(record.event.event_id)
        if stored is not None:
            stored.position, stored.withheld = position, None
            stored.event = record.signed or stored.event

    def _erase(self, record: ErasureRecord) -> None:
        self._changes += 1
        for event in record.events:
            stored = self._cache.get(event.event_id)
            if stored is not None:
                stored.erase(event, record.why)

    def _remember(self, stored: StoredEvent) -> None:
        self._cache[stored.event.event_id] = stored
        if len(self._cache) > CACHED_EVENTS:
            self._cache.popitem(last=False)

    def forget(self, event_id: str) -> None:
        """Read an event anew when it is asked for next; a pending one did not reach the disk."""
        self._pending.pop(event_id, None)
        self._cache.pop(event_id, None)

    def peek(self, event_id: str) -> StoredEvent | None:
        """One event, if it is in memory and on disk."""
        return self._cache.get(event_id)

    async def get(self, event_id: str) -> StoredEvent | None:
        """One event, if we have it; rejected ones and outliers included."""
        cached = self._cache.get(event_id) or self._pending.get(event_id)
        if cached is not None:
            return cached
        return (await self.get_many((event_id,))).get(event_id)

    async def get_many(self, event_ids: Iterable[str]) -> dict[str, StoredEvent]:
        """Those of ``event_ids`` that we have."""
        found: dict[str, StoredEvent] = {}
        missing: list[str] = []
        for event_id in event_ids:
            cached = self._cache.get(event_id) or self._pending.get(event_id)
            if cached is None:
                missing.append(event_id)
            else:
                found[event_id] = cached
        if missing:
            read = await self._reads.get_many(missing)
            for event_id in missing:
                if event_id in read:
                    found[event_id] = read[event_id]
        return found

    async def get_redactions(self, events: Sequence[StoredEvent]) -> dict[str, StoredEvent]:
        """By ID, what redacted some of the events, those included that are redacted while this
        reads: to be the last thing that is read before the events are shown."""
        asked: set[str] = set()
        found: dict[str, StoredEvent] = {}
        while new := {s.redacted_by for s in events if s.redacted_by is not None} - asked:
            found.update(await self.get_many(new))
            asked |= new
        return found

    async def keep_state(
        self, reading: Awaitable[Mapping[Key, Sequence[StoredEvent]]]
    ) -> Mapping[Key, Sequence[StoredEvent]]:
        """Keep the state events of timelines that are being read: they are asked for next."""
        changes = self._changes
        read = await reading
        if changes == self._changes:
            for events in read.values():
                for stored in events:
                    event = stored.event
                    if event.state_key is not None and event.event_id not in self._cache:
                        self._remember(stored)
        return read

    async def _read(self, event_ids: Sequence[str]) -> Mapping[str, StoredEvent]:
        changes = self._changes
        read = await storage.get_events(self._database, event_ids)
        if changes == self._changes:
            for stored in read.values():
                self._remember(stored)
        return read

    async def auth_chain(self, event_ids: Iterable[str]) -> Mapping[str, Event]:
        """``event_ids`` with their whole auth chains, as far as we have them."""
        chain = await storage.auth_chain_ids(self._database, event_ids)
        events = await self.get_many(chain)
        return {event_id: stored.event for event_id, stored in events.items()}

    async def cited_chain(self, event_ids: Iterable[str]) -> set[str]:
        """What the events cite as auth events, and so on; not the events themselves."""
        return await storage.cited_chain_ids(self._database, event_ids)

    async def rejected(self, event_ids: Iterable[str]) -> set[str]:
        """Those of the events that the auth rules refused."""
        found = await self.get_many(event_ids)
        return {event_id for event_id, stored in found.items() if stored.rejected is not None}


def stored_event(position: int, record: EventRecord) -> StoredEvent:
    """A record as it lies in the database once committed."""
    return StoredEvent(
        event=record.event,
        position=position,
        timeline_order=position if record.live else record.timeline_order,
        snapshot_before=record.snapshot_before,
        snapshot_after=record.snapshot_after,
        rejected=record.rejected,
        soft_failed=record.soft_failed,
        withheld=record.withheld,
        redacted_by=record.redacted_by,
    )
