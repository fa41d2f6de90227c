"""What a user was told after a position, told again: from the database, a page at a time.

The same rows give the same updates as when they were committed.  What has no history in the
database (how far somebody has read, drafts, settings) comes once, as it now stands.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Protocol

from msgspec import Struct

from homeserver.services.conversations.feed.devices import routed_message
from homeserver.services.conversations.feed.events import route_safely
from homeserver.services.conversations.feed.judging import Judge, restricts_nothing
from homeserver.services.conversations.feed.looking import Looking
from homeserver.services.conversations.feed.moves import route_move
from homeserver.services.conversations.feed.records import route_record
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.recent_timeline import Changes, RecentTimeline
from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.services.visibility import Reader
from homeserver.storage import events as event_storage
from homeserver.storage import feed as storage
from homeserver.storage import rooms as room_storage
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.feed import Span
from homeserver.storage.log import Log, Notice, Record
from homeserver.storage.message_requests import RequestRecord
from homeserver.storage.to_device import get_messages

PAGE = 200
FOREVER = 2**62

Placed = tuple[int, Routed]


class Views(Protocol):
    """Users' views of rooms."""

    async def readers(self, room_ids: Sequence[str], user_id: str) -> dict[str, Reader]:
        """A user's view of several rooms."""


class Page(Struct, frozen=True):
    """Some updates, the oldest first, and up to where these are all."""

    updates: Sequence[Update]
    position: int


class Replay:
    """Reads what users were told."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        recent: RecentTimeline,
        rooms: RoomsOfUsers,
        views: Views,
        judge: Judge,
        looking: Looking,
        page_size: int = PAGE,
    ) -> None:
        """``page_size``: of each kind of thing."""
        self._database = database
        self._recent = recent
        self._rooms = rooms
        self._views = views
        self._judge = judge
        self._looking = looking
        self._page_size = page_size
        self._consent: Changes[str] = Changes()
        log.subscribe(self._on_notice)

    def start(self) -> None:
        """Begin at the log's position, once the log has started."""
        self._consent.floor = self._recent.position

    def _on_notice(self, notice: Notice) -> None:
        for position, record in notice.records:
            if isinstance(record, ConsentRecord | RequestRecord):
                for user_id in record.touched_users():
                    self._consent.note(user_id, position)

    async def page(self, user_id: str, since: int, upto: int, device_id: str | None = None) -> Page:
        """The first of what a user, on a device, was told at ``since < position <= upto``."""
        changed = await self._what_changed(user_id, since)
        spans = await self._spans(user_id, since, upto, moved=changed.moves)
        db, size, taken = self._database, self._page_size, _Taken(upto, self._page_size)
        if in_rooms := self._rooms_with_events(spans, since):
            await self._take_events(in_rooms, taken)
        if changed.moves:
            moves = await storage.get_moves(db, user_id, since, upto, size)
            taken.add([(at, route_move(move.row, user_id, move.before)) for at, move in moves])
        if spans and changed.receipts:
            taken.add_records(await storage.get_receipts(db, spans, user_id, size))
        if spans and changed.erasures:
            taken.add_records(await storage.get_erasures(db, spans, size))
        if changed.account_data:
            taken.add_records(await storage.get_account_data(db, user_id, since, upto, size))
        if changed.consent:
            taken.add_records(await storage.get_consent(db, user_id, since, upto, size))
        if changed.requests:
            taken.add_records(await storage.get_requests(db, user_id, since, upto, size))
        if device_id is not None and self._recent.to_device.changed(user_id, since):
            waiting = await get_messages(db, user_id, device_id, after=since, upto=upto, limit=size)
            taken.add([(m.position, routed_message(user_id, device_id, m)) for m in waiting])
        return Page(await self._judged(user_id, taken), taken.reached)

    async def count(self, user_id: str, since: int, upto: int, most: int) -> int:
        """How many events a user was told of; at most a given number."""
        moved = self._recent.memberships.changed(user_id, since)
        spans = await self._spans(user_id, since, upto, moved=moved)
        spans = self._rooms_with_events(spans, since)
        if not spans:
            return 0
        return await event_storage.count_events_after(self._database, *storage.columns(spans), most)

    async def _judged(self, user_id: str, taken: _Taken) -> list[Update]:
        """What the user gets of it, in order; their own moves stand for what others see there."""
        own: set[int] = set()
        found: list[Update] = []
        withheld = await self._judge.withheld(user_id)
        for position, routed in taken.in_order():
            if routed.users:
                own.add(position)
            elif position in own:
                continue
            self._judge.settle(routed)
            update = routed.update
            if not routed.is_simple or not restricts_nothing(withheld):
                shown = await self._judge.shown(user_id, routed, withheld)
                if shown is None:
                    continue
                update = shown
            found.append(update)
        return found

    async def _what_changed(self, user_id: str, since: int) -> storage.Changed:
        """From memory, as far as it reaches; else asked at once."""
        rooms, recent = await self._rooms.get(user_id), self._recent
        receipts, own = recent.receipts.since(since), recent.own_receipts.since(since)
        erasures = recent.erasures.since(since)
        if receipts is None or own is None or erasures is None or since < self._consent.floor:
            return await storage.get_changed(self._database, user_id, since, rooms.joined)
        return storage.Changed(
            moves=recent.memberships.changed(user_id, since),
            account_data=recent.account_data.changed(user_id, since),
            consent=self._consent.changed(user_id, since),
            requests=self._consent.changed(user_id, since),
            receipts=any(room_id in rooms.joined for room_id in receipts)
            or any(reader == user_id for reader, _ in own),
            erasures=any(room_id in rooms.joined for room_id in erasures),
        )

    # ------------------------------------------------------------ rooms

    async def _spans(self, user_id: str, since: int, upto: int, *, moved: bool) -> list[Span]:
        """When the user was in which room."""
        rooms = await self._rooms.get(user_id)
        changed: set[str] = set()
        if moved or self._recent.memberships.changed(user_id, since):
            changes = await room_storage.get_membership_changes(
                self._database, user_id, since, FOREVER
            )
            changed = {change.room_id for change in changes}
        spans = [Span(room_id, since, upto) for room_id in rooms.joined if room_id not in changed]
        if changed:
            for room_id, view in (await self._views.readers(sorted(changed), user_id)).items():
                spans.extend(_stays(room_id, view, since, upto))
        return spans

    def _rooms_with_events(self, spans: Sequence[Span], since: int) -> list[Span]:
        """The spans in which there may be new events, as far as memory knows."""
        rooms, released = self._recent.rooms.since(since), self._recent.releases.since(since)
        if rooms is None or released is None:
            return list(spans)
        changed = {*rooms, *released}
        return [span for span in spans if span.room_id in changed]

    async def _take_events(self, spans: Sequence[Span], taken: _Taken) -> None:
        stored = await event_storage.get_events_after(
            self._database, *storage.columns(spans), self._page_size
        )
        around = await self._looking.around(stored)
        routes: list[tuple[int, Routed | None]] = []
        for event in stored:
            routed = route_safely(event, around)
            if routed is not None:
                self._mark(event, routed)
            routes.append((event.position, routed))
        taken.add(routes)

    def _mark(self, stored: StoredEvent, routed: Routed) -> None:
        if stored.event.sender in self._looking.erased:
            routed.stored, routed.is_simple = stored, False


