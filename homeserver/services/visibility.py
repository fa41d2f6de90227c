"""Who may read which events of a room.

Answered from intervals of positions: where the room's history visibility changed, and where the
reader's membership did.  Both are read once per room and reader, never per event.

Spec: client-server API, room history visibility; ignoring users.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from homeserver.protocol.events import Event, redacted_copy
from homeserver.protocol.history_visibility import (
    SHARED,
    WORLD_READABLE,
    user_may_see,
    visibility_of,
)
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.erased_accounts import is_personal
from homeserver.services.event_store import EventStore
from homeserver.services.reading_together import ReadingTogether
from homeserver.storage import rooms as room_storage
from homeserver.storage import sync as storage
from homeserver.storage.database import Database
from homeserver.storage.erasures import ERASURE
from homeserver.storage.event_records import EventRecord
from homeserver.storage.events import StoredEvent
from homeserver.storage.log import Log, Notice
from homeserver.storage.rooms import MembershipRow

CACHED_ROOMS = 5_000
CACHED_READERS = 20_000
REMEMBERED_SENDERS = 1_000
FIRST_ORDER, LAST_ORDER = -(2**63), 2**63 - 1
MESSAGE = "m.room.message"
CALL_TYPES = ("m.call.", "org.matrix.msc3401.call", "m.rtc.", "org.matrix.msc4075.rtc")


class RoomHistory(Struct, frozen=True):
    """A room's history visibility, by timeline order: each value is in force after its order."""

    orders: Sequence[int]
    values: Sequence[str]
    before: str  # ahead of the first change

    def at(self, order: int) -> str:
        """What was in force when an event was sent."""
        place = bisect_left(self.orders, order)
        return self.values[place - 1] if place else self.before

    def after(self, order: int) -> str:
        """What is in force after an event."""
        place = bisect_right(self.orders, order)
        return self.values[place - 1] if place else self.before

    @property
    def always_shared(self) -> bool:
        """Whether members may see all that there ever was."""
        return {self.before, *self.values} <= {SHARED, WORLD_READABLE}

    @property
    def is_world_readable(self) -> bool:
        """Whether anybody may read the room now."""
        return (self.values[-1] if self.values else self.before) == WORLD_READABLE


class Reader(Struct, frozen=True):
    """A user's view of a room."""

    user_id: str
    history: RoomHistory
    positions: Sequence[int]  # of the user's membership changes
    memberships: Sequence[str]
    # user -> position of their erasure
    erased: Mapping[str, int] = msgspec.field(default_factory=dict)

    @property
    def membership(self) -> str:
        """The user's membership now; ``leave`` for a stranger."""
        return self.memberships[-1] if self.memberships else "leave"

    @property
    def ever_joined(self) -> bool:
        """Whether the user was ever in the room."""
        return "join" in self.memberships

    @property
    def left_at(self) -> int | None:
        """The position at which the user, who is not in the room, left it."""
        return last_left(self.positions, self.memberships)

    def membership_before(self, stored: StoredEvent) -> str:
        """The user's membership in the state that an event was sent in."""
        return self._membership(bisect_left(self.positions, stored.order))

    def membership_at(self, stored: StoredEvent) -> str:
        """The user's membership after an event."""
        return self._membership(bisect_right(self.positions, stored.order))

    def _membership(self, place: int) -> str:
        return self.memberships[place - 1] if place else "leave"

    def hides_erased(self, stored: StoredEvent) -> bool:
        """Whether an event's sender was erased before the reader could have seen it."""
        event = stored.event
        position = self.erased.get(event.sender)
        if position is None or not is_personal(event):
            return False
        return "join" not in self.memberships[: bisect_right(self.positions, position)]

    def as_seen(self, stored: StoredEvent) -> StoredEvent:
        """An event as the reader gets it: redacted, where its sender was erased before."""
        if not self.erased or not self.hides_erased(stored):
            return stored
        return bare(stored)

    def redactions_as_seen(
        self, redactions: Mapping[str, StoredEvent], withheld: Withheld
    ) -> dict[str, StoredEvent]:
        """Redactions of what the reader gets, by whatever names them.

        Of those that they may not see, or of whose sender they hear nothing, without the reason.
        """
        return {
            key: self.as_seen(stored)
            if self.may_see(stored) and not withheld.hides(stored.event)
            else bare(stored)
            for key, stored in redactions.items()
        }

    def sees_whole(self, stored: StoredEvent) -> bool:
        """Whether the user may see an event, and what its sender said in it."""
        return self.may_see(stored) and not self.hides_erased(stored)

    def visible_ranges(self) -> list[tuple[int, int]]:
        """Where in the timeline the user may see what is no state: ``after < order <= upto``."""
        if self.membership == "join" and self.history.always_shared:
            return [(FIRST_ORDER, LAST_ORDER)]
        found: list[tuple[int, int]] = []
        after = FIRST_ORDER
        for upto in (*sorted({*self.positions, *self.history.orders}), LAST_ORDER):
            place = bisect_left(self.positions, upto)
            before = self._membership(place)
            if before == "join" or user_may_see(
                self.history.at(upto), before, joined_later="join" in self.memberships[place:]
            ):
                if found and found[-1][1] == after:
                    found[-1] = (found[-1][0], upto)
                else:
                    found.append((after, upto))
            after = upto
        return found

    def may_see(self, stored: StoredEvent) -> bool:
        """Whether the user may see an event."""
        order = stored.order
        place = bisect_right(self.positions, order)
        before = self.membership_before(stored)
        if before == "join":
            return True
        memberships, visibilities = {before}, {self.history.at(order)}
        event = stored.event
        if event.type == "m.room.member" and event.state_key == self.user_id:
            if before in ("invite", "knock") or event.membership == "ban":
                return True  # what became of it, a refusal too
            memberships.add(event.membership or "leave")
        elif event.type == "m.room.history_visibility" and event.state_key == "":
            visibilities.add(visibility_of(event.content))
        joined_later = "join" in self.memberships[place:]
        return any(
            user_may_see(visibility, membership, joined_later=joined_later)
            for visibility in visibilities
            for membership in memberships
        )


