"""Room summaries: how many are in a room, and whom to name it after.

Spec: client-server API, ``RoomSummary`` of ``/sync``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from homeserver.protocol.events import JsonObject, StateKey
from homeserver.services.reading_together import ReadingTogether
from homeserver.storage import sync as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice

CACHED_ROOMS = 5_000
HEROES = 5
NOBODY = storage.MemberCounts()
PRESENT = ("join", "invite")
GONE = ("leave", "ban")
NAMES: tuple[StateKey, ...] = (("m.room.name", ""), ("m.room.canonical_alias", ""))


class RoomSummary(Struct, frozen=True):
    """A room's counts, and its first members: one more than is shown, since nobody sees
    themself among them.  ``position``: of the last change."""

    joined: int
    invited: int
    present: list[str]
    gone: list[str]
    position: int

    def heroes(self, reader: str) -> list[str]:
        """The members that a reader may name the room after."""
        others = [user_id for user_id in self.present if user_id != reader]
        others = others or [user_id for user_id in self.gone if user_id != reader]
        return others[:HEROES]

    def to_json(self, heroes: list[str] | None) -> JsonObject:
        """As in the answer; without heroes for a room that has a name."""
        summary: JsonObject = {
            "m.joined_member_count": self.joined,
            "m.invited_member_count": self.invited,
        }
        if heroes is not None:
            summary["m.heroes"] = heroes
        return summary


class RoomSummaries:
    """Keeps summaries until somebody's membership changes."""

    def __init__(self, *, database: Database, log: Log) -> None:
        self._database = database
        self._summaries: OrderedDict[str, RoomSummary] = OrderedDict()
        self._changes = 0
        self._reading: ReadingTogether[str, RoomSummary] = ReadingTogether(self._read)
        log.subscribe(self._on_notice)

    async def get(self, room_id: str) -> RoomSummary:
        """A room's summary as it is now."""
        known = self._summaries.get(room_id)
        return known if known is not None else (await self._reading.get_many((room_id,)))[room_id]

    async def prepare(self, room_ids: Iterable[str]) -> None:
        """Read several at once, so that they are in memory when asked for."""
        unknown = [room_id for room_id in room_ids if room_id not in self._summaries]
        if unknown:
            await self._reading.get_many(unknown)

    async def _read(self, room_ids: Sequence[str]) -> dict[str, RoomSummary]:
        changes = self._changes
        present = await storage.get_heroes(self._database, room_ids, PRESENT, HEROES + 1)
        alone = [room_id for room_id in room_ids if len(present.get(room_id, ())) <= 1]
        gone: Mapping[str, list[str]] = {}
        if alone:
            gone = await storage.get_heroes(self._database, alone, GONE, HEROES + 1)
        # Last, so that no change goes unnoticed that the other queries have seen.
        counts = await storage.get_member_counts(self._database, room_ids)
        found: dict[str, RoomSummary] = {}
        for room_id in room_ids:
            count = counts.get(room_id, NOBODY)
            names = present.get(room_id, []), gone.get(room_id, [])
            found[room_id] = RoomSummary(count.joined, count.invited, *names, count.position)
        if changes == self._changes:
            self._summaries.update(found)
            while len(self._summaries) > CACHED_ROOMS:
                self._summaries.popitem(last=False)
        return found

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, EventRecord):
                for change in record.memberships:
                    self._changes += 1
                    self._summaries.pop(change.room_id, None)
