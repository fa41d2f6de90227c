"""Reading messages: pages of a conversation, single ones, their edits, who reacted and answered.

Who may read what is decided where it is for Matrix: visibility, what is withheld and hidden,
what was viewed once.  A page costs a bounded number of statements, whatever its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.answers import ANSWERS, POLL_STARTS
from homeserver.protocol.relations import is_valid_replacement
from homeserver.services.conversations.folding import (
    Folding,
    asks,
    is_whole,
    scope_of,
    valid_choices,
)
from homeserver.services.conversations.rendering import FOLDED, SHOWN_STATE, is_message, render
from homeserver.services.conversations.shapes.messages import (
    Answer,
    Edit,
    Guest,
    Message,
    MessagePage,
    Reactor,
    Voter,
)
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.event_store import EventStore
from homeserver.services.sync_state import BEFORE_ALL
from homeserver.services.timeline import Timeline
from homeserver.services.visibility import Reader, Withheld
from homeserver.storage import messages as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.messages import LAST_TS, Said, Stretch

OLDER, NEWER = "b", "f"
# How many events are looked at for a page, where the reader may not see most of them.
ROUNDS = (1, 4, 16)
LEAST_AT_ONCE = 20


class PageRequest(Struct, frozen=True):
    """Which part of a conversation is wanted.  ``around``: a message's ID; ``thread``: likewise,
    and only the replies that hang on it.  Not ``system``: without what happened to the
    conversation."""

    cursor: str | None = None
    around: str | None = None
    thread: str | None = None
    system: bool = True
    limit: int = 50


class _View(Struct, frozen=True):
    """A reader's view of a room."""

    room_id: str
    reader: Reader
    withheld: Withheld

    def shows(self, stored: StoredEvent) -> bool:
        return (
            stored.shown and not self.withheld.hides(stored.event) and self.reader.may_see(stored)
        )


class _Part(Struct, frozen=True):
    """A stretch of messages from one of its ends.  ``end``: where to go on; None: nowhere."""

    events: list[StoredEvent]
    end: int | None


