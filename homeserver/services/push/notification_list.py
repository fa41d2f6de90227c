"""What a user was notified of.  Spec: client-server API, ``GET /notifications``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from msgspec import Struct

from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.push_rules import PushEvent, UserPushContext
from homeserver.services.event_store import EventStore
from homeserver.services.push.audience import HIGHLIGHT, NOTIFY, LiveRoomSource, room_context
from homeserver.services.requester import Requester
from homeserver.services.unread import SENT, Rulesets
from homeserver.services.visibility import Reader
from homeserver.storage import notification_list as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.notification_list import NotificationRow

MOST_AT_ONCE = 100
MOST_PAGES = 5  # of rows that may all be hidden
NEWEST = 2**63 - 1


class JoinedRooms(Protocol):
    """In which rooms a user is."""

    @property
    def joined(self) -> Mapping[str, int]:
        """Room ID -> position."""


class RoomsOf(Protocol):
    """The rooms of users."""

    async def get(self, user_id: str) -> JoinedRooms:
        """A user's rooms."""


class Readers(Protocol):
    """Who may see what."""

    async def readers(self, room_ids: Collection[str], user_id: str) -> Mapping[str, Reader]:
        """A user's view of several rooms."""


class Timeline(Protocol):
    """Events as readers get them."""

    async def only_shown(self, events: Iterable[StoredEvent], reader: Reader) -> list[StoredEvent]:
        """Those of some events that a reader may see."""

    async def serialise(
        self, events: Sequence[StoredEvent], reader: Reader, requester: Requester
    ) -> list[orjson.Fragment]:
        """Events of one room."""


class _Notified(Struct, frozen=True):
    row: NotificationRow
    stored: StoredEvent


class NotificationList:
    """Lists the notifications of users, from the rows that unread counts are made of."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        rulesets: Rulesets,
        rooms_of: RoomsOf,
        rooms: LiveRoomSource,
        readers: Readers,
        timeline: Timeline,
    ) -> None:
        self._database = database
        self._store = store
        self._rulesets = rulesets
        self._rooms_of = rooms_of
        self._rooms = rooms
        self._readers = readers
        self._timeline = timeline

    async def get(
        self, requester: Requester, *, start: str | None, limit: int, only_highlights: bool
    ) -> JsonObject:
        """A page, the newest first.  ``start``: the ``next_token`` of the page before.

        Of what was said before the user came into a room nothing is listed.
        Raises :class:`InvalidParam`.
        """
        user_id = requester.user_id
        before = NEWEST if start is None else _place(start)
        limit = min(limit, MOST_AT_ONCE)
        joined = (await self._rooms_of.get(user_id)).joined
        readers = await self._readers.readers(joined, user_id)
        audiences = sorted({self._rulesets.ruleset_name(user_id), user_id})
        shown: list[_Notified] = []
        more = True
        for _ in range(MOST_PAGES):
            rows = await storage.get_page(
                self._database,
                joined,
                user_id,
                audiences=audiences,
                before=before,
                only_highlights=only_highlights,
                limit=limit + 1,
            )
            more = len(rows) > limit
            page = rows[:limit] if more else rows
            if page:
                before = page[-1].position
            shown += await self._shown(page, readers)
            if not more or len(shown) >= limit:
                break
        if len(shown) > limit:
            shown, more, before = shown[:limit], True, shown[limit - 1].row.position
        answer: JsonObject = {
            "notifications": await self._serialise(requester, shown, readers, audiences)
        }
        if more:
            answer["next_token"] = str(before)
        return answer

    async def _shown(
        self, rows: Sequence[NotificationRow], readers: Mapping[str, Reader]
    ) -> list[_Notified]:
        """What the reader may see, and was there for."""
        stored = await self._store.get_many(row.event_id for row in rows)
        by_room: defaultdict[str, list[StoredEvent]] = defaultdict(list)
        for row in rows:
            reader = readers[row.room_id]
            found = stored.get(row.event_id)
            if found is not None and reader.membership_before(found) == "join":
                by_room[row.room_id].append(found)
        seen: dict[str, StoredEvent] = {}
        for room_id, events in by_room.items():
            for event in await self._timeline.only_shown(events, readers[room_id]):
                seen[event.event.event_id] = event
        return [_Notified(row, seen[row.event_id]) for row in rows if row.event_id in seen]

    async def _serialise(
        self,
        requester: Requester,
        notified: Sequence[_Notified],
        readers: Mapping[str, Reader],
        audiences: Sequence[str],
    ) -> list[JsonObject]:
        user_id = requester.user_id
        read = await storage.get_read(
            self._database,
            user_id,
            [each.row.event_id for each in notified],
            (*audiences, SENT + user_id),
        )
        by_room: defaultdict[str, list[StoredEvent]] = defaultdict(list)
        for each in notified:
            by_room[each.row.room_id].append(each.stored)
        events: dict[str, orjson.Fragment] = {}
        for room_id, stored in by_room.items():
            fragments = await self._timeline.serialise(stored, readers[room_id], requester)
            ids = [each.event.event_id for each in stored]
            events.update(zip(ids, fragments, strict=True))
        return [
            {
                "room_id": each.row.room_id,
                "ts": each.stored.event.origin_server_ts,
                "read": each.row.event_id in read,
                "actions": await self._actions(user_id, each),
                "event": events[each.row.event_id],
            }
            for each in notified
        ]

    async def _actions(self, user_id: str, notified: _Notified) -> Sequence[Any]:
        """As the user's rules now have it; they may have been others then."""
        event = notified.stored.event
        ruleset = self._rulesets.compiled(self._rulesets.ruleset_name(user_id))
        context = room_context(await self._rooms.get(event.room_id), event)
        actions = ruleset.evaluate(PushEvent(event), context, UserPushContext(user_id))
        if actions is not None and actions.highlight == notified.row.highlight:
            return actions.actions
        return HIGHLIGHT if notified.row.highlight else NOTIFY


def _place(token: str) -> int:
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise InvalidParam("'from' must be a 'next_token' of this endpoint")
    return int(token)
