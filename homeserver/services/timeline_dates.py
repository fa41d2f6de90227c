"""Finding a place in a room's history by its date.

Where the date is next to a part of the history that we lack, other instances are asked; if they
know a nearer event, the history between is fetched first, so that clients can go on from there.

Spec: client-server API, ``GET /rooms/{roomId}/timestamp_to_event``.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from msgspec import Struct

from homeserver.errors import NotFound
from homeserver.protocol.events import JsonObject
from homeserver.services.event_store import EventStore
from homeserver.services.timeline import Timeline
from homeserver.services.visibility import Reader
from homeserver.storage import events as event_storage
from homeserver.storage import sync as storage
from homeserver.storage.database import Database
from homeserver.storage.sync import EventTime

logger = structlog.get_logger(__name__)

AT_ONCE = 100
MOST_SCANNED = 5_000  # events that the reader may not see
LOOKED_AT = 3  # events next to the date: servers' clocks differ
MOST_ROUNDS = 100
ROUND_EVENTS = 100
FETCH_SECONDS = 20.0


class RemoteDates(Protocol):
    """What other instances know of a room's history."""

    async def event_near(self, room_id: str, ts: int, *, forwards: bool) -> EventTime | None:
        """The event next to a time (ms) that an instance in the room knows; None if none tells."""


class DateQuery(Struct, frozen=True):
    """A time (ms), and in which direction from it to look."""

    ts: int
    forwards: bool


class TimelineDates:
    """Finds events by their dates."""

    def __init__(
        self, *, database: Database, store: EventStore, timeline: Timeline, remote: RemoteDates
    ) -> None:
        self._database = database
        self._store = store
        self._timeline = timeline
        self._remote = remote

    async def event_near(self, user_id: str, room_id: str, query: DateQuery) -> JsonObject:
        """The event nearest to a time.  Raises :class:`Forbidden`, :class:`NotFound`."""
        reader = await self._timeline.reader(room_id, user_id)
        found = await self._nearest(room_id, reader, query)
        if await self._beside_gap(room_id, reader, query, found):
            there = await self._remote.event_near(room_id, query.ts, forwards=query.forwards)
            if there is not None and _is_nearer(there, found, query):
                reader = await self._fetch(room_id, reader, there.event_id)
                found = await self._nearest(room_id, reader, query)
        if found is None:
            direction = "after" if query.forwards else "before"
            raise NotFound(f"There is no event {direction} that time that you may see")
        return {"event_id": found.event_id, "origin_server_ts": found.origin_server_ts}

    async def _nearest(self, room_id: str, reader: Reader, query: DateQuery) -> EventTime | None:
        withheld = await self._timeline.withheld(reader.user_id)
        for skip in range(0, MOST_SCANNED, AT_ONCE):
            near = await storage.get_events_near(
                self._database,
                room_id,
                query.ts,
                forwards=query.forwards,
                limit=AT_ONCE,
                skip=skip,
            )
            found = await self._store.get_many(event.event_id for event in near)
            for event in near:
                stored = found.get(event.event_id)
                if stored is not None and self._timeline.shows(stored, reader, withheld):
                    return event
            if len(near) < AT_ONCE:
                break
        return None

    async def _beside_gap(
        self, room_id: str, reader: Reader, query: DateQuery, found: EventTime | None
    ) -> bool:
        """Whether there may be a nearer event in a part of the history that we lack."""
        if not await self._timeline.has_older(room_id, reader):
            return False
        if found is None:
            return True
        after = await storage.get_events_near(
            self._database, room_id, query.ts, forwards=True, limit=LOOKED_AT
        )
        return await event_storage.follows_gap(
            self._database, room_id, (event.event_id for event in after)
        )

    async def _fetch(self, room_id: str, reader: Reader, event_id: str) -> Reader:
        """Fetch history until an event is part of it, as far as time allows; the view of it."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                for _ in range(MOST_ROUNDS):
                    stored = await self._store.get(event_id)
                    if stored is not None and stored.timeline_order is not None:
                        break
                    more = await self._timeline.fetch_older(room_id, reader, ROUND_EVENTS)
                    if more is None:
                        break
                    reader = more
        except TimeoutError:
            logger.info("the history up to a date is long", room_id=room_id)
        return reader


def _is_nearer(there: EventTime, found: EventTime | None, query: DateQuery) -> bool:
    ts = there.origin_server_ts
    if (ts < query.ts) if query.forwards else (ts > query.ts):
        return False
    if found is None:
        return True
    return ts < found.origin_server_ts if query.forwards else ts > found.origin_server_ts
