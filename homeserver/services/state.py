"""The state of a room at any event: read from snapshots, forks resolved."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from homeserver.protocol.events import StateKey
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.state_resolution import (
    needed_auth_chain_roots,
    needed_unconflicted,
    resolve,
    separate,
)
from homeserver.services.event_store import EventStore
from homeserver.services.reading_together import ReadingTogether
from homeserver.storage import many_rooms as storage
from homeserver.storage.database import Database

CACHED_STATES = 200
MEMBER = "m.room.member"

State = Mapping[StateKey, str]


class States:
    """Reads state snapshots, and resolves where several meet."""

    def __init__(self, database: Database, store: EventStore) -> None:
        self._store = store
        self._cache: OrderedDict[int, State] = OrderedDict()
        self._whole: ReadingTogether[int, State] = ReadingTogether(
            lambda ids: storage.get_states(database, ids)
        )
        self._but_members: ReadingTogether[int, State] = ReadingTogether(
            lambda ids: storage.get_states_but_members(database, ids)
        )
        self._entries: ReadingTogether[tuple[int, StateKey], str] = ReadingTogether(
            lambda wanted: storage.get_states_keys(database, wanted)
        )

    async def get(self, snapshot_id: int) -> State:
        """A committed snapshot in full: ``(type, state_key)`` -> event ID."""
        state = self._cache.get(snapshot_id)
        if state is None:
            state = (await self._whole.get_many((snapshot_id,)))[snapshot_id]
            self._cache[snapshot_id] = state
            if len(self._cache) > CACHED_STATES:
                self._cache.popitem(last=False)
        return state

    def in_memory(self, snapshot_id: int) -> State | None:
        """A snapshot in full, if it is in memory."""
        return self._cache.get(snapshot_id)

    async def but_members(self, snapshot_id: int) -> State:
        """A committed snapshot without the room's members, who may be many."""
        state = self._cache.get(snapshot_id)
        if state is None:
            return (await self._but_members.get_many((snapshot_id,)))[snapshot_id]
        return {key: event_id for key, event_id in state.items() if key[0] != MEMBER}

    async def get_keys(self, snapshot_id: int, keys: Iterable[StateKey]) -> dict[StateKey, str]:
        """A few entries of a snapshot, without reading the rest."""
        state = self._cache.get(snapshot_id)
        if state is not None:
            return {key: state[key] for key in keys if key in state}
        wanted = [(snapshot_id, key) for key in keys]
        read = await self._entries.get_many(wanted) if wanted else {}
        return {entry[1]: read[entry] for entry in wanted if entry in read}

    async def resolve(self, version: RoomVersion, states: Sequence[State]) -> dict[StateKey, str]:
        """One state out of several.  Spec: room versions, state resolution."""
        events = dict(await self._store.auth_chain(needed_auth_chain_roots(states)))
        agreed = await self._store.get_many(needed_unconflicted(states, events))
        events.update((event_id, stored.event) for event_id, stored in agreed.items())
        unconflicted, _ = separate(states)
        return resolve(
            version,
            states,
            events,
            unconflicted_chain=await self._store.cited_chain(unconflicted.values()),
            rejected=await self._store.rejected(events),
        )

    async def resolve_snapshots(
        self, version: RoomVersion, snapshot_ids: Iterable[int]
    ) -> tuple[int | None, State]:
        """The state where snapshots meet, and its snapshot ID if it is one of them."""
        distinct = sorted(set(snapshot_ids))
        states = [await self.get(snapshot_id) for snapshot_id in distinct]
        if len(distinct) == 1:
            return distinct[0], states[0]
        for snapshot_id, state in zip(distinct, states, strict=True):
            if all(state == other for other in states):
                return snapshot_id, state
        resolved = await self.resolve(version, states)
        for snapshot_id, state in zip(distinct, states, strict=True):
            if resolved == state:
                return snapshot_id, state
        return None, resolved
