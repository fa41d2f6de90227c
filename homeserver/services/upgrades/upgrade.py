"""Replacing a room by one of another version.

The new room, the tombstone in the old one, the aliases and the place in the directory are written
in one transaction: an upgrade is done whole, or not at all.

Spec: client-server API, ``POST /rooms/{roomId}/upgrade``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from msgspec import Struct

from homeserver.errors import Forbidden, MatrixError, UnsupportedRoomVersion
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.power_levels import creators
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.services.creation import RoomCreation
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import ACCEPTED, Action
from homeserver.services.live_room import CREATE, LiveRoom
from homeserver.services.rooms import Draft, Rooms, SendGate
from homeserver.services.unharmed import unharmed
from homeserver.services.upgrades.carried import (
    CANONICAL_ALIAS,
    ENCRYPTION,
    JOIN_RULES,
    POWER_LEVELS,
    SPACE_CHILD,
    TRANSFERRED,
    CarriedLevels,
    children,
    create_content,
    join_rules,
    silenced,
    split_alias,
)
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord, RoomMoved
from homeserver.storage.room_listings import RoomListing

MOST_TRIES = 5
MOST_CHILDREN = 1_000
MOST_BANS = 5_000
MOST_CREATORS = 50
BODY = "This room has been replaced"


class Belongings(Protocol):
    """What users have of a room that is nobody else's business."""

    async def carry(self, user_id: str, old_id: str, new_id: str) -> None:
        """What a user said of the old room holds for the new one."""


class MemberProfiles(Protocol):
    """What goes into a member event of ours."""

    async def member_fields(self, user_id: UserId) -> JsonObject:
        """``displayname`` and ``avatar_url``, those that are set."""


class _Plan(Struct, frozen=True):
    """What is to be done, as the old room's state says."""

    version: RoomVersion
    content: JsonObject
    drafts: Sequence[Draft]
    left_alias: JsonObject | None
    snapshot_id: int | None  # of the state that it was made of