class _Taken:
    """What was read of each kind, and up to where that is all."""

    def __init__(self, upto: int, size: int) -> None:
        self.reached = upto
        self._size = size
        self._kinds: list[list[Placed]] = []

    def add(self, rows: Sequence[tuple[int, Routed | None]]) -> None:
        """One kind of thing, in order; a full page of it may not be all."""
        if len(rows) >= self._size:
            self.reached = min(self.reached, rows[-1][0])
        self._kinds.append([(at, routed) for at, routed in rows if routed is not None])

    def add_records(self, rows: Sequence[tuple[int, Record]]) -> None:
        """Records of one kind."""
        self.add([(position, route_record(position, record)) for position, record in rows])

    def in_order(self) -> Iterator[Placed]:
        """All of it up to where it is complete, what is for the user alone first."""
        merged = heapq.merge(*self._kinds, key=lambda placed: (placed[0], not placed[1].users))
        return takewhile(lambda placed: placed[0] <= self.reached, merged)


def _stays(room_id: str, view: Reader, since: int, upto: int) -> list[Span]:
    """When a user was in a room: from each join up to what ended the stay."""
    stays: list[Span] = []
    began: int | None = None
    for position, membership in zip(view.positions, view.memberships, strict=True):
        if membership == "join":
            began = position - 1 if began is None else began
        elif began is not None:
            stays.append(Span(room_id, max(began, since), min(position - 1, upto)))
            began = None
    if began is not None:
        stays.append(Span(room_id, max(began, since), upto))
    return [stay for stay in stays if stay.since < stay.upto]
