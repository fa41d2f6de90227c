"""The log as webhooks go along it: read from the database, and made into the feed's updates.

Only what webhooks are told of is read: events, comings and goings, requests, what ended by itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

from homeserver.services.conversations.feed.events import route_safely
from homeserver.services.conversations.feed.looking import Looking
from homeserver.services.conversations.feed.moves import route_move
from homeserver.services.conversations.feed.records import route_record
from homeserver.services.conversations.feed.updates import Routed
from homeserver.services.conversations.webhooks.happenings import Happening, Stretch
from homeserver.services.event_store import EventStore
from homeserver.storage import webhook_source as storage
from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.events import StoredEvent
from homeserver.storage.log import Log, Notice, Record
from homeserver.storage.message_requests import RequestRecord
from homeserver.storage.receipts import ReceiptRecord

UNKNOWN = 2**63
OF_NO_INTEREST = (AccountDataRecord, ConsentRecord, ReceiptRecord)


class LogSource:
    """The log as updates."""

    def __init__(
        self, *, database: Database, log: Log, store: EventStore, looking: Looking
    ) -> None:
        self._database = database
        self._log = log
        self._store = store
        self._looking = looking
        self._recent = _Recent()
        log.subscribe(self._recent.on_notice)

    @property
    def position(self) -> int:
        """Where the log stands."""
        return self._log.position

    async def after(self, position: int, limit: int) -> Stretch:
        """What happened after a position, in order; the first part of it, if it is much."""
        upto = self._log.position
        kinds = _Kinds(upto, limit)
        recent = self._recent
        # who comes or goes does so before others are told of it
        if recent.may_have_moves(position):
            await self._moves(kinds, position, upto, limit)
        await self._events(kinds, position, upto, limit)
        if recent.may_have_others(position):
            requests = await storage.get_requests(self._database, position, upto, limit)
            kinds.add_records([(at, RequestRecord(request)) for at, request in requests])
            kinds.add_records(await storage.get_erasures(self._database, position, upto, limit))
        return kinds.stretch()

    async def _events(self, kinds: _Kinds, since: int, upto: int, limit: int) -> None:
        found = await storage.get_events(self._database, since, upto, limit)
        routed = await self._route([event_id for _, event_id in found])
        kinds.add(
            [
                _of_event(at, event_id, routed[event_id])
                for at, event_id in found
                if event_id in routed
            ],
            last=found[-1][0] if len(found) == limit else None,
        )

    async def _route(self, event_ids: Sequence[str]) -> dict[str, Routed]:
        """The events' updates, of those that say something."""
        stored = await self._store.get_many(event_ids)
        around = await self._looking.around(stored.values())
        routes: dict[str, Routed] = {}
        for event_id, event in stored.items():
            routed = route_safely(event, around) if self._is_told(event) else None
            if routed is not None:
                routes[event_id] = routed
        return routes

    def _is_told(self, stored: StoredEvent) -> bool:
        return stored.shown and stored.event.sender not in self._looking.erased

    async def _moves(self, kinds: _Kinds, since: int, upto: int, limit: int) -> None:
        moves = await storage.get_moves(self._database, since, upto, limit)
        happenings = []
        for each in moves:
            row = each.move.row
            routed = route_move(row, each.user_id, each.move.before)
            happenings.append(
                Happening(
                    type_of(routed) if routed is not None else "",
                    row.position,
                    row.room_id,
                    each.user_id,
                    routed=routed,
                    joined=row.membership == "join",
                )
            )
        kinds.add(happenings, last=moves[-1].move.row.position if len(moves) == limit else None)

    async def happening_of(self, event_id: str, type_: str) -> Happening | None:
        """What an event is as of now; None if it is gone, or is not to be told any more."""
        routed = (await self._route([event_id])).get(event_id)
        if routed is None or type_of(routed) != type_:
            return None
        return replace(_of_event(0, event_id, routed), update=routed.update.json)


class _Recent:
    """What the log had lately, as this process wrote it: mostly, only events have to be read."""

    def __init__(self) -> None:
        self._reached: int | None = None
        self._moves = self._others = UNKNOWN

    def on_notice(self, notice: Notice) -> None:
        """Take up what a commit brought.  Where positions are missing, others have written."""
        if not notice.records:
            return
        first = notice.records[0][0]
        if self._reached is None or first != self._reached + 1:
            self._moves = self._others = first - 1
        for position, record in notice.records:
            if isinstance(record, EventRecord):
                if record.memberships:
                    self._moves = position
            elif not isinstance(record, OF_NO_INTEREST):
                self._moves = self._others = position
        self._reached = notice.position

    def may_have_moves(self, since: int) -> bool:
        """Whether anybody may have come or gone after a position."""
        return since < self._moves

    def may_have_others(self, since: int) -> bool:
        """Whether there may be something besides events, comings and goings."""
        return since < self._others


class _Kinds:
    """What was read of each kind, and up to where that is all."""

    def __init__(self, upto: int, limit: int) -> None:
        self._reached = upto
        self._limit = limit
        self._kinds: list[Sequence[Happening]] = []

    def add(self, happenings: Sequence[Happening], *, last: int | None) -> None:
        """One kind, in order.  ``last``: where a full page of it ends, which may not be all."""
        if last is not None:
            self._reached = min(self._reached, last)
        self._kinds.append(happenings)

    def add_records(self, rows: Sequence[tuple[int, Record]]) -> None:
        """Records of one kind."""
        happenings = []
        for at, record in rows:
            routed = route_record(at, record)
            if routed is None:
                continue
            if routed.room_id is not None:
                data = routed.update.json.decode()
                happenings.append(
                    Happening(type_of(routed), at, routed.room_id, data=data, routed=routed)
                )
            for user_id in routed.users:
                happenings.append(Happening(type_of(routed), at, None, user_id, routed=routed))
        self.add(happenings, last=rows[-1][0] if len(rows) == self._limit else None)

    def stretch(self) -> Stretch:
        """All of it up to where it is complete."""
        merged = heapq.merge(*self._kinds, key=attrgetter("position"))
        return Stretch([each for each in merged if each.position <= self._reached], self._reached)


def _of_event(at: int, event_id: str, routed: Routed) -> Happening:
    return Happening(type_of(routed), at, routed.room_id, event_id=event_id, routed=routed)


def type_of(routed: Routed) -> str:
    """An update's type, such as ``message.created``."""
    return str(routed.update.shape.__struct_config__.tag)
