"""Room state as a sync reports it: in full, or what changed, at either end of the timeline.

Where the events of a span are in memory and followed each other, what changed is known from them.
Otherwise two snapshots are compared.

Spec: client-server API, syncing (``state``, ``state_after``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from homeserver.protocol.events import StateKey
from homeserver.services.reading_together import ReadingTogether
from homeserver.services.recent_timeline import RecentEvent, RecentTimeline
from homeserver.services.state import State, States
from homeserver.storage import many_rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.many_rooms import Stretch

CACHED_MEMBERS = 50_000
BEFORE_ALL = -(10**17)  # of all orders
MEMBER = "m.room.member"

StateIds = dict[StateKey, str]


class Span(Struct):
    """What a sync shows of a room's timeline, and what it covers.

    ``since``: from where on the reader needs what changed; None for all of the state.
    ``recent``: every event of the span, if memory has them all.  ``told``: up to where the reader
    knows it, though they get all of it again.
    """

    room_id: str
    since: int | None
    upto: int
    shown: Sequence[StoredEvent]
    limited: bool
    recent: Sequence[RecentEvent] | None = None
    end_snapshot: int | None = None  # the state at its end; None: not looked up yet
    released: Sequence[StoredEvent] = ()  # of before ``since``, held until after it
    told: int | None = None

    def begin_anew(self) -> None:
        """Have the reader get all of the state, whatever they know of it."""
        self.told, self.since = self.since, None

    @property
    def timeline(self) -> Sequence[StoredEvent]:
        """All that the reader gets, in the order of places."""
        return [*self.released, *self.shown] if self.released else self.shown


class SyncStates:
    """Reads the state that goes with a span of a room's timeline."""

    def __init__(self, *, database: Database, recent: RecentTimeline, states: States) -> None:
        self._recent = recent
        self._states = states
        self._snapshots: ReadingTogether[str, int] = ReadingTogether(
            lambda room_ids: storage.get_room_snapshots(database, room_ids)
        )
        self._timelines: ReadingTogether[Stretch, list[StoredEvent]] = ReadingTogether(
            lambda stretches: storage.get_timelines(database, stretches)
        )
        self._members: OrderedDict[tuple[int, str], str | None] = OrderedDict()

    # ------------------------------------------------------------ at the start of the timeline

    async def at_start(self, span: Span, members: Collection[str] | None = None) -> StateIds:
        """All of the state before the first event shown; of the room's members those who are
        asked for, or everybody."""
        state = await self._roll_back(await self.at_end(span, members), span.shown)
        if members is not None:
            for key in [key for key in state if key[0] == MEMBER and key[1] not in members]:
                del state[key]
        return state

    async def changed_at_start(self, span: Span) -> StateIds:
        """What of it the reader, who has synced up to ``since``, does not know yet."""
        assert span.since is not None
        if is_linear(span.recent):
            shown = {stored.position for stored in span.shown}
            keys = {
                recent.stored.event.key
                for recent in span.recent or ()
                if recent.stored.event.state_key is not None and recent.stored.position not in shown
            }
            if not keys:
                return {}
            snapshot = self._last(span)
            if snapshot is not None:
                left_out = await self._states.get_keys(snapshot, keys)
                return await self._roll_back(left_out, span.shown, among=keys)
        return _difference(await self.known(span), await self.at_start(span))

    # ------------------------------------------------------------ at the end of the timeline

    async def at_end(self, span: Span, members: Collection[str] | None = None) -> StateIds:
        """All of the state after the span; of the room's members those who are asked for, or
        everybody."""
        snapshot = await self.end_snapshot(span)
        if snapshot is None:
            return {}
        if members is None:
            return dict(await self._states.get(snapshot))
        state = dict(await self._states.but_members(snapshot))
        for user_id, event_id in (await self.member_ids(snapshot, members)).items():
            state[(MEMBER, user_id)] = event_id
        return dict(sorted(state.items()))  # in the order of snapshots that are read in full

    async def changed_at_end(self, span: Span) -> StateIds:
        """What of it the reader, who has synced up to ``since``, does not know yet."""
        assert span.since is not None
        if is_linear(span.recent):
            keys = {
                recent.stored.event.key
                for recent in span.recent or ()
                if recent.stored.event.state_key is not None
            }
            snapshot = self._last(span)
            if not keys or snapshot is None:
                return {}
            return await self._states.get_keys(snapshot, keys)
        return _difference(await self.known(span), await self.at_end(span))

    async def moved(self, span: Span) -> set[str]:
        """The members of whom a reader, who gets all of the state anew, knows what is past."""
        if span.told is None:
            return set()
        changed = await self.changed_at_end(replace(span, since=span.told))
        return {key[1] for key in changed if key[0] == MEMBER}

    # ------------------------------------------------------------ snapshots

    async def end_snapshot(self, span: Span) -> int | None:
        """The snapshot after a span: of the room's state, forks resolved."""
        if span.end_snapshot is None:
            span.end_snapshot = await self.room_snapshot(span.room_id, span.upto)
        return span.end_snapshot

    async def room_snapshot(self, room_id: str, upto: int) -> int | None:
        """The snapshot of a room's state at a position, one of the latest: forks resolved."""
        room = self._recent.room(room_id)
        if room is not None:
            for recent in reversed(room.events):
                if recent.stored.order <= upto:
                    return recent.room_snapshot
        return await self._snapshots.get(room_id)

    async def snapshot_at(self, room_id: str, order: int) -> int | None:
        """The snapshot after the last event up to an order; None if there is none."""
        room = self._recent.room(room_id)
        if room is not None:
            for recent in reversed(room.events):
                if recent.stored.order <= order:
                    return recent.room_snapshot
        found = await self._timelines.get(Stretch(room_id, order, BEFORE_ALL, 1))
        return found[0].snapshot_after if found else None

    async def member_ids(self, snapshot_id: int, user_ids: Collection[str]) -> dict[str, str]:
        """User ID -> member event ID in a snapshot."""
        missing = [user for user in user_ids if (snapshot_id, user) not in self._members]
        if missing:
            keys = [(MEMBER, user_id) for user_id in missing]
            found = await self._states.get_keys(snapshot_id, keys)
            for key in keys:
                self._members[(snapshot_id, key[1])] = found.get(key)
            while len(self._members) > CACHED_MEMBERS:
                self._members.popitem(last=False)
        members: dict[str, str] = {}
        for user_id in user_ids:
            event_id = self._members.get((snapshot_id, user_id))
            if event_id is not None:
                members[user_id] = event_id
        return members

    async def snapshot(self, snapshot_id: int) -> StateIds:
        """A snapshot in full."""
        return dict(await self._states.get(snapshot_id))

    def in_memory(self, snapshot_id: int) -> State | None:
        """A snapshot in full, if it is in memory."""
        return self._states.in_memory(snapshot_id)

    async def keys(self, snapshot_id: int, keys: Iterable[StateKey]) -> StateIds:
        """A few entries of a snapshot."""
        return await self._states.get_keys(snapshot_id, keys)

    def _last(self, span: Span) -> int | None:
        return span.recent[-1].room_snapshot if span.recent else None

    async def known(self, span: Span) -> State:
        """The state as the reader knows it."""
        assert span.since is not None
        snapshot = await self.snapshot_at(span.room_id, span.since)
        return await self._states.get(snapshot) if snapshot is not None else {}

    async def _roll_back(
        self,
        state: StateIds,
        shown: Sequence[StoredEvent],
        among: Collection[StateKey] | None = None,
    ) -> StateIds:
        """Undo what the timeline does to a state: the client applies it itself.

        What the reader's filter left out of the timeline stays, wherever it stood: else they would
        never learn of it.  ``among``: of these keys alone.
        """
        keys = {stored.event.key for stored in shown if stored.event.state_key is not None}
        if among is not None:
            keys.intersection_update(among)
        snapshot = None
        if shown and shown[0].event.type != "m.room.create":  # before that there is no state
            found = (s.snapshot_before for s in shown if s.snapshot_before is not None)
            snapshot = next(found, None)
        if not keys:
            return state
        before = await self._states.get_keys(snapshot, keys) if snapshot is not None else {}
        for key in keys:
            if key in before:
                state[key] = before[key]
            else:
                state.pop(key, None)
        return state


def is_linear(events: Sequence[RecentEvent] | None) -> bool:
    """Whether a span is wholly in memory, and each event of it changed at most its own key."""
    return events is not None and all(recent.is_linear for recent in events)


def _difference(known: Mapping[StateKey, str], state: StateIds) -> StateIds:
    return {key: event_id for key, event_id in state.items() if known.get(key) != event_id}
