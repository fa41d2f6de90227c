"""Which events of a room a sync shows: the newest that the reader wants and may see."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from homeserver.protocol.filters import SyncFilter
from homeserver.services.event_store import EventStore
from homeserver.services.reading_together import ReadingTogether
from homeserver.services.recent_timeline import RecentEvent, RecentTimeline
from homeserver.services.sync_members import Device
from homeserver.services.sync_state import Span
from homeserver.services.visibility import NOTHING_WITHHELD, Reader, Withheld
from homeserver.storage import events as event_storage
from homeserver.storage import many_rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.many_rooms import Stretch

DEFAULT_LIMIT = 20
LARGEST_LIMIT = 100
MOST_SCANNED = 1_000
MOST_RELEASED = 500
ROOMS_AT_ONCE = 50  # whose timelines are read at once
BEFORE_LIVE = 0  # orders of backfilled history are negative


class View(msgspec.Struct, frozen=True):
    """Whose sync it is, and what they asked for.

    One is made for each answer, so it is a Struct: a frozen dataclass sets each field by a call.
    """

    user_id: str
    device: Device
    since: int | None
    upto: int
    filter: SyncFilter
    withheld: Withheld = NOTHING_WITHHELD
    full_state: bool = False
    use_state_after: bool = False
    state_after_name: str = "state_after"  # or its older spelling

    @property
    def is_plain(self) -> bool:
        """Whether events go out as all others get them."""
        return self.filter.event_fields is None and self.filter.event_format == "client"


class Spans:
    """Reads spans of rooms' timelines, from memory as far as it reaches."""

    def __init__(self, *, database: Database, recent: RecentTimeline, store: EventStore) -> None:
        self._database = database
        self._recent = recent
        self._timelines: ReadingTogether[Stretch, Sequence[StoredEvent]] = ReadingTogether(
            lambda stretches: store.keep_state(storage.get_timelines(database, stretches)),
            ROOMS_AT_ONCE,
        )
        self._older: ReadingTogether[tuple[str, int], bool] = ReadingTogether(self._read_older)

    async def read(
        self, view: View, room_id: str, since: int | None, upto: int, reader: Reader | None
    ) -> Span:
        """The newest events up to the filter's limit, from memory or from the database."""
        limit = view.filter.timeline.limit
        limit = DEFAULT_LIMIT if limit is None else min(limit, LARGEST_LIMIT)
        floor = self._recent.complete_after(room_id)
        start = BEFORE_LIVE if since is None else since
        room = self._recent.room(room_id)
        recent: list[RecentEvent] = []
        shown: list[StoredEvent] = []
        if room is not None:
            recent = room.between(max(start, floor), upto)
            shown = [r.stored for r in recent if self._wanted(view, r.stored, reader)]
            if len(shown) > limit:
                newest = shown[len(shown) - limit :]
                return Span(room_id, since, upto, newest, True, recent if floor <= start else None)
        complete, limited = None, False
        if floor <= start:
            complete = recent
        else:
            shown, limited = await self._page(view, room_id, start, upto, limit, reader)
        if since is None and not limited and shown:
            limited = await self._has_older(room_id, shown[0])
        return Span(room_id, since, upto, shown, limited, complete)

    async def _page(
        self, view: View, room_id: str, since: int, upto: int, limit: int, reader: Reader | None
    ) -> tuple[list[StoredEvent], bool]:
        """Up to ``limit`` events that the reader wants, and whether there are more."""
        found: list[StoredEvent] = []
        newest, scanned = upto, 0
        while scanned < MOST_SCANNED:
            page = await self._timelines.get(Stretch(room_id, newest, since, limit + 1)) or []
            scanned += len(page)
            for stored in page:
                if self._wanted(view, stored, reader):
                    if len(found) == limit:
                        return found[::-1], True
                    found.append(stored)
            if len(page) <= limit:
                return found[::-1], False
            newest = page[-1].order - 1
        return found[::-1], True

    async def _has_older(self, room_id: str, first: StoredEvent) -> bool:
        """Whether there is history before all that is live here."""
        if first.event.type == "m.room.create":
            return False
        return await self._older.get((room_id, first.order)) is True

    async def _read_older(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], bool]:
        found = await storage.get_rooms_with_older(self._database, places)
        return dict.fromkeys(found, True)

    async def released(
        self, view: View, room_id: str, since: int, upto: int, reader: Reader
    ) -> tuple[list[StoredEvent], bool]:
        """Held events with a place up to ``since`` that were released meanwhile; all of them?

        They come besides what the filter's limit allows: nobody would look for them so far back.
        """
        rows = await event_storage.get_released(
            self._database, room_id, since, upto, MOST_RELEASED + 1
        )
        found = [stored for stored in rows[:MOST_RELEASED] if self._wanted(view, stored, reader)]
        return found[::-1], len(rows) <= MOST_RELEASED

    def _wanted(self, view: View, stored: StoredEvent, reader: Reader | None) -> bool:
        event = stored.event
        return (
            stored.shown
            and stored.position <= view.upto
            and view.filter.timeline.matches(event)
            and not view.withheld.hides(event)
            and (reader is None or reader.may_see(stored))
        )
