"""Messages deleted for one reader alone: hidden on every way in which that user reads.

Users for whom nothing is hidden cost nothing: who has anything hidden is in memory.
See ``docs/retention.md``.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.relations import REPLACE
from homeserver.services.event_store import EventStore
from homeserver.services.visibility import Reader, ReaderFilter, Withheld
from homeserver.storage import hidden_events as storage
from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.database import Database
from homeserver.storage.erasures import EXPIRED, VIEWED, ErasureRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.hidden_events import HiddenRecord, ViewedRecord
from homeserver.storage.log import Log, Notice

HIDDEN = "dev.comity.hidden"  # room account data: tells the user's devices
MOST_AT_ONCE = 100
MOST_PER_USER = 10_000
MOST_TOLD = 500
CACHED_USERS = 5_000

NONE: frozenset[str] = frozenset()


class HiddenEvents:
    """Knows what is hidden from whom, and changes it.  A :class:`ReaderFilter`, too, on top of
    another."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        store: EventStore,
        others: ReaderFilter,
        clock_ms: Callable[[], int],
    ) -> None:
        """``others``: what else is withheld from readers."""
        self._database = database
        self._log = log
        self._store = store
        self._others = others
        self._clock_ms = clock_ms
        self._owners: set[str] = set()
        self._hidden: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._changing = asyncio.Lock()
        log.subscribe(self._on_notice)

    async def start(self) -> None:
        """Read for whom anything is hidden."""
        self._owners |= await storage.get_owners(self._database)

    # ------------------------------------------------------------ reading

    async def hidden(self, user_id: str) -> frozenset[str]:
        """The events that are hidden from a user."""
        if user_id not in self._owners:
            return NONE
        known = self._hidden.get(user_id)
        if known is not None:
            return known
        before = self._log.position
        found = await storage.get_hidden(self._database, user_id)
        if self._log.position == before:  # else a change may have passed unseen
            self._hidden[user_id] = found
            if len(self._hidden) > CACHED_USERS:
                self._hidden.popitem(last=False)
        return found

    async def withheld(self, user_id: str) -> Withheld:
        """What a reader does not get, all together."""
        withheld = await self._others.withheld(user_id)
        hidden = await self.hidden(user_id)
        return replace(withheld, hidden=hidden) if hidden else withheld

    # ------------------------------------------------------------ changing

    async def hide(self, reader: Reader, room_id: str, event_ids: Sequence[str]) -> None:
        """Hide events of a room from the reader alone.  Returns when it is on disk.

        Raises :class:`NotFound` for what they may not see, :class:`InvalidParam` for state
        events, :class:`Forbidden` if they have hidden too much.
        """
        _check_number(event_ids)
        found = await self._store.get_many(event_ids)
        for event_id in event_ids:
            stored = found.get(event_id)
            if (
                stored is None
                or stored.event.room_id != room_id
                or not stored.shown
                or not reader.may_see(stored)
            ):
                raise NotFound(f"There is no event {event_id} in this room")
            if stored.event.is_state:
                raise InvalidParam("State events cannot be hidden")
        async with self._changing:
            count = await storage.count_hidden(self._database, reader.user_id)
            if count + len(event_ids) > MOST_PER_USER:
                raise Forbidden(f"You may hide {MOST_PER_USER} messages at most")
            await self._change(reader.user_id, room_id, event_ids, hidden=True)

    async def unhide(self, user_id: str, room_id: str, event_ids: Sequence[str]) -> None:
        """Show events again that the user hid.  Those that are not hidden stay as they are."""
        _check_number(event_ids)
        async with self._changing:
            await self._change(user_id, room_id, event_ids, hidden=False)

    async def forget(self, user_id: str) -> None:
        """Forget what a user hid and saw: their account is deleted."""
        await storage.forget_user(self._database, user_id)
        self._hidden.pop(user_id, None)
        self._owners.discard(user_id)

    async def _change(
        self, user_id: str, room_id: str, event_ids: Sequence[str], *, hidden: bool
    ) -> None:
        listed = await storage.get_hidden_in_room(self._database, user_id, room_id, MOST_TOLD)
        rest = [event_id for event_id in listed if event_id not in event_ids]
        told = [*event_ids, *rest][:MOST_TOLD] if hidden else rest
        await self._log.append(
            HiddenRecord(user_id, room_id, event_ids, hidden, self._clock_ms()),
            AccountDataRecord(user_id, room_id, HIDDEN, {"event_ids": told}),
        )

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, HiddenRecord | ViewedRecord):
                self._owners.add(record.user_id)
                self._hidden.pop(record.user_id, None)
            elif isinstance(record, ErasureRecord) and record.why in (EXPIRED, VIEWED):
                # what was viewed once and has ended is shown, redacted, to all
                self._read_anew({event.event_id for event in record.events})
            elif isinstance(record, EventRecord) and self._hidden:
                if record.redacts is not None:  # likewise
                    self._read_anew({record.redacts})
                edited = _edited(record)
                if edited is not None:  # what is hidden is hidden with its edits
                    self._read_anew({edited})

    def _read_anew(self, event_ids: set[str]) -> None:
        for user_id in [u for u, h in self._hidden.items() if not event_ids.isdisjoint(h)]:
            del self._hidden[user_id]


def _edited(record: EventRecord) -> str | None:
    """The event that an event edits."""
    relation = record.event.content.get("m.relates_to")
    if not isinstance(relation, dict) or relation.get("rel_type") != REPLACE:
        return None
    target = relation.get("event_id")
    return target if isinstance(target, str) else None


def _check_number(event_ids: Sequence[str]) -> None:
    if not 0 < len(event_ids) <= MOST_AT_ONCE:
        raise InvalidParam(f"'event_ids' must name 1 to {MOST_AT_ONCE} events")