def bare(stored: StoredEvent, why: str = ERASURE) -> StoredEvent:
    """An event without what its sender said, for a reader who is not to hear it."""
    seen = replace(stored)
    seen.erase(redacted_copy(stored.event), why)
    return seen


def last_left(positions: Sequence[int], memberships: Sequence[str]) -> int | None:
    """The position of the change with which the last stay in the room ended."""
    left_at = None
    for place in range(1, len(memberships)):
        if memberships[place - 1] == "join" and memberships[place] != "join":
            left_at = positions[place]
    return left_at


class Visibility:
    """Keeps the intervals, and follows the log."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        store: EventStore,
        erased: Mapping[str, int] | None = None,
    ) -> None:
        """``erased``: erased users, and the log's position when each was; it may change."""
        self._database = database
        self.erased: Mapping[str, int] = erased if erased is not None else {}
        self._store = store
        self._histories: OrderedDict[str, RoomHistory] = OrderedDict()
        self._readers: OrderedDict[tuple[str, str], Reader] = OrderedDict()
        self._changes = 0
        self._reading: ReadingTogether[tuple[str, str], Reader] = ReadingTogether(self._read)
        self._reading_histories: ReadingTogether[str, RoomHistory] = ReadingTogether(self.histories)
        log.subscribe(self._on_notice)

    async def reader(self, room_id: str, user_id: str) -> Reader:
        """A user's view of a room."""
        known = self._readers.get((room_id, user_id))
        if known is not None:
            self._readers.move_to_end((room_id, user_id))
            return known
        wanted = (room_id, user_id)
        return (await self._reading.get_many((wanted,)))[wanted]

    async def _read(self, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Reader]:
        rooms: dict[str, list[str]] = {}
        for room_id, user_id in wanted:
            rooms.setdefault(user_id, []).append(room_id)
        found: dict[tuple[str, str], Reader] = {}
        for user_id, room_ids in rooms.items():
            readers = await self.readers(room_ids, user_id)
            found.update(((room_id, user_id), readers[room_id]) for room_id in room_ids)
        return found

    async def readers(self, room_ids: Collection[str], user_id: str) -> dict[str, Reader]:
        """A user's view of several rooms."""
        found: dict[str, Reader] = {}
        missing: dict[str, list[room_storage.MembershipChangeRow]] = {}
        for room_id in room_ids:
            known = self._readers.get((room_id, user_id))
            if known is not None:
                found[room_id] = known
            else:
                missing[room_id] = []
        if missing:
            changes = self._changes
            for row in await storage.get_changes_in_rooms(self._database, user_id, missing):
                missing[row.room_id].append(row)
            histories = await self.histories(missing)
            for room_id, rows in missing.items():
                reader = Reader(
                    user_id,
                    histories[room_id],
                    [row.position for row in rows],
                    [row.membership for row in rows],
                    self.erased,
                )
                found[room_id] = reader
                if changes == self._changes:
                    self._readers[(room_id, user_id)] = reader
            while len(self._readers) > CACHED_READERS:
                self._readers.popitem(last=False)
        return found

    async def as_seen(
        self, events: Sequence[StoredEvent], room_id: str, user_id: str
    ) -> Sequence[StoredEvent]:
        """Events of a room as a member gets them; the same list where all get the same.

        Costs nothing where nobody was erased.  What was redacted says by whom and why, so it is
        for each reader, too.
        """
        erased = self.erased
        if not erased or not any(s.event.sender in erased or s.redacted_by for s in events):
            return events
        reader = await self.reader(room_id, user_id)
        return [reader.as_seen(stored) for stored in events]

    async def history(self, room_id: str) -> RoomHistory:
        """A room's history visibility through time."""
        known = self._histories.get(room_id)
        if known is not None:
            return known
        return (await self._reading_histories.get_many((room_id,)))[room_id]

    async def histories(self, room_ids: Collection[str]) -> dict[str, RoomHistory]:
        """The history visibility of several rooms."""
        found: dict[str, RoomHistory] = {}
        missing: dict[str, list[storage.HistoryVisibilityRow]] = {}
        for room_id in room_ids:
            known = self._histories.get(room_id)
            if known is not None:
                found[room_id] = known
            else:
                missing[room_id] = []
        if not missing:
            return found
        changes = self._changes
        rows = await storage.get_history_visibility(self._database, missing)
        for row in rows:
            missing[row.room_id].append(row)
        events = await self._store.get_many(row.event_id for row in rows)
        values = {
            event_id: visibility_of(stored.event.content) for event_id, stored in events.items()
        }
        for room_id, of_room in missing.items():
            found[room_id] = _room_history(of_room, values)
            if changes == self._changes:
                self._histories[room_id] = found[room_id]
        while len(self._histories) > CACHED_ROOMS:
            self._histories.popitem(last=False)
        return found

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if not isinstance(record, EventRecord):
                continue
            if record.event.type == "m.room.history_visibility" and record.event.is_state:
                self._changes += 1
                room_id = record.event.room_id
                self._histories.pop(room_id, None)
                for key in [key for key in self._readers if key[0] == room_id]:
                    del self._readers[key]
            for change in record.memberships:
                if change.local:
                    self._changes += 1
                    self._readers.pop((change.room_id, change.user_id), None)


