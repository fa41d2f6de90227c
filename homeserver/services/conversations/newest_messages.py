"""The newest messages of each room: what a list of conversations shows, and sorts by."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Final

from homeserver.protocol.answers import POLL_STARTS
from homeserver.protocol.events import Event
from homeserver.protocol.relations import ANNOTATION, REPLACE, relation_of
from homeserver.services.unread import SENT
from homeserver.storage import conversations as storage
from homeserver.storage.database import Database
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice
from homeserver.storage.releases import ReleaseRecord

CACHED_ROOMS = 50_000
KEPT = 5  # some may not be for every reader
LOOKED_AT = 200  # so much of a room's timeline is searched for messages
MOST_COUNTED = 1_000
LATEST: Final = 2**62
TYPES = ("m.room.message", "m.room.encrypted", "m.sticker", "m.call.invite", *POLL_STARTS)
ABOUT_OTHERS = (REPLACE, ANNOTATION)

Newest = tuple[tuple[int, str], ...]  # (order, event ID), the newest first


def is_said(event: Event) -> bool:
    """Whether an event is something that somebody said, not an edit or a reaction."""
    if event.state_key is not None or event.type not in TYPES:
        return False
    relation = relation_of(event.content) if "m.relates_to" in event.content else None
    return relation is None or relation.rel_type not in ABOUT_OTHERS


class NewestMessages:
    """Keeps them for rooms that were asked about, and follows the log."""

    def __init__(self, *, database: Database, log: Log) -> None:
        self._database = database
        self._rooms: OrderedDict[str, Newest] = OrderedDict()
        self._reading: list[set[str]] = []  # for each read under way the rooms that moved meanwhile
        log.subscribe(self._on_notice)

    async def get(self, room_ids: Collection[str]) -> Mapping[str, Newest]:
        """The newest messages of rooms: one query at most, however many."""
        missing = [room_id for room_id in room_ids if room_id not in self._rooms]
        found = {room_id: self._rooms[room_id] for room_id in room_ids if room_id in self._rooms}
        if missing:
            changed: set[str] = set()
            self._reading.append(changed)
            try:
                read = await self.upto(dict.fromkeys(missing, LATEST))
            finally:
                self._reading = [other for other in self._reading if other is not changed]
            for room_id, newest in read.items():
                found[room_id] = newest
                if room_id not in changed:
                    self._rooms[room_id] = newest
            while len(self._rooms) > CACHED_ROOMS:
                self._rooms.popitem(last=False)
        return found

    async def upto(self, rooms: Mapping[str, int]) -> dict[str, Newest]:
        """The newest messages of rooms up to a place in the timeline of each."""
        read = await storage.get_newest_messages(
            self._database,
            rooms,
            types=TYPES,
            without_relations=ABOUT_OTHERS,
            among=LOOKED_AT,
            limit=KEPT,
        )
        return {room_id: tuple(newest) for room_id, newest in read.items()}

    async def count_unseen(
        self, user_id: str, room_ids: Collection[str], without: Collection[str]
    ) -> Mapping[str, int]:
        """How many messages a reader has not seen, whether they notify or not: for rooms that are
        muted.  ``without``: whose do not count, as :class:`Withheld` names them."""
        return await storage.count_unseen(
            self._database,
            room_ids,
            user_id,
            sent_audience=SENT + user_id,
            types=TYPES,
            without_relations=ABOUT_OTHERS,
            without=without,
            limit=MOST_COUNTED,
        )

    def _on_notice(self, notice: Notice) -> None:
        for position, record in notice.records:
            if isinstance(record, ReleaseRecord):
                self._forget(record.event.room_id)
            elif isinstance(record, ErasureRecord):
                self._forget(record.room_id)
            elif isinstance(record, EventRecord) and record.visible and is_said(record.event):
                self._add(record.event.room_id, position, record.event.event_id)

    def _forget(self, room_id: str) -> None:
        self._rooms.pop(room_id, None)
        self._note(room_id)

    def _note(self, room_id: str) -> None:
        for changed in self._reading:
            changed.add(room_id)

    def _add(self, room_id: str, order: int, event_id: str) -> None:
        self._note(room_id)
        newest = self._rooms.get(room_id)
        if newest is not None:
            self._rooms[room_id] = ((order, event_id), *newest[: KEPT - 1])