class Messages:
    """Reads messages for users."""

    def __init__(
        self, *, database: Database, store: EventStore, timeline: Timeline, folding: Folding
    ) -> None:
        self._database = database
        self._store = store
        self._timeline = timeline
        self._folding = folding

    # ------------------------------------------------------------ pages

    async def page(self, user_id: str, room_id: str, request: PageRequest) -> MessagePage:
        """A part of a conversation.  Raises :class:`NotFound`, :class:`InvalidParam`."""
        view = await self._view(user_id, room_id)
        if request.around is not None:
            return await self._around(view, request, request.around)
        newest = self._timeline.end(view.reader)
        way, place = OLDER, newest
        if request.cursor is not None:
            way, place = parse_cursor(request.cursor, str, int)
        if way == NEWER:
            part = await self._part(view, request, False, place, request.limit)
            newer = part.end if part.end is not None else newest
            oldest = part.events[0].order if part.events else place + 1
            return await self._answer(view, part.events[::-1], oldest - 1, max(newer, place))
        part = await self._part(view, request, True, min(place, newest), request.limit)
        return await self._answer(view, part.events, part.end, min(place, newest))

    async def _around(self, view: _View, request: PageRequest, message_id: str) -> MessagePage:
        stored = await self._visible(view, message_id)
        half = (request.limit - 1) // 2
        older = await self._part(view, request, True, stored.order - 1, request.limit - 1 - half)
        newer = await self._part(view, request, False, stored.order, half)
        events = [*newer.events[::-1], stored, *older.events]
        return await self._answer(view, events, older.end, events[0].order)

    async def _answer(
        self, view: _View, events: Sequence[StoredEvent], older: int | None, newer: int
    ) -> MessagePage:
        items = await self._folding.fold(events, {view.room_id: view.reader}, view.withheld)
        return MessagePage(
            items=items,
            next=make_cursor(OLDER, older) if older is not None else None,
            previous=make_cursor(NEWER, newer),
        )

    async def _part(
        self, view: _View, request: PageRequest, backwards: bool, start: int, limit: int
    ) -> _Part:
        """Visible messages from a point on: at most a few statements, however few they are."""
        found: list[StoredEvent] = []
        point = start
        for growth in ROUNDS:
            asked = max(limit - len(found), LEAST_AT_ONCE) * growth
            stretch = Stretch(
                BEFORE_ALL if backwards else point,
                point if backwards else self._timeline.end(view.reader),
                backwards,
                asked,
            )
            rows = await self._rows(view.room_id, request, stretch)
            for stored in rows:
                if len(found) == limit:
                    return _Part(found, point)
                point = stored.order - 1 if backwards else stored.order
                if view.shows(stored):
                    found.append(stored)
            if len(rows) < asked:
                last = await self._last_scanned(view.room_id, request, stretch)
                if last is not None:
                    point = last - 1 if backwards else last
                else:
                    full = len(found) == limit
                    more = await self._more(view, backwards, limit, full=full)
                    if more is None:
                        return _Part(found, None)
                    view = more
            if len(found) == limit:
                break
        return _Part(found, point)

    async def _last_scanned(
        self, room_id: str, request: PageRequest, stretch: Stretch
    ) -> int | None:
        if request.thread is not None:
            return None
        return await storage.last_scanned(self._database, room_id, stretch)

    async def _more(self, view: _View, backwards: bool, limit: int, *, full: bool) -> _View | None:
        """The view, if there is more where our history ends; what a page needs of it is fetched."""
        if not backwards:
            return None
        if full:
            return view if await self._timeline.has_older(view.room_id, view.reader) else None
        reader = await self._timeline.fetch_older(view.room_id, view.reader, limit)
        return replace(view, reader=reader) if reader is not None else None

    async def _rows(
        self, room_id: str, request: PageRequest, stretch: Stretch
    ) -> list[StoredEvent]:
        if request.thread is not None:
            return await storage.get_thread(self._database, room_id, request.thread, stretch)
        state = SHOWN_STATE if request.system else ()
        return await storage.get_messages(self._database, room_id, stretch, FOLDED, state)

    # ------------------------------------------------------------ single messages

    async def get(self, user_id: str, room_id: str, message_id: str) -> Message:
        """One message.  Raises :class:`NotFound`."""
        view = await self._view(user_id, room_id)
        stored = await self._visible(view, message_id)
        folded = await self._folding.fold([stored], {room_id: view.reader}, view.withheld)
        return folded[0]

    async def stored(self, user_id: str, room_id: str, message_id: str) -> StoredEvent:
        """The event of a message that a reader may see, as it was sent.

        Raises :class:`NotFound`, also where it was deleted.
        """
        view = await self._view(user_id, room_id)
        return await self._whole(view, message_id)

    async def place(self, user_id: str, room_id: str, message_id: str) -> str:
        """The cursor of what is older than a message.  Raises :class:`NotFound`."""
        view = await self._view(user_id, room_id)
        return make_cursor(OLDER, (await self._visible(view, message_id)).order - 1)

    async def edits(
        self, user_id: str, room_id: str, message_id: str, cursor: str | None, limit: int
    ) -> Page[Edit]:
        """The versions of a message, the first one first.  Raises :class:`NotFound`."""
        view = await self._view(user_id, room_id)
        original = await self._whole(view, message_id)
        event, items = original.event, []
        after = parse_cursor(cursor, int, str) if cursor is not None else None
        if after is None:
            items.append(_version(original, original))
        found = await storage.get_edits(
            self._database, message_id, event.sender, after=after or (-1, ""), limit=limit + 1
        )
        stored = await self._store.get_many(found)
        items += [
            _version(original, stored[i])
            for i in found[:limit]
            if i in stored
            and view.shows(stored[i])
            and is_valid_replacement(stored[i].event, event)
        ]
        last = stored[found[limit - 1]].event if len(found) > limit else None
        following = make_cursor(last.origin_server_ts, last.event_id) if last is not None else None
        return Page(items=items, next=following)

    # ------------------------------------------------------------ who said it

    async def reactors(
        self,
        user_id: str,
        room_id: str,
        message_id: str,
        *,
        key: str | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Reactor]:
        """Who reacted to a message, the first one first.  Raises :class:`NotFound`."""
        view = await self._view(user_id, room_id)
        await self._whole(view, message_id)
        (after,) = parse_cursor(cursor, int) if cursor is not None else (BEFORE_ALL,)
        scope = scope_of([view.reader], [room_id], view.withheld)
        rows = await storage.get_reactors(
            self._database, message_id, scope, key=key, after=after, limit=limit + 1
        )
        items = [
            Reactor(person=address(row.sender), key=row.key, at=rfc3339(row.origin_server_ts))
            for row in rows[:limit]
        ]
        return Page(items=items, next=_after(rows, limit))

    async def voters(
        self, user_id: str, room_id: str, message_id: str, cursor: str | None, limit: int
    ) -> Page[Voter]:
        """Who voted for what.  Raises :class:`NotFound`; :class:`Forbidden` for hidden results."""
        view, stored = await self._asking(user_id, room_id, message_id, poll=True)
        closings = await self._folding.closings([stored])
        poll = render(stored.event, stored.position).poll
        if poll is None:
            raise NotFound("There is no such poll")
        if poll.hidden and message_id not in closings:
            raise Forbidden("The results of this poll are shown once it is closed")
        closed_at = closings.get(message_id, LAST_TS)
        rows = await self._answerers(view, message_id, closed_at, cursor, limit)
        items = [
            Voter(person=address(row.sender), choices=taken, at=rfc3339(row.origin_server_ts))
            for row in rows[:limit]
            if (taken := valid_choices(poll, row.key))
        ]
        return Page(items=items, next=_after(rows, limit))

    async def guests(
        self, user_id: str, room_id: str, message_id: str, cursor: str | None, limit: int
    ) -> Page[Guest]:
        """Who gave which answer to an invitation.  Raises :class:`NotFound`."""
        view, _ = await self._asking(user_id, room_id, message_id, poll=False)
        rows = await self._answerers(view, message_id, LAST_TS, cursor, limit)
        items = [
            Guest(
                person=address(row.sender),
                answer=cast("Answer", row.key),
                at=rfc3339(row.origin_server_ts),
            )
            for row in rows[:limit]
            if row.key in ANSWERS
        ]
        return Page(items=items, next=_after(rows, limit))

    async def _asking(
        self, user_id: str, room_id: str, message_id: str, *, poll: bool
    ) -> tuple[_View, StoredEvent]:
        view = await self._view(user_id, room_id)
        stored = await self._whole(view, message_id)
        if not asks(stored.event) or (stored.event.type in POLL_STARTS) is not poll:
            raise NotFound(f"That message is no {'poll' if poll else 'event'}")
        return view, stored

    async def _answerers(
        self, view: _View, message_id: str, closed_at: int, cursor: str | None, limit: int
    ) -> list[Said]:
        (after,) = parse_cursor(cursor, str) if cursor is not None else ("",)
        scope = scope_of([view.reader], [view.room_id], view.withheld)
        return await storage.get_answerers(
            self._database, message_id, closed_at, scope, after=after, limit=limit + 1
        )

    # ------------------------------------------------------------ who may read

    async def _view(self, user_id: str, room_id: str) -> _View:
        try:
            reader = await self._timeline.reader(room_id, user_id)
        except Forbidden as error:
            raise NotFound("There is no such conversation, or you are not in it") from error
        return _View(room_id, reader, await self._timeline.withheld(user_id))

    async def _visible(self, view: _View, message_id: str) -> StoredEvent:
        stored = await self._store.get(message_id)
        if (
            stored is None
            or stored.event.room_id != view.room_id
            or not view.shows(stored)
            or not is_message(stored.event)
        ):
            raise NotFound("There is no such message, or you may not see it")
        return stored

    async def _whole(self, view: _View, message_id: str) -> StoredEvent:
        stored = view.reader.as_seen(await self._visible(view, message_id))
        if not is_whole(stored):
            raise NotFound("That message is deleted")
        return stored


def _version(original: StoredEvent, version: StoredEvent) -> Edit:
    event = version.event
    edit = event if version is not original else None
    return Edit(
        id=event.event_id,
        at=rfc3339(event.origin_server_ts),
        message=render(original.event, original.position, edit=edit),
    )


def _after(rows: Sequence[Said], limit: int) -> str | None:
    return make_cursor(rows[limit - 1].place) if len(rows) > limit else None
