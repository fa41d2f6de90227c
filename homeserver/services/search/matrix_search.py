"""Searching as Matrix clients do.  Spec: client-server API, server-side search."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import RoomEventFilter
from homeserver.protocol.search_words import Term, highlights, query_terms
from homeserver.services.conversations.reading import as_dict, as_text
from homeserver.services.conversations.shapes.pages import make_cursor, parse_cursor
from homeserver.services.requester import Requester
from homeserver.services.search.search import FROM_NEWEST, Found, Match, MessageSearch, Request
from homeserver.services.timeline import NO_FILTER, Timeline
from homeserver.services.timeline_state import TimelineState
from homeserver.storage.message_index import Wanted

BODY, NAME, TOPIC = "content.body", "content.name", "content.topic"
KEYS = (BODY, NAME, TOPIC)
SAID = ("text", "image", "video", "audio", "voice", "file", "location", "contact", "event")
KINDS = {BODY: [*SAID, "unknown"], NAME: ["name"], TOPIC: ["topic"]}
MOST_SENDERS = 50  # that are looked up; more are filtered out
MOST_HIGHLIGHTS = 50


class Context(Struct, frozen=True):
    """What is to be shown around each result."""

    before: int = 5
    after: int = 5
    profiles: bool = False


class RoomEvents(Struct, frozen=True):
    """A search in the category ``room_events``."""

    term: str
    keys: Collection[str] = KEYS
    filter: RoomEventFilter = NO_FILTER
    by_rank: bool = True
    limit: int = 10
    context: Context | None = None
    include_state: bool = False
    group_by: Sequence[str] = ()
    next_batch: str | None = None


class MatrixSearch:
    """Answers ``POST /search``."""

    def __init__(self, *, search: MessageSearch, timeline: Timeline, states: TimelineState) -> None:
        self._search = search
        self._timeline = timeline
        self._states = states

    async def room_events(self, requester: Requester, asked: RoomEvents) -> JsonObject:
        """What is found in a user's rooms.  Raises :class:`InvalidParam`."""
        terms = query_terms(asked.term)
        if not terms or asked.filter.allows_nothing or not asked.keys:
            return {"count": 0, "highlights": [], "results": []}
        request, seen = _request(asked, terms)
        found = await self._search.find(requester.user_id, request)
        seen += len(found.matches)
        answer: JsonObject = {
            "count": seen,
            "highlights": _highlights(found, terms),
            "results": await self._results(requester, asked, found),
        }
        if asked.group_by:
            answer["groups"] = {key: _groups(key, found) for key in asked.group_by}
        if asked.include_state:
            rooms = {match.stored.event.room_id for match in found.matches}
            answer["state"] = {r: await self._states.state(requester, r) for r in sorted(rooms)}
        following = found.before or ((found.offset,) if found.offset is not None else None)
        if following is not None:
            answer["next_batch"] = make_cursor(*following, seen)
            answer["count"] = max(seen + 1, found.total or 0)
        return answer

    async def _results(
        self, requester: Requester, asked: RoomEvents, found: Found
    ) -> list[JsonObject]:
        by_room: dict[str, list[Match]] = {}
        for match in found.matches:
            by_room.setdefault(match.stored.event.room_id, []).append(match)
        shown = {}
        for room_id, matches in by_room.items():
            events = [match.stored for match in matches]
            reader = found.readers[room_id]
            bundled = await self._timeline.bundled(events, reader, requester)
            shown.update({s.event.event_id: part for s, part in zip(events, bundled, strict=True)})
        results = []
        for match in found.matches:
            result: JsonObject = {
                "rank": match.hit.rank,
                "result": shown[match.stored.event.event_id],
            }
            if asked.context is not None:
                result["context"] = await self._context(requester, asked.context, found, match)
            results.append(result)
        return results

    async def _context(
        self, requester: Requester, wanted: Context, found: Found, match: Match
    ) -> JsonObject:
        reader = found.readers[match.stored.event.room_id]
        context, events = await self._timeline.around(
            requester, reader, match.stored, wanted.before, wanted.after
        )
        if wanted.profiles:
            context["profile_info"] = await self._timeline.senders(reader, events)
        return context


def _request(asked: RoomEvents, terms: Sequence[Term]) -> tuple[Request, int]:
    """What is to be found, and how much was before.

    Spec: server-side search: "will not include rooms that are end to end encrypted".
    """
    given = asked.filter
    before, offset, seen = FROM_NEWEST, 0, 0
    if asked.next_batch is not None:
        try:
            if asked.by_rank:
                offset, seen = parse_cursor(asked.next_batch, int, int)
            else:
                sent_at, event_id, seen = parse_cursor(asked.next_batch, int, str, int)
                before = (sent_at, event_id)
        except InvalidParam as error:
            raise InvalidParam("'next_batch' is none of this search") from error
        if offset < 0 or seen < 0:
            raise InvalidParam("'next_batch' is none of this search")
    senders = given.senders if given.senders is not None else ()
    wanted = Wanted(
        terms=terms,
        senders=sorted(senders) if len(senders) <= MOST_SENDERS else (),
        kinds=[kind for key in KEYS if key in asked.keys for kind in KINDS[key]],
    )
    request = Request(
        wanted,
        asked.by_rank,
        rooms=given.rooms,
        limit=asked.limit,
        before=before,
        offset=offset,
        shows=lambda stored: given.matches(stored.event),
        encrypted=False,
        counted=True,
    )
    return request, seen


def _groups(key: str, found: Found) -> JsonObject:
    groups: dict[str, JsonObject] = {}
    for match in found.matches:
        event = match.stored.event
        name = event.room_id if key == "room_id" else event.sender
        group = groups.setdefault(name, {"order": len(groups), "results": []})
        group["results"].append(event.event_id)
    return groups


def _highlights(found: Found, terms: Sequence[Term]) -> list[str]:
    """The words that were found, as they stand in the texts."""
    words: dict[str, None] = {}
    for match in found.matches:
        content = match.stored.event.content
        if match.source is not None:
            content = as_dict(match.source.event.content.get("m.new_content"))
        for key in ("body", "name", "topic"):
            text = as_text(content.get(key)) or ""
            for start, length in highlights(text, terms)[:MOST_HIGHLIGHTS]:
                words[text[start : start + length]] = None
    return list(words)[:MOST_HIGHLIGHTS]
