"""Searching messages in a user's conversations."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.search_words import Term, highlights, query_terms
from homeserver.services.conversations.conversation_views import ConversationViews, Entry
from homeserver.services.conversations.direct_list import DirectList
from homeserver.services.conversations.folding import Folding
from homeserver.services.conversations.shapes.messages import Kind, Message
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.conversations.shapes.search import FoundIn, FoundMessage, Highlight
from homeserver.services.search.search import FROM_NEWEST, Found, MessageSearch, Request
from homeserver.services.visibility import Reader
from homeserver.storage.message_index import LAST_MS, Wanted

MOST_HIGHLIGHTS = 50
# What is found unless a kind is asked for: not the names that conversations had.
KINDS: tuple[Kind, ...] = (
    "text",
    "image",
    "video",
    "audio",
    "voice",
    "file",
    "location",
    "contact",
    "poll",
    "event",
    "sticker",
    "unknown",
)
INDEXED_AS = {"system": ("name", "topic")}


class Asked(Struct, frozen=True):
    """What somebody searches; times in ms."""

    query: str = ""
    people: Sequence[str] = ()  # user IDs
    conversation_id: str | None = None
    kinds: Collection[Kind] = ()
    since: int | None = None
    until: int | None = None
    by_rank: bool = False
    cursor: str | None = None
    limit: int = 50


class Search:
    """Finds messages for users of the Conversations API."""

    def __init__(
        self,
        *,
        search: MessageSearch,
        folding: Folding,
        views: ConversationViews,
        direct_list: DirectList,
    ) -> None:
        self._search = search
        self._folding = folding
        self._views = views
        self._direct_list = direct_list

    async def find(self, user_id: str, asked: Asked) -> Page[FoundMessage]:
        """A part of what a user finds.

        Raises :class:`InvalidParam`; :class:`NotFound` for a conversation they are not in.
        """
        terms = query_terms(asked.query)
        if not asked.query.strip() and not asked.people and not asked.kinds:
            raise InvalidParam("Say what to search: 'query', 'person' or 'kind'")
        request = self._request(asked, terms)
        if asked.conversation_id is not None:
            rooms = await self._search.rooms(user_id, [asked.conversation_id])
            if not rooms:
                raise NotFound("There is no such conversation, or you are not in it")
        if asked.query.strip() and not terms:
            return Page(items=[], next=None)
        found = await self._search.find(user_id, request)
        return Page(items=await self._items(user_id, found, terms), next=_next(found))

    def _request(self, asked: Asked, terms: Sequence[Term]) -> Request:
        kinds = [k for kind in asked.kinds for k in INDEXED_AS.get(kind, (kind,))]
        by_rank = asked.by_rank and bool(terms)
        before, offset = FROM_NEWEST, 0
        if asked.cursor is not None and by_rank:
            (offset,) = parse_cursor(asked.cursor, int)
            if offset < 0:
                raise InvalidParam("'cursor' is none that this API gave")
        elif asked.cursor is not None:
            before = parse_cursor(asked.cursor, int, str)
        wanted = Wanted(
            terms=terms,
            senders=asked.people,
            kinds=kinds or KINDS,
            since=asked.since or 0,
            until=asked.until if asked.until is not None else LAST_MS,
        )
        rooms = [asked.conversation_id] if asked.conversation_id is not None else None
        return Request(wanted, by_rank, rooms, asked.limit, before, offset)

    async def _items(self, user_id: str, found: Found, terms: Sequence[Term]) -> list[FoundMessage]:
        events = [match.stored for match in found.matches]
        room_ids = list(dict.fromkeys(stored.event.room_id for stored in events))
        readers = {room_id: found.readers[room_id] for room_id in room_ids}
        messages = await self._folding.fold(events, readers, found.withheld)
        names = await self._names(user_id, readers)
        return [
            FoundMessage(
                message=message,
                conversation=FoundIn(
                    id=message.conversation_id, name=names.get(message.conversation_id)
                ),
                highlights=_highlights(message, terms),
            )
            for message in messages
        ]

    async def _names(self, user_id: str, readers: dict[str, Reader]) -> dict[str, str | None]:
        """Of the conversations that the user is in: what others are called now they do not know."""
        entries = [
            Entry(room_id, "active", 0)
            for room_id, reader in readers.items()
            if reader.membership == "join"
        ]
        if not entries:
            return {}
        peers = await self._direct_list.peers_by_room(user_id)
        return await self._views.titles(user_id, entries, peers)


def _next(found: Found) -> str | None:
    if found.before is not None:
        return make_cursor(*found.before)
    return make_cursor(found.offset) if found.offset is not None else None


def _highlights(message: Message, terms: Sequence[Term]) -> list[Highlight]:
    if not terms or message.text is None:
        return []
    places = highlights(message.text, terms)[:MOST_HIGHLIGHTS]
    return [Highlight(offset=offset, length=length) for offset, length in places]