class RoomUpgrades:
    """Replaces rooms."""

    def __init__(
        self,
        *,
        database: Database,
        rooms: Rooms,
        store: EventStore,
        creation: RoomCreation,
        gate: SendGate,
        profiles: MemberProfiles,
        belongings: Belongings,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._store = store
        self._creation = creation
        self._gate = gate
        self._profiles = profiles
        self._belongings = belongings

    async def upgrade(
        self, user_id: UserId, room_id: str, version: str, additional_creators: Sequence[UserId]
    ) -> str:
        """Replace a room; the new room's ID.

        ``additional_creators`` are left aside by versions that do not know them.
        Raises: :class:`UnsupportedRoomVersion`, :class:`Forbidden`, and what policy raises.
        """
        known = ROOM_VERSIONS.get(version)
        if known is None:
            raise UnsupportedRoomVersion("This server does not know that room version")
        if len(additional_creators) > MOST_CREATORS:
            raise MatrixError(f"A room has at most {MOST_CREATORS} additional creators")
        for _ in range(MOST_TRIES):
            old = await self._rooms.get_joined(room_id, user_id)
            levels = old.power_levels
            needed = levels.required_for_event("m.room.tombstone", is_state=True)
            if levels.user(user_id) < needed:
                raise Forbidden("You may not upgrade this room: it needs the power to end it")
            plan = await self._plan(old, user_id, known, additional_creators)
            try:
                new_id = await self._replace(old, user_id, plan)
            except RoomMoved:
                continue
            await self._belongings.carry(user_id, room_id, new_id)
            return new_id
        raise MatrixError("The room is too busy; try again", status=503)

    # ------------------------------------------------------------ planning

    async def _plan(
        self, old: LiveRoom, user_id: UserId, version: RoomVersion, additional: Sequence[UserId]
    ) -> _Plan:
        snapshot_id = old.snapshot_id
        create = old.event(CREATE)
        assert create is not None
        last = next(reversed(old.extremities))
        content = create_content(create, user_id, version, additional, last)
        await old.load_events(self._store, (*TRANSFERRED, CANONICAL_ALIAS))
        moved = await storage.get_room_aliases(self._database, old.room_id)
        new_alias, left_alias = split_alias(old.content(CANONICAL_ALIAS), moved)

        def state(kind: str, content: JsonObject, state_key: str = "") -> Draft:
            return Draft(user_id, kind, content, state_key)

        profile = await self._profiles.member_fields(user_id)
        drafts = [state("m.room.member", {**profile, "membership": "join"}, user_id)]
        levels = self._levels(old, create, user_id, version, additional)
        drafts.append(state(POWER_LEVELS[0], levels.first))
        rules = old.content(JOIN_RULES)
        if rules:
            drafts.append(state(JOIN_RULES[0], join_rules(rules, version)))
        drafts += [
            state(key[0], event.content)
            for key in TRANSFERRED
            if (event := old.event(key)) is not None and (event.content or key == ENCRYPTION)
        ]
        if new_alias is not None:
            drafts.append(state(CANONICAL_ALIAS[0], new_alias))
        drafts += [Draft(user_id, e.type, e.content, e.state_key) for e in await self._below(old)]
        drafts += [
            Draft(user_id, e.type, _ban(e), e.state_key)
            for e in await self._bans(old)
            if e.state_key not in (user_id, *additional)
        ]
        if levels.last is not None:
            drafts.append(state(POWER_LEVELS[0], levels.last))
        return _Plan(version, content, drafts, left_alias, snapshot_id)

    def _levels(
        self,
        old: LiveRoom,
        create: Event,
        user_id: UserId,
        version: RoomVersion,
        additional: Sequence[UserId],
    ) -> CarriedLevels:
        event, made_it = old.event(POWER_LEVELS), creators(create)
        # Without power levels all of it is the creators'.
        content = event.content if event is not None else {"users": dict.fromkeys(made_it, 100)}
        return CarriedLevels(
            content,
            old=old.version,
            new=version,
            old_creators=made_it,
            new_creators=(user_id, *additional),
            upgrader=user_id,
        )

    async def _below(self, old: LiveRoom) -> list[Event]:
        """The rooms that a space names."""
        keys = [key for key in old.state if key[0] == SPACE_CHILD][:MOST_CHILDREN]
        await old.load_events(self._store, keys)
        return children(old.state_events(keys).values())

    async def _bans(self, old: LiveRoom) -> list[Event]:
        """Those who are banned, the latest first in memory of the room.

        They are read without being kept: the room needs them for nothing else.
        """
        banned = [user for user, membership in old.memberships.items() if membership == "ban"]
        ids = [old.state[key] for user in banned if (key := ("m.room.member", user)) in old.state]
        found = await self._store.get_many(ids[-MOST_BANS:])
        return [stored.event for stored in found.values() if stored.event.membership == "ban"]

    # ------------------------------------------------------------ doing

    async def _replace(self, old: LiveRoom, user_id: UserId, plan: _Plan) -> str:
        """Write all of it.  Raises :class:`RoomMoved` if the old room has changed meanwhile."""
        async with (
            self._creation.new_room(user_id, plan.version, plan.content, plan.drafts) as (
                new,
                new_records,
            ),
            self._held(old, plan.snapshot_id),
        ):
            old_records = await self._end(old, user_id, new.room_id, plan)
            listing = RoomListing(new.room_id, user_id, replaces=old.room_id)
            moves = [(old, old_records), (new, new_records)]
            await unharmed(self._rooms.commit_together(moves, listing))
        return new.room_id

    @asynccontextmanager
    async def _held(self, old: LiveRoom, snapshot_id: int | None) -> AsyncIterator[None]:
        """The old room, for changes that are dropped if anything fails.

        Raises :class:`RoomMoved` if its state is not that of ``snapshot_id`` any more.
        """
        async with old.lock:
            if not self._rooms.is_current(old) or old.snapshot_id != snapshot_id:
                raise RoomMoved(old.room_id)
            with self._rooms.moving(old):
                yield

    async def _end(
        self, old: LiveRoom, user_id: UserId, new_id: str, plan: _Plan
    ) -> list[EventRecord]:
        """What is sent to the old room: the tombstone, and what the user may change beside it."""
        content: JsonObject = {"body": BODY, "replacement_room": new_id}
        tombstone = Draft(user_id, "m.room.tombstone", content, "")
        judgement = await self._gate.check_send(old, tombstone)
        if judgement.action is not Action.ACCEPT:
            raise Forbidden(judgement.reason or "This server's rules do not allow it")
        records = [await self._rooms.place(old, tombstone, judgement)]
        optional = []
        if plan.left_alias is not None:
            optional.append(Draft(user_id, CANONICAL_ALIAS[0], plan.left_alias, ""))
        quiet = silenced(old.content(POWER_LEVELS), old.version)
        if quiet is not None:
            optional.append(Draft(user_id, POWER_LEVELS[0], quiet, ""))
        for draft in optional:
            try:
                records.append(await self._rooms.place(old, draft, ACCEPTED))
            except MatrixError:
                continue  # "if possible": who may end a room may not always do more
        return records


def _ban(event: Event) -> JsonObject:
    reason = event.content.get("reason")
    return {"membership": "ban", **({"reason": reason} if isinstance(reason, str) else {})}