def _room_history(
    rows: Sequence[storage.HistoryVisibilityRow], values: Mapping[str, str]
) -> RoomHistory:
    placed = sorted(
        (row.timeline_order, values[row.event_id])
        for row in rows
        if row.timeline_order is not None and row.event_id in values
    )
    # What was in force when we came from outside, and has not been backfilled.
    outside = [row for row in rows if row.timeline_order is None and row.event_id in values]
    before = values[outside[-1].event_id] if outside else SHARED
    return RoomHistory([order for order, _ in placed], [value for _, value in placed], before)


# ---------------------------------------------------------------- what is withheld


@dataclass(frozen=True, slots=True)
class Withheld:
    """What a reader does not get, state aside: of whom they have blocked or ignore, and calls."""

    users: frozenset[str] = frozenset()
    servers: frozenset[str] = frozenset()
    spared: frozenset[str] = frozenset()  # users of those instances who are heard
    may_not_call: Callable[[str], bool] | None = None  # by sender; None: everybody may
    hidden: frozenset[str] = frozenset()  # events that are deleted for this reader alone
    # Senders who were found to be heard: it is asked of every event for every reader.
    _heard: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def peers(self) -> frozenset[str]:
        """The users and instances whose events are left out, single events, too; with a plus the
        users who are not."""
        peers = self.users | self.servers | self.hidden
        return peers | {f"+{user}" for user in self.spared} if self.spared else peers

    def hides(self, event: Event) -> bool:
        """Whether an event is left out for this reader."""
        if event.state_key is not None:
            return False
        if self.hidden and event.event_id in self.hidden:
            return True
        sender = event.sender
        return (sender not in self._heard and self.is_unheard(sender)) or (
            self.may_not_call is not None
            and event.type != MESSAGE
            and event.type.startswith(CALL_TYPES)
            and self.may_not_call(sender)
        )

    def is_unheard(self, sender: str) -> bool:
        """Whether the reader has blocked or ignores somebody."""
        if sender in self.users or (
            self.servers and server_name_of(sender) in self.servers and sender not in self.spared
        ):
            return True
        if len(self._heard) >= REMEMBERED_SENDERS:
            self._heard.clear()
        self._heard.add(sender)
        return False


NOTHING_WITHHELD = Withheld()


class ReaderFilter(Protocol):
    """What a reader does not get."""

    async def withheld(self, user_id: str) -> Withheld:
        """Whose events, state aside, are left out for this reader."""


class InviteFilter(Protocol):
    """Which invites a reader is shown."""

    async def shown_invites(
        self, user_id: str, rows: Mapping[str, MembershipRow], since: int | None
    ) -> Mapping[str, tuple[MembershipRow, bool]]:
        """Room ID -> the row, and whether what a stranger chose to show is left out.

        ``since``: only what is new after that position.
        """
