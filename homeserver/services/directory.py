"""Room aliases, and which rooms are published.

Spec: client-server API, room aliases, listing rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from homeserver.errors import Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.protocol.events import JsonObject, StateKey
from homeserver.protocol.identifiers import (
    InvalidIdentifier,
    RoomAlias,
    RoomId,
    UserId,
)
from homeserver.services.client_events import shown_event
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import Rooms
from homeserver.storage import many_rooms
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.events import get_events
from homeserver.storage.sync import MemberCounts, get_member_counts

SUMMARY_KEYS = (
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.topic", ""),
    ("m.room.avatar", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.join_rules", ""),
    ("m.room.history_visibility", ""),
    ("m.room.guest_access", ""),
)
NOBODY = MemberCounts()
NOTHING: Mapping[StateKey, Mapping[str, object]] = {}


class RemoteDirectory(Protocol):
    """What the directory needs of other instances; ``federation`` provides it."""

    async def resolve_alias(self, alias: RoomAlias) -> tuple[str, list[str]]:
        """A remote alias's room ID, and instances that know the room."""


class UnmadeRooms(Protocol):
    """Rooms that are made when somebody looks for them."""

    async def expect_alias(self, alias: str) -> bool:
        """Have an alias of ours made, if somebody knows it; whether it was."""


class Directory:
    """Finds rooms by alias, publishes them, and says what they are."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        rooms: Rooms,
        store: EventStore,
        remote: RemoteDirectory,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._rooms = rooms
        self._store = store
        self._remote = remote
        self.unmade: UnmadeRooms | None = None
        self.on_alias_changed: list[Callable[[str], None]] = []
        """Told of a room whose aliases here have changed."""

    # ------------------------------------------------------------ aliases

    async def resolve(
        self, room_id_or_alias: str, servers: Sequence[str] = ()
    ) -> tuple[str, list[str]]:
        """A room ID, and instances to ask, for a room ID or alias.  Raises :class:`NotFound`."""
        if room_id_or_alias.startswith("#"):
            room_id, known = await self.lookup(room_id_or_alias)
            return room_id, [*servers, *known]
        try:
            return RoomId.parse(room_id_or_alias), list(servers)
        except InvalidIdentifier as error:
            raise InvalidParam("That is neither a room ID nor a room alias") from error

    async def lookup(self, text: str) -> tuple[str, list[str]]:
        """An alias's room ID, and instances in the room.  Raises :class:`NotFound`."""
        alias = parse_alias(text)
        if alias.server_name != self._server_name:
            return await self._remote.resolve_alias(alias)
        return await self.lookup_local(alias)

    async def lookup_local(self, alias: RoomAlias) -> tuple[str, list[str]]:
        """One of our own aliases.  Raises :class:`NotFound`."""
        found = await storage.get_alias(self._database, alias)
        if found is None and self.unmade is not None and await self.unmade.expect_alias(alias):
            found = await storage.get_alias(self._database, alias)
        if found is None:
            raise NotFound("There is no such room alias")
        room = await self._rooms.find(found[0])
        servers = sorted(room.hosts) if room is not None else []
        return found[0], [self._server_name, *(s for s in servers if s != self._server_name)]

    async def create_alias(self, user_id: UserId, text: str, room_id: str) -> None:
        """Give a room an alias of ours.  Raises: 409 ``M_UNKNOWN`` if it is taken."""
        alias = parse_alias(text)
        if alias.server_name != self._server_name:
            raise InvalidParam("This server can only make aliases of its own")
        await self._rooms.get_joined(room_id, user_id)
        if not await storage.insert_alias(self._database, alias, room_id, user_id):
            raise MatrixError("That room alias is taken", status=409)
        self._alias_changed(room_id)

    async def delete_alias(self, user_id: UserId, text: str, *, admin: bool) -> None:
        """Remove an alias: its maker, a moderator of the room, or an admin may."""
        alias = parse_alias(text)
        found = await storage.get_alias(self._database, alias)
        if found is None:
            raise NotFound("There is no such room alias")
        room_id, creator = found
        if user_id != creator and not admin:
            room = await self._rooms.find(room_id)
            if room is None or not self._may_set_alias(room, user_id):
                raise Forbidden("You may not remove this alias")
        await storage.delete_alias(self._database, alias)
        self._alias_changed(room_id)

    def _alias_changed(self, room_id: str) -> None:
        for listener in self.on_alias_changed:
            listener(room_id)

    def _may_set_alias(self, room: LiveRoom, user_id: UserId) -> bool:
        needed = room.power_levels.required_for_event("m.room.canonical_alias", is_state=True)
        return room.is_joined(user_id) and room.power_levels.user(user_id) >= needed

    async def aliases(self, room_id: str) -> list[str]:
        """A room's aliases on this instance."""
        return await storage.get_room_aliases(self._database, room_id)

    async def check_canonical_alias(self, room_id: str, content: JsonObject) -> None:
        """Refuse a canonical alias that does not lead to the room.

        Raises :class:`InvalidParam` for what is no alias, ``M_BAD_ALIAS``.
        """
        room = await self._rooms.get(room_id)
        key = ("m.room.canonical_alias", "")
        await room.load_events(self._store, (key,))
        before = room.content(key)
        aliases = [parse_alias(text) for text in new_aliases(before, content)]
        for text in aliases:
            try:
                found, _ = await self.lookup(text)
            except MatrixError as error:
                raise bad_alias(f"{text} does not exist") from error
            if found != room_id:
                raise bad_alias(f"{text} is the alias of another room")

    # ------------------------------------------------------------ the public directory

    async def is_published(self, room_id: str) -> bool:
        """Whether a room is listed.  Raises :class:`NotFound`."""
        row = await storage.get_room(self._database, room_id)
        if row is None:
            raise NotFound("This server does not know that room")
        return row.published

    async def publish(self, user_id: UserId, room_id: str, visibility: str, *, admin: bool) -> None:
        """List a room, or take it out; a moderator of the room or an admin may."""
        if visibility not in ("public", "private"):
            raise InvalidParam("'visibility' must be public or private")
        room = await self._rooms.get(room_id)
        if not admin and not self._may_set_alias(room, user_id):
            raise Forbidden("You may not change this room's place in the directory")
        await storage.set_published(self._database, room_id, visibility == "public")

    async def summary(self, room: LiveRoom) -> JsonObject:
        """A room as the directory shows it."""
        await room.load_events(self._store, SUMMARY_KEYS)
        contents = {key: room.content(key) for key in SUMMARY_KEYS}
        return _summary(room.room_id, room.joined_count, contents)

    async def summaries(self, room_ids: Sequence[str]) -> dict[str, JsonObject]:
        """Several rooms as the directory shows them, in four queries: only what is shown of them
        is read.  Rooms that we do not have are left out."""
        snapshots = await many_rooms.get_room_snapshots(self._database, room_ids)
        wanted = [(snapshot, key) for snapshot in snapshots.values() for key in SUMMARY_KEYS]
        if not wanted:
            return {}
        ids = await many_rooms.get_states_keys(self._database, wanted)
        # Not through the store: a whole directory would leave nothing else in it.
        events = await get_events(self._database, ids.values())
        counts = await get_member_counts(self._database, list(snapshots))
        contents: dict[int, dict[StateKey, Mapping[str, object]]] = {}
        for (snapshot, key), event_id in ids.items():
            if event_id in events:
                content = shown_event(events[event_id]).content
                contents.setdefault(snapshot, {})[key] = content
        return {
            room_id: _summary(
                room_id, counts.get(room_id, NOBODY).joined, contents.get(snapshot, NOTHING)
            )
            for room_id, snapshot in snapshots.items()
        }


