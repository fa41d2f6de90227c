"""A room in memory: extremities, current state, power levels, who is joined from where.

A :class:`LiveRoom` is loaded on first use and dropped when cold.  It moves as soon as an event is
given to the log, so that the room's next event need not wait for the disk; should the commit fail,
it is dropped and read again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping

from homeserver.protocol.events import Event, StateKey, redacted_copy
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.policy_servers import POLICY
from homeserver.protocol.power_levels import PowerLevels
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.protocol.server_names import ServerAcl
from homeserver.services.event_store import EventStore
from homeserver.storage import many_rooms
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import NewSnapshot

CACHED_ROOMS = 2_000
# A chain of deltas is closed by a full snapshot after this many, or, in a large room, so that
# full snapshots cost at most about 50 entries per state change.
SHORTEST_CHAIN = 50
ENTRIES_PER_LINK = 50

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")
HISTORY_VISIBILITY: StateKey = ("m.room.history_visibility", "")
SERVER_ACL: StateKey = ("m.room.server_acl", "")
# These are in memory as long as the room is.
ALWAYS_LOADED = (CREATE, POWER_LEVELS, JOIN_RULES, HISTORY_VISIBILITY, SERVER_ACL, POLICY)


class LiveRoom:
    """Where a room stands now.  Only :class:`~homeserver.services.rooms.Rooms` moves it."""

    def __init__(self, room_id: str, version: RoomVersion, server_name: str) -> None:
        self.room_id = room_id
        self.version = version
        self.revision = 0
        self.snapshot_id: int | None = None
        self.chain_length = 0
        self.extremities: dict[str, Event] = {}
        self.state: dict[StateKey, str] = {}
        self.memberships: dict[str, str] = {}
        self.joined_local: set[str] = set()
        self.joined_count = 0
        self.invited_count = 0
        self.hosts: Counter[str] = Counter()
        self.lock = asyncio.Lock()
        self.last_append: asyncio.Future[list[int]] | None = None
        self.destination_set: int | None = None
        self._destinations: frozenset[str] | None = None
        self._events: dict[StateKey, Event] = {}
        self._power_levels: PowerLevels | None = None
        self._server_name = server_name
        self._acl: tuple[Event | None, ServerAcl] | None = None

    # ------------------------------------------------------------ reading

    def event(self, key: StateKey) -> Event | None:
        """A current state event, if it is in memory (see :meth:`load_events`)."""
        return self._events.get(key)

    def missing_events(self, keys: Iterable[StateKey]) -> list[StateKey]:
        """Those of ``keys`` that the state has but whose events are not in memory."""
        return [key for key in keys if key in self.state and key not in self._events]

    async def load_events(self, store: EventStore, keys: Iterable[StateKey]) -> None:
        """Bring current state events into memory."""
        missing = self.missing_events(keys)
        while missing:
            found = await store.get_many([self.state[key] for key in missing])
            for key in missing:
                stored = found.get(self.state.get(key, ""))
                if stored is not None:
                    redacted = stored.redacted_by is not None
                    self._events[key] = redacted_copy(stored.event) if redacted else stored.event
            still = self.missing_events(missing)
            if still == missing:
                return
            missing = still

    def state_events(self, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
        """The loaded ones of ``keys``, as a state map for the auth rules."""
        return {key: event for key in keys if (event := self._events.get(key)) is not None}

    @property
    def power_levels(self) -> PowerLevels:
        """The room's power levels; create and power levels events are always in memory."""
        if self._power_levels is None:
            self._power_levels = PowerLevels.from_state(
                self._events.get(CREATE), self._events.get(POWER_LEVELS), self.version
            )
        return self._power_levels

    def membership(self, user_id: str) -> str:
        """A user's membership; ``leave`` for a stranger."""
        return self.memberships.get(user_id, "leave")

    def is_joined(self, user_id: str) -> bool:
        """Whether a user is joined."""
        return self.memberships.get(user_id) == "join"

    @property
    def destinations(self) -> frozenset[str]:
        """The other instances that have a joined member."""
        if self._destinations is None:
            self._destinations = frozenset(self.hosts) - {self._server_name}
        return self._destinations

    def content(self, key: StateKey) -> Mapping[str, object]:
        """The content of a loaded state event; empty if there is none."""
        event = self._events.get(key)
        return event.content if event is not None else {}

    def allows_server(self, server_name: str) -> bool:
        """Whether the room's ACL lets an instance in.

        Spec: server-server API, server access control lists.
        """
        if SERVER_ACL not in self.state:
            return True
        event = self._events.get(SERVER_ACL)
        if self._acl is None or self._acl[0] is not event:
            self._acl = (event, ServerAcl(event.content if event is not None else {}))
        return self._acl[1].allows(server_name)

    @property
    def encrypted(self) -> bool:
        """Whether encryption is switched on."""
        return ("m.room.encryption", "") in self.state

    @property
    def settled(self) -> bool:
        """Whether all that it was given is on disk."""
        return self.last_append is None or self.last_append.done()

    async def settle(self) -> None:
        """Wait until all that it was given is on disk, or has failed to get there."""
        if self.last_append is not None:
            await asyncio.wait((self.last_append,))

    # ------------------------------------------------------------ moving

    def add_extremity(self, event: Event) -> None:
        """The event becomes a forward extremity in place of those it cites."""
        for event_id in event.prev_event_ids:
            self.extremities.pop(event_id, None)
        self.extremities[event.event_id] = event

    def set_state(self, key: StateKey, event: Event) -> None:
        """One state event takes its place."""
        self.state[key] = event.event_id
        self._events[key] = event
        if key in (CREATE, POWER_LEVELS):
            self._power_levels = None
        if key[0] == "m.room.member":
            self.set_membership(key[1], event.membership or "leave")

    def redact(self, event_id: str) -> None:
        """An event was redacted, or its content deleted: keep no other copy of it."""
        if event_id in self.extremities:
            self.extremities[event_id] = redacted_copy(self.extremities[event_id])
        for key, event in self._events.items():
            if event.event_id == event_id:
                self._events[key] = redacted_copy(event)
                self._power_levels = None
                return

    def replace_state(self, state: dict[StateKey, str]) -> set[StateKey]:
        """Another state as a whole (a fork was resolved); the keys that changed.

        The caller loads the changed member events and sets the memberships.
        """
        changed = {key for key, event_id in state.items() if self.state.get(key) != event_id}
        changed |= {key for key in self.state if key not in state}
        self.state = state
        for key in changed:
            self._events.pop(key, None)
        self._power_levels = None
        return changed

    def set_membership(self, user_id: str, membership: str) -> None:
        """Count a user under a membership."""
        before = self.memberships.get(user_id)
        if before == membership:
            return
        self.memberships[user_id] = membership
        self.invited_count += (membership == "invite") - (before == "invite")
        if membership != "join" and before != "join":
            return
        server = server_name_of(user_id)
        step = 1 if membership == "join" else -1
        self.joined_count += step
        had_server = server in self.hosts
        self.hosts[server] += step
        if self.hosts[server] <= 0:
            del self.hosts[server]
        if (server in self.hosts) != had_server:
            self._destinations = None
            self.destination_set = None
        if server == self._server_name:
            if membership == "join":
                self.joined_local.add(user_id)
            else:
                self.joined_local.discard(user_id)

    def next_snapshot(self, snapshot_id: int, changes: dict[StateKey, str]) -> NewSnapshot:
        """The snapshot after ``changes`` are applied to :attr:`state` (call it after that)."""
        longest = max(SHORTEST_CHAIN, len(self.state) // ENTRIES_PER_LINK)
        if self.snapshot_id is None or self.chain_length >= longest:
            snapshot = NewSnapshot(snapshot_id, self.room_id, None, 0, dict(self.state))
        else:
            snapshot = NewSnapshot(
                snapshot_id, self.room_id, self.snapshot_id, self.chain_length + 1, changes
            )
        self.snapshot_id = snapshot_id
        self.chain_length = snapshot.chain_length
        return snapshot


class LiveRooms:
    """The rooms in memory; loads them, and drops the coldest."""

    def __init__(self, database: Database, store: EventStore, server_name: str) -> None:
        self._database = database
        self._store = store
        self._server_name = server_name
        self._rooms: OrderedDict[str, LiveRoom] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LiveRoom | None]] = {}
        self._snapshot_ids: list[int] = []

    def cached(self, room_id: str) -> LiveRoom | None:
        """A room, if it is in memory."""
        return self._rooms.get(room_id)

    async def get(self, room_id: str) -> LiveRoom | None:
        """A room, loaded if need be; None if we do not have it."""
        room = self._rooms.get(room_id)
        if room is not None:
            self._rooms.move_to_end(room_id)
            return room
        task = self._loading.get(room_id)
        if task is None:
            task = asyncio.create_task(self._load(room_id))
            self._loading[room_id] = task
            task.add_done_callback(lambda _: self._loading.pop(room_id, None))
        return await asyncio.shield(task)

    def add(self, room: LiveRoom) -> None:
        """Take in a room that was just made."""
        self._rooms[room.room_id] = room

    def drop(self, room_id: str) -> None:
        """Forget what memory has of a room; it is read again when next needed."""
        self._rooms.pop(room_id, None)

    async def _load(self, room_id: str) -> LiveRoom | None:
        row = await storage.get_room(self._database, room_id)
        if row is None or row.snapshot_id is None:
            return None
        room = LiveRoom(room_id, ROOM_VERSIONS[row.room_version], self._server_name)
        room.revision = row.revision
        room.snapshot_id = row.snapshot_id
        room.chain_length = await storage.get_chain_length(self._database, row.snapshot_id)
        states = await many_rooms.get_states(self._database, [row.snapshot_id])
        room.state = states[row.snapshot_id]
        extremities = await self._store.get_many(row.forward_extremities)
        room.extremities = {event_id: stored.event for event_id, stored in extremities.items()}
        await room.load_events(self._store, ALWAYS_LOADED)
        for user_id, membership, _ in await storage.get_room_memberships(self._database, room_id):
            if ("m.room.member", user_id) in room.state:
                room.set_membership(user_id, membership)
        self._rooms[room_id] = room
        self._drop_cold()
        return room

    def _drop_cold(self) -> None:
        for room_id in list(self._rooms)[: max(0, len(self._rooms) - CACHED_ROOMS)]:
            room = self._rooms[room_id]
            if room.settled and not room.lock.locked():
                del self._rooms[room_id]

    async def prepare_snapshot_ids(self, count: int) -> None:
        """Have at least ``count`` snapshot IDs in hand for :meth:`take_snapshot_id`."""
        while len(self._snapshot_ids) < count:
            block = await storage.take_snapshot_ids(self._database)
            self._snapshot_ids.extend(reversed(block))

    def take_snapshot_id(self) -> int:
        """An unused snapshot ID."""
        return self._snapshot_ids.pop()
