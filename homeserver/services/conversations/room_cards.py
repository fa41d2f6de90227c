"""What a conversation's head says, for many rooms at once: name, picture, who may do what.

A card is read from the state events of a few types, and kept until one of them changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.history_visibility import visibility_of
from homeserver.protocol.power_levels import creators
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.services.client_events import shown_event
from homeserver.services.conversations.permissions import Standing
from homeserver.services.conversations.reading import as_text
from homeserver.services.conversations.shapes.conversations import History, JoinMode
from homeserver.services.conversations.shapes.media import media_id
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRooms
from homeserver.storage import conversations as storage
from homeserver.storage.conversations import RoomState
from homeserver.storage.database import Database
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice

CACHED_CARDS = 10_000
CREATE = "m.room.create"
NAME = "m.room.name"
TOPIC = "m.room.topic"
AVATAR = "m.room.avatar"
POWER_LEVELS = "m.room.power_levels"
JOIN_RULES = "m.room.join_rules"
HISTORY_VISIBILITY = "m.room.history_visibility"
ENCRYPTION = "m.room.encryption"
CANONICAL_ALIAS = "m.room.canonical_alias"
TYPES = (
    CREATE,
    NAME,
    TOPIC,
    AVATAR,
    POWER_LEVELS,
    JOIN_RULES,
    HISTORY_VISIBILITY,
    ENCRYPTION,
    CANONICAL_ALIAS,
)
HISTORY: dict[str, History] = {
    "world_readable": "all",
    "shared": "all",
    "invited": "since_invitation",
    "joined": "since_joining",
}
HISTORY_VISIBILITY_OF = {"all": "shared", "since_invitation": "invited", "since_joining": "joined"}
JOIN: dict[str, JoinMode] = {
    "public": "open",
    "knock": "approval",
    "knock_restricted": "approval",
}
JOIN_RULE_OF = {"open": "public", "approval": "knock", "invite": "invite"}


class Card(Struct, frozen=True):
    """A room's head, as of one state of it.  ``contents``: of its state events, by type."""

    room_id: str
    version: RoomVersion
    contents: Mapping[str, JsonObject]
    creators: frozenset[str] = frozenset()
    created_at: int | None = None  # ms

    def content(self, kind: str) -> JsonObject:
        """The content of a state event; empty if there is none."""
        return self.contents.get(kind, {})

    @property
    def name(self) -> str | None:
        """The room's name, or else the address that it is known under."""
        name = as_text(self.content(NAME).get("name"))
        return name or as_text(self.content(CANONICAL_ALIAS).get("alias"))

    @property
    def description(self) -> str | None:
        """The room's topic."""
        return as_text(self.content(TOPIC).get("topic"))

    @property
    def avatar(self) -> str | None:
        """The media ID of the room's picture."""
        return media_id(self.content(AVATAR).get("url"))

    @property
    def encrypted(self) -> bool:
        """Whether encryption is switched on."""
        return ENCRYPTION in self.contents

    @property
    def history(self) -> History:
        """What newcomers see."""
        return HISTORY[visibility_of(self.content(HISTORY_VISIBILITY))]

    @property
    def join(self) -> JoinMode:
        """How one gets in without being invited."""
        rule = self.content(JOIN_RULES).get("join_rule")
        return JOIN.get(rule, "invite") if isinstance(rule, str) else "invite"

    @property
    def standing(self) -> Standing:
        """Who may do what."""
        return Standing(
            self.contents.get(POWER_LEVELS),
            self.creators,
            self.version,
            encrypted=self.encrypted,
        )


class RoomCards:
    """Keeps cards, and reads those that are missing together."""

    def __init__(
        self, *, database: Database, log: Log, store: EventStore, live_rooms: LiveRooms
    ) -> None:
        self._database = database
        self._store = store
        self._live_rooms = live_rooms
        self._cards: OrderedDict[str, Card] = OrderedDict()
        self._changes = 0
        log.subscribe(self._on_notice)

    async def get(self, room_ids: Collection[str]) -> dict[str, Card]:
        """The cards of those rooms that we have: three queries at most, however many."""
        changes = self._changes
        found: dict[str, Card] = {}
        states: dict[str, tuple[RoomVersion, Mapping[str, str]]] = {}
        cold: list[str] = []
        moving: set[str] = set()
        for room_id in room_ids:
            live = self._live_rooms.cached(room_id)
            card = self._cards.get(room_id)
            if card is not None:
                self._cards.move_to_end(room_id)
                found[room_id] = card
            elif live is not None:
                state = {t: event for t in TYPES if (event := live.state.get((t, "")))}
                states[room_id] = (live.version, state)
                if not live.settled:
                    moving.add(room_id)
            else:
                cold.append(room_id)
        if cold:
            states.update(await self._cold_states(await storage.get_rooms(self._database, cold)))
        read = await self._read(states)
        found.update(read)
        if changes == self._changes:
            for room_id, card in read.items():
                if room_id not in moving:
                    self._cards[room_id] = card
            while len(self._cards) > CACHED_CARDS:
                self._cards.popitem(last=False)
        return found

    async def get_one(self, room_id: str) -> Card | None:
        """One room's card."""
        return (await self.get((room_id,))).get(room_id)

    async def at(self, rooms: Collection[RoomState]) -> dict[str, Card]:
        """The cards of rooms as they were in some earlier states."""
        return await self._read(await self._cold_states(rooms))

    async def _cold_states(
        self, rooms: Collection[RoomState]
    ) -> dict[str, tuple[RoomVersion, Mapping[str, str]]]:
        if not rooms:
            return {}
        snapshots = await storage.get_states(
            self._database, {room.snapshot_id for room in rooms}, TYPES
        )
        return {
            room.room_id: (ROOM_VERSIONS[room.room_version], snapshots[room.snapshot_id])
            for room in rooms
        }

    async def _read(
        self, states: Mapping[str, tuple[RoomVersion, Mapping[str, str]]]
    ) -> dict[str, Card]:
        wanted = [event_id for _, state in states.values() for event_id in state.values()]
        events = await self._store.get_many(wanted)
        return {
            room_id: _card(
                room_id,
                version,
                {kind: shown_event(events[e]) for kind, e in state.items() if e in events},
            )
            for room_id, (version, state) in states.items()
        }

    # ------------------------------------------------------------ following the log

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, ErasureRecord):
                self._forget((record.room_id,))
            elif isinstance(record, EventRecord) and self._matters(record):
                self._forget((record.event.room_id,))

    def _matters(self, record: EventRecord) -> bool:
        """Whether a room's head may be another after an event."""
        if record.event.is_state and (record.event.type in TYPES):
            return True
        room = record.room
        forked = room is not None and room.snapshot_id != record.snapshot_after
        ours = any(change.local for change in record.memberships)  # we may have come in
        return forked or ours or record.redacts is not None

    def _forget(self, room_ids: Iterable[str]) -> None:
        self._changes += 1
        for room_id in room_ids:
            self._cards.pop(room_id, None)


def _card(room_id: str, version: RoomVersion, events: Mapping[str, Event]) -> Card:
    create = events.get(CREATE)
    return Card(
        room_id,
        version,
        {kind: event.content for kind, event in events.items()},
        creators(create),
        create.origin_server_ts if create is not None else None,
    )
