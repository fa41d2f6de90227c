"""A room's state as far as a client asks for it, and how it changed.

Spec: MSC4186, ``required_state``, ``StateStub``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct, field

from homeserver.protocol.events import StateKey
from homeserver.services.event_store import EventStore
from homeserver.services.sliding.wanted import MEMBER, RoomConfig
from homeserver.services.sync_state import Span, StateIds, SyncStates, is_linear
from homeserver.storage import sliding as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

SHOWN_AS_NAME = frozenset({("m.room.name", ""), ("m.room.avatar", "")})


class StateChanges(Struct, frozen=True):
    """What of a room's state changed: the new events, and the keys whose state is gone."""

    ids: Mapping[StateKey, str] = field(default_factory=dict)
    deleted: Collection[StateKey] = ()
    known: bool = False

    @property
    def touched(self) -> set[StateKey]:
        """All keys that changed."""
        return {*self.ids, *self.deleted}

    @property
    def has_members(self) -> bool:
        """Whether some member changed."""
        return any(key[0] == MEMBER for key in self.touched)

    @property
    def named(self) -> bool:
        """Whether the room's name or picture changed, or who it may be named after."""
        return any(key[0] == MEMBER or key in SHOWN_AS_NAME for key in self.touched)


class StateReader:
    """Reads state, no more of it than is asked for."""

    def __init__(self, *, database: Database, states: SyncStates, store: EventStore) -> None:
        self._database = database
        self._states = states
        self._store = store

    async def snapshot_at(self, room_id: str, order: int) -> int | None:
        """The snapshot after the last event up to an order."""
        return await self._states.snapshot_at(room_id, order)

    async def read_whole(self, span: Span) -> None:
        """Read a small room's state at once, so that parts of it need not be asked for singly."""
        snapshot = await self._states.end_snapshot(span)
        if snapshot is not None:
            await self._states.snapshot(snapshot)

    async def changes(self, span: Span) -> StateChanges:
        """What changed in a span."""
        if is_linear(span.recent):
            return StateChanges(await self._states.changed_at_end(span), (), known=True)
        assert span.since is not None
        end = await self._states.end_snapshot(span)
        if end is not None and end == await self.snapshot_at(span.room_id, span.since):
            return StateChanges(known=True)
        before = await self._states.known(span)
        after = await self._states.at_end(span)
        ids = {key: event_id for key, event_id in after.items() if before.get(key) != event_id}
        return StateChanges(ids, [key for key in before if key not in after], known=True)

    async def matching(self, span: Span, config: RoomConfig) -> StateIds:
        """All that a config asks for, lazy members aside."""
        snapshot = await self._states.end_snapshot(span)
        if snapshot is None or not config.required:
            return {}
        if config.wants_any_type:
            found = await self._states.snapshot(snapshot)
        else:
            found = {}
            types = config.whole_types
            known = self._states.in_memory(snapshot)
            if known is not None:
                return {key: event_id for key, event_id in known.items() if config.matches(key)}
            if types:
                found = await storage.get_state_of_types(self._database, snapshot, types)
            keys = [key for key in config.exact_keys if key[0] not in types]
            if keys:
                found.update(await self._states.keys(snapshot, keys))
        return {key: event_id for key, event_id in found.items() if config.matches(key)}

    async def members(self, span: Span, user_ids: Collection[str]) -> Mapping[str, str]:
        """User ID -> member event ID at a span's end."""
        snapshot = await self._states.end_snapshot(span)
        return await self._states.member_ids(snapshot, user_ids) if snapshot is not None else {}

    async def events(self, span: Span, keys: Iterable[StateKey]) -> Mapping[StateKey, StoredEvent]:
        """A few state events at a span's end."""
        snapshot = await self._states.end_snapshot(span)
        wanted = list(keys)
        if snapshot is None or not wanted:
            return {}
        ids = await self._states.keys(snapshot, wanted)
        found = await self._store.get_many(ids.values())
        return {key: found[event_id] for key, event_id in ids.items() if event_id in found}