def _summary(
    room_id: str, joined: int, contents: Mapping[StateKey, Mapping[str, object]]
) -> JsonObject:
    content = {key[0].removeprefix("m.room."): contents.get(key, {}) for key in SUMMARY_KEYS}
    chunk: JsonObject = {
        "room_id": room_id,
        "num_joined_members": joined,
        "world_readable": content["history_visibility"].get("history_visibility")
        == "world_readable",
        "guest_can_join": content["guest_access"].get("guest_access") == "can_join",
        "join_rule": content["join_rules"].get("join_rule", "invite"),
    }
    shown = {
        "name": content["name"].get("name"),
        "topic": content["topic"].get("topic"),
        "avatar_url": content["avatar"].get("url"),
        "canonical_alias": content["canonical_alias"].get("alias"),
        "room_type": content["create"].get("type"),
    }
    chunk.update({k: value for k, value in shown.items() if isinstance(value, str) and value})
    return chunk


def parse_alias(text: str) -> RoomAlias:
    """A room alias.  Raises :class:`InvalidParam`."""
    try:
        return RoomAlias.parse(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"'{text}' is not a room alias") from error


def new_aliases(before: Any, after: JsonObject) -> list[str]:
    """The aliases that a canonical alias event names and the last one did not.

    Spec: ``m.room.canonical_alias``: without an alias, as with null and an empty text, the room has
    none.  Raises :class:`InvalidParam`.
    """

    def named(content: Any) -> list[Any]:
        alias, alternatives = content.get("alias"), content.get("alt_aliases")
        names = [] if alias in (None, "") else [alias]
        return names + (alternatives if isinstance(alternatives, list) else [])

    if not isinstance(after.get("alt_aliases", []), list | None):
        raise InvalidParam("'alt_aliases' must be an array of room aliases")
    old = named(before)
    new = [name for name in named(after) if name not in old]
    if not all(isinstance(name, str) for name in new):
        raise InvalidParam("'alias' and 'alt_aliases' must be strings")
    return new


def bad_alias(text: str) -> MatrixError:
    """The answer to a canonical alias that does not lead to the room."""
    return MatrixError(text, errcode="M_BAD_ALIAS")
