"""Reading a room's history: pages of it, what surrounds an event, single events.

Everything passes the room's history visibility; rejected, soft-failed and withheld events never
show.  Where our history ends and the room's does not, more is fetched from other instances.

Spec: client-server API, ``/messages``, ``/context``, ``/event``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

import orjson
import structlog
from msgspec import Struct

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import RoomEventFilter
from homeserver.services.aggregations import Aggregations, Relations
from homeserver.services.client_events import ClientEvents, shown_event
from homeserver.services.event_store import EventStore
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.requester import Requester
from homeserver.services.sync_state import BEFORE_ALL, MEMBER, SyncStates
from homeserver.services.sync_token import timeline_token
from homeserver.services.visibility import (
    Reader,
    ReaderFilter,
    Visibility,
    Withheld,
)
from homeserver.storage import events as storage
from homeserver.storage import relations as relation_storage
from homeserver.storage import rooms as room_storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

logger = structlog.get_logger(__name__)

MOST_SCANNED = 2_000
MOST_BACKFILLS = 3
BACKFILL_SECONDS = 20.0
NO_FILTER = RoomEventFilter()
PROFILE = ("displayname", "avatar_url")


class Backfiller(Protocol):
    """Where older history comes from."""

    async def backfill(self, room_id: str, limit: int) -> bool:
        """Fetch older events of a room; True if some came."""


class PageRequest(Struct, frozen=True):
    """Which part of a room's history is wanted.

    Orders are points in the timeline, as tokens name them; None: where it ends, or begins.
    """

    backwards: bool
    start: int | None = None
    stop: int | None = None
    limit: int = 10
    filter: RoomEventFilter = NO_FILTER


class _Page(Struct):
    events: list[StoredEvent]
    next: int | None  # where to go on; None: there is no more


class Timeline:
    """Reads rooms' history for users."""

    def __init__(
        self,
        *,
        database: Database,
        recent: RecentTimeline,
        store: EventStore,
        states: SyncStates,
        events: ClientEvents,
        aggregations: Aggregations,
        visibility: Visibility,
        reader_filter: ReaderFilter,
        backfiller: Backfiller,
    ) -> None:
        self._database = database
        self._recent = recent
        self._store = store
        self._states = states
        self._events = events
        self._aggregations = aggregations
        self._visibility = visibility
        self._reader_filter = reader_filter
        self._backfiller = backfiller

    # ------------------------------------------------------------ who may read

    async def reader(self, room_id: str, user_id: str) -> Reader:
        """A user's view of a room that they may read: members, those who left, and, where the
        history is world-readable, anybody.  Raises :class:`Forbidden`."""
        reader = await self._visibility.reader(room_id, user_id)
        if reader.membership == "join" or reader.history.is_world_readable:
            return reader
        if reader.ever_joined:
            row = await room_storage.get_membership(self._database, room_id, user_id)
            if row is not None and not row.forgotten:
                return reader
        raise Forbidden("You are not in this room")

    async def any_reader(self, room_id: str, user_id: str) -> Reader:
        """A user's view of a room, also of one that they have forgotten."""
        return await self._visibility.reader(room_id, user_id)

    # ------------------------------------------------------------ pages

    async def messages(
        self, requester: Requester, room_id: str, request: PageRequest
    ) -> JsonObject:
        """A page of a room's history.  Spec: ``GET /rooms/{roomId}/messages``.

        Raises :class:`Forbidden`.
        """
        reader = await self.reader(room_id, requester.user_id)
        start = request.start
        if start is None:
            start = self.end(reader) if request.backwards else BEFORE_ALL
        withheld = await self._reader_filter.withheld(requester.user_id)
        page = await self._page(room_id, reader, withheld, request, start)
        answer: JsonObject = {
            "start": timeline_token(start),
            "chunk": await self.bundled(page.events, reader, requester),
        }
        if page.next is not None:
            answer["end"] = timeline_token(page.next)
        if request.filter.lazy_load_members and page.events:
            members = await self._members(reader, page.events)
            answer["state"] = await self.serialise(members, reader, requester)
        return answer

    def end(self, reader: Reader) -> int:
        """Where the timeline ends for a reader: at their leave, if they have left."""
        left_at = reader.left_at
        if reader.membership == "join" or left_at is None or reader.history.is_world_readable:
            return self._recent.position
        return left_at

    async def _page(
        self,
        room_id: str,
        reader: Reader,
        withheld: Withheld,
        request: PageRequest,
        start: int,
    ) -> _Page:
        found: list[StoredEvent] = []
        point, scanned, backfills = start, 0, 0
        while scanned < MOST_SCANNED:
            wanted = request.limit - len(found)
            rows = await self._rows(room_id, request, point, wanted)
            scanned += len(rows)
            shown = [s for s in rows if self.shows(s, reader, withheld, request.filter)]
            found.extend(await self._related(shown, reader, withheld, request.filter))
            if rows:
                order = rows[-1].order
                point = order - 1 if request.backwards else order
            if len(found) >= request.limit:
                return _Page(found, point)
            if len(rows) < wanted:
                more = backfills < MOST_BACKFILLS and await self._backfill(room_id, reader, request)
                if not more:
                    return _Page(found, None)
                reader = more
                backfills += 1
        return _Page(found, point)

    async def _related(
        self,
        events: list[StoredEvent],
        reader: Reader,
        withheld: Withheld,
        event_filter: RoomEventFilter,
    ) -> list[StoredEvent]:
        """The events to which others relate as the filter asks, if it does."""
        wanted = event_filter.related_by
        if wanted is None or not events:
            return events
        related = await relation_storage.get_related(
            self._database,
            [stored.event.event_id for stored in events],
            types=wanted.types,
            senders=wanted.senders,
            without=withheld.peers,
            upto=self.end(reader),
        )
        return [stored for stored in events if stored.event.event_id in related]

    async def _rows(
        self, room_id: str, request: PageRequest, point: int, limit: int
    ) -> Sequence[StoredEvent]:
        if request.backwards:
            stop = BEFORE_ALL if request.stop is None else request.stop
            return await storage.get_timeline(
                self._database, room_id, newest=point, oldest=stop, limit=limit
            )
        stop = self._recent.position if request.stop is None else request.stop
        return await storage.get_timeline_forwards(
            self._database, room_id, after=point, upto=stop, limit=limit
        )

    async def _backfill(self, room_id: str, reader: Reader, request: PageRequest) -> Reader | None:
        if not request.backwards or request.stop is not None:
            return None
        return await self.fetch_older(room_id, reader, request.limit)

    async def has_older(self, room_id: str, reader: Reader) -> bool:
        """Whether other instances have what is before all that we have, for a member."""
        if reader.membership != "join":
            return False
        return bool(await storage.backward_extremities(self._database, room_id, 1))

    async def fetch_older(self, room_id: str, reader: Reader, limit: int) -> Reader | None:
        """Fetch what is before all that we have, if a member asks for it; None if nothing came.

        Returns the member's view of the room as it is then: what came may say who may read it.
        """
        if not await self.has_older(room_id, reader):
            return None
        try:
            async with asyncio.timeout(BACKFILL_SECONDS):
                came = await self._backfiller.backfill(room_id, limit)
        except TimeoutError:
            logger.info("backfill takes too long", room_id=room_id)
            return None
        return await self._visibility.reader(room_id, reader.user_id) if came else None

    def shows(
        self,
        stored: StoredEvent,
        reader: Reader,
        withheld: Withheld,
        event_filter: RoomEventFilter = NO_FILTER,
    ) -> bool:
        """Whether a reader gets an event."""
        event = stored.event
        return (
            stored.shown
            and event_filter.matches(event)
            and not withheld.hides(event)
            and reader.may_see(stored)
        )

    async def _last_state(self, room_id: str, reader: Reader) -> int | None:
        """The state with which the room ends for a reader: that of now, or of their leave."""
        end = self.end(reader)
        if end >= self._recent.position:
            return await self._states.room_snapshot(room_id, end)
        return await self._states.snapshot_at(room_id, end)

    async def _members(self, reader: Reader, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """The member events of those who sent these.  Spec: lazy-loading room members."""
        snapshot = next((s.snapshot_before for s in events if s.snapshot_before is not None), None)
        if snapshot is None:
            snapshot = await self._last_state(events[0].event.room_id, reader)
        if snapshot is None:
            return []
        senders = {stored.event.sender for stored in events}
        ids = await self._states.member_ids(snapshot, senders)
        return list((await self._store.get_many(ids.values())).values())

    # ------------------------------------------------------------ single events

    async def event(self, requester: Requester, room_id: str, event_id: str) -> orjson.Fragment:
        """One event.  Spec: ``GET /rooms/{roomId}/event/{eventId}``.

        Raises :class:`Forbidden`, :class:`NotFound`.
        """
        reader = await self.reader(room_id, requester.user_id)
        stored = await self.visible_event(reader, room_id, event_id)
        return (await self.bundled([stored], reader, requester))[0]

    async def visible_event(self, reader: Reader, room_id: str, event_id: str) -> StoredEvent:
        """An event that a reader may see.  Raises :class:`NotFound`."""
        stored = await self._store.get(event_id)
        if stored is not None and stored.event.room_id == room_id:
            withheld = await self._reader_filter.withheld(reader.user_id)
            if self.shows(stored, reader, withheld):
                return stored
        raise NotFound("There is no such event, or you may not see it")

    async def context(
        self,
        requester: Requester,
        room_id: str,
        event_id: str,
        limit: int,
        event_filter: RoomEventFilter,
    ) -> JsonObject:
        """What surrounds an event.  Spec: ``GET /rooms/{roomId}/context/{eventId}``.

        Raises :class:`Forbidden`, :class:`NotFound`.
        """
        reader = await self.reader(room_id, requester.user_id)
        stored = await self.visible_event(reader, room_id, event_id)
        if stored.timeline_order is None:
            raise NotFound("That event is not in the part of the timeline that this server has")
        order, half = stored.timeline_order, limit // 2
        withheld = await self._reader_filter.withheld(requester.user_id)
        before = await self._page(
            room_id,
            reader,
            withheld,
            PageRequest(True, limit=half, filter=event_filter),
            order - 1,
        )
        after = await self._page(
            room_id,
            reader,
            withheld,
            PageRequest(False, limit=limit - half, filter=event_filter),
            order,
        )
        oldest = before.events[-1].order if before.events else order
        newest = after.events[-1] if after.events else stored
        shown = [stored, *before.events, *after.events]
        return {
            "start": timeline_token(oldest - 1),
            "end": timeline_token(newest.order),
            "events_before": await self.bundled(before.events, reader, requester),
            "event": (await self.bundled([stored], reader, requester))[0],
            "events_after": await self.bundled(after.events, reader, requester),
            "state": await self._context_state(requester, reader, newest, shown, event_filter),
        }

    async def around(
        self, requester: Requester, reader: Reader, stored: StoredEvent, before: int, after: int
    ) -> tuple[JsonObject, list[StoredEvent]]:
        """What surrounds an event that the reader may see, without state; and these events.

        Spec: ``POST /search``, event context.
        """
        withheld, room_id = await self.withheld(requester.user_id), stored.event.room_id
        older, newer = _Page([], None), _Page([], None)
        if before:
            request = PageRequest(True, stop=BEFORE_ALL, limit=before)
            older = await self._page(room_id, reader, withheld, request, stored.order - 1)
        if after:
            request = PageRequest(False, limit=after)
            newer = await self._page(room_id, reader, withheld, request, stored.order)
        oldest = older.events[-1].order if older.events else stored.order
        newest = newer.events[-1].order if newer.events else stored.order
        context = {
            "start": timeline_token(oldest - 1),
            "end": timeline_token(newest),
            "events_before": await self.bundled(older.events, reader, requester),
            "events_after": await self.bundled(newer.events, reader, requester),
        }
        return context, [*older.events, stored, *newer.events]

    async def senders(self, reader: Reader, events: Sequence[StoredEvent]) -> dict[str, JsonObject]:
        """User ID -> the profile that the senders of some events of a room had there."""
        profiles: dict[str, JsonObject] = {}
        for member in await self._members(reader, events):
            content = shown_event(member).content
            names: JsonObject = {k: content[k] for k in PROFILE if k in content}
            profiles[member.event.state_key or ""] = names
        return profiles

    async def _context_state(
        self,
        requester: Requester,
        reader: Reader,
        newest: StoredEvent,
        shown: Iterable[StoredEvent],
        event_filter: RoomEventFilter,
    ) -> list[orjson.Fragment]:
        """The state at the last event, with the members who sent what is shown."""
        room_id = newest.event.room_id
        snapshot = newest.snapshot_after
        if snapshot is None:
            snapshot = await self._last_state(room_id, reader)
        ids = await self._states.snapshot(snapshot) if snapshot is not None else {}
        if event_filter.lazy_load_members:
            senders = {stored.event.sender for stored in shown}
            ids = {key: ids[key] for key in ids if key[0] != MEMBER or key[1] in senders}
        found = await self._store.get_many(ids.values())
        events = [stored for stored in found.values() if event_filter.matches(stored.event)]
        return await self.serialise(events, reader, requester)

    # ------------------------------------------------------------ serialising

    async def withheld(self, user_id: str) -> Withheld:
        """What a reader does not get."""
        return await self._reader_filter.withheld(user_id)

    async def only_shown(self, events: Iterable[StoredEvent], reader: Reader) -> list[StoredEvent]:
        """Those of some events that a reader may see, as they see them."""
        withheld = await self.withheld(reader.user_id)
        return [reader.as_seen(s) for s in events if self.shows(s, reader, withheld)]

    async def bundled(
        self, events: Sequence[StoredEvent], reader: Reader, requester: Requester
    ) -> list[orjson.Fragment]:
        """Events as a reader gets them, each with what relates to it in short."""
        withheld = await self.withheld(reader.user_id)
        relations = await self._aggregations.bundle(events, reader, withheld)
        return await self.serialise(events, reader, requester, relations)

    async def serialise(
        self,
        events: Sequence[StoredEvent],
        reader: Reader,
        requester: Requester,
        relations: Relations | None = None,
    ) -> list[orjson.Fragment]:
        """Events as a reader gets them, with the room's ID."""
        withheld = await self.withheld(requester.user_id)
        beside = await self._events.beside(events, device=(requester.user_id, requester.device_id))
        if beside.redactions:
            beside.redactions = reader.redactions_as_seen(beside.redactions, withheld)
        if relations:
            beside.relations = relations
        parts = []
        for stored in map(reader.as_seen, events):
            previous = beside.previous.get(stored.event.event_id)
            hidden = (
                previous is not None
                and previous.stored is not None
                and not reader.sees_whole(previous.stored)
            )
            parts.append(
                orjson.Fragment(
                    self._events.serialise(
                        stored,
                        membership=reader.membership_at(stored),
                        beside=beside,
                        with_room_id=True,
                        may_see_previous=not hidden,
                    )
                )
            )
        return parts
