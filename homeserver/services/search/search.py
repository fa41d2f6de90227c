"""Finding messages for a reader: the same for the Conversations API and for Matrix.

The index says where to look; whether the reader may see what was found is asked of the events
themselves, as everywhere.  A search costs a bounded number of statements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from homeserver.services.event_store import EventStore
from homeserver.services.visibility import Reader, ReaderFilter, Visibility, Withheld
from homeserver.storage import message_index as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.message_index import LAST_MS, Hit, Span, Wanted

MOST_ROOMS = 5_000
MOST_RANKED = 1_000  # places in a list ordered by rank
MOST_COUNTED = 1_000  # in a room
GROWTH = (1, 4)  # how much more is looked at where the reader may not see most of it
LEAST_AT_ONCE = 20
FROM_NEWEST = (LAST_MS, "")


class Request(Struct, frozen=True):
    """What somebody searches.

    ``rooms``: only in these; ``shows``: only such events.  ``before``: a time (ms) and event ID,
    in the order of time; ``offset``: the place in the list, by rank.  ``encrypted``: whether in
    encrypted rooms, too.  ``counted``: whether it is asked how much there is, if more follows.
    """

    wanted: Wanted
    by_rank: bool = False
    rooms: Collection[str] | None = None
    limit: int = 50
    before: tuple[int, str] = FROM_NEWEST
    offset: int = 0
    shows: Callable[[StoredEvent], bool] = lambda _: True
    encrypted: bool = True
    counted: bool = False


class Match(Struct, frozen=True):
    """An event that was found.  ``source``: the edit that says what was searched, if any."""

    stored: StoredEvent
    hit: Hit
    source: StoredEvent | None


class Found(Struct, frozen=True):
    """A part of what was found, with the reader's views of the rooms.

    ``before`` and ``offset``: where to go on; None at the end.  ``total``: how much there is in
    all, about, where that was asked and more follows.
    """

    matches: Sequence[Match]
    readers: dict[str, Reader]
    withheld: Withheld
    before: tuple[int, str] | None = None
    offset: int | None = None
    total: int | None = None


class MessageSearch:
    """Finds messages."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        visibility: Visibility,
        reader_filter: ReaderFilter,
    ) -> None:
        self._database = database
        self._store = store
        self._visibility = visibility
        self._reader_filter = reader_filter

    async def rooms(
        self, user_id: str, among: Collection[str] | None = None, *, encrypted: bool = True
    ) -> dict[str, Reader]:
        """Where a user may search: the rooms that they are in or were in, at most 5,000."""
        room_ids = await storage.get_rooms(
            self._database, user_id, among, MOST_ROOMS, encrypted=encrypted
        )
        readers = await self._visibility.readers(room_ids, user_id)
        return {r: readers[r] for r in room_ids if readers[r].ever_joined}

    async def find(self, user_id: str, request: Request) -> Found:
        """A part of what a user finds."""
        readers = await self.rooms(user_id, request.rooms, encrypted=request.encrypted)
        withheld = await self._reader_filter.withheld(user_id)
        spans = [
            Span(room_id, after, upto)
            for room_id, reader in readers.items()
            for after, upto in reader.visible_ranges()
        ]
        found = Found([], readers, withheld)
        if not spans:
            return found
        search = self._by_rank if request.by_rank else self._by_time
        found = await search(request, spans, found)
        if request.counted and (found.before is not None or found.offset is not None):
            async with self._database.transaction() as connection:
                total = await storage.count(
                    connection, spans, request.wanted, most_of_room=MOST_COUNTED
                )
            found = replace(found, total=total)
        return found

    async def _by_time(self, request: Request, spans: Sequence[Span], base: Found) -> Found:
        matches: list[Match] = []
        before, more = request.before, True
        for growth in GROWTH:
            asked = max(request.limit - len(matches) + 1, LEAST_AT_ONCE) * growth
            async with self._database.transaction() as connection:
                hits = await storage.newest(connection, spans, request.wanted, before, asked)
            for match in await self._shown(hits, request, base):
                if len(matches) == request.limit:
                    last = matches[-1].hit
                    return _found(base, matches, before=(last.sent_at, last.event_id))
                matches.append(match)
            if len(hits) < asked:
                more = False
                break
            before = (hits[-1].sent_at, hits[-1].event_id)
        return _found(base, matches, before=before if more else None)

    async def _by_rank(self, request: Request, spans: Sequence[Span], base: Found) -> Found:
        matches: list[Match] = []
        offset, more = request.offset, True
        for growth in GROWTH:
            asked = max(request.limit - len(matches) + 1, LEAST_AT_ONCE) * growth
            asked = min(asked, MOST_RANKED - offset)
            if asked <= 0:
                more = False
                break
            async with self._database.transaction() as connection:
                hits = await storage.best(
                    connection, spans, request.wanted, offset=offset, limit=asked
                )
            places = {hit.event_id: place for place, hit in enumerate(hits, offset)}
            for match in await self._shown(hits, request, base):
                if len(matches) == request.limit:
                    return _found(base, matches, offset=places[match.hit.event_id])
                matches.append(match)
            offset += len(hits)
            if len(hits) < asked:
                more = False
                break
        return _found(base, matches, offset=offset if more else None)

    async def _shown(self, hits: Sequence[Hit], request: Request, base: Found) -> list[Match]:
        wanted = {hit.event_id for hit in hits} | {h.source_id for h in hits if h.source_id}
        events = await self._store.get_many(wanted)
        found = []
        for hit in hits:
            stored = events.get(hit.event_id)
            source = events.get(hit.source_id) if hit.source_id is not None else None
            if stored is None or (hit.source_id is not None and source is None):
                continue
            reader, withheld = base.readers[hit.room_id], base.withheld
            if not _shows(stored, reader, withheld) or not request.shows(stored):
                continue
            if source is not None and not _shows(source, reader, withheld):
                continue
            found.append(Match(stored, hit, source))
        return found


def _shows(stored: StoredEvent, reader: Reader, withheld: Withheld) -> bool:
    return (
        stored.shown
        and stored.redacted_by is None
        and stored.erased is None
        and not withheld.hides(stored.event)
        and reader.sees_whole(stored)
    )


def _found(
    base: Found,
    matches: Sequence[Match],
    *,
    before: tuple[int, str] | None = None,
    offset: int | None = None,
) -> Found:
    return Found(matches, base.readers, base.withheld, before, offset)
