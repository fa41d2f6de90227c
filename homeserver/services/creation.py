"""Making rooms.  Spec: client-server API, ``POST /createRoom``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg
from msgspec import Struct, field
from msgspec.structs import replace

from homeserver.errors import BadJson, Forbidden, InvalidParam, MatrixError, UnsupportedRoomVersion
from homeserver.protocol.auth_rules import Rejected, check_auth
from homeserver.protocol.events import BadEvent, Event, JsonObject, build_event, check_format
from homeserver.protocol.identifiers import RoomAlias, UserId
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.services.bad_events import bad_event
from homeserver.services.live_room import LiveRoom, LiveRooms
from homeserver.services.membership import Membership
from homeserver.services.rooms import Draft, Rooms
from homeserver.services.third_party_invites import ThirdPartyAddress, ThirdPartyInvites
from homeserver.services.unharmed import unharmed
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.room_listings import RoomListing

MAX_INITIAL_EVENTS = 200
MAX_INVITES = 500
PAUSE_AFTER = 50
TOP_LEVEL = 100
TOMBSTONE_LEVEL = 150
MAX_ADDRESSES = 20  # each is a few requests to an identity server

PRESETS: dict[str, dict[str, JsonObject]] = {
    "private_chat": {
        "m.room.join_rules": {"join_rule": "invite"},
        "m.room.history_visibility": {"history_visibility": "shared"},
        "m.room.guest_access": {"guest_access": "can_join"},
    },
    "public_chat": {
        "m.room.join_rules": {"join_rule": "public"},
        "m.room.history_visibility": {"history_visibility": "shared"},
        "m.room.guest_access": {"guest_access": "forbidden"},
    },
}
PRESETS["trusted_private_chat"] = PRESETS["private_chat"]


class InitialState(Struct, frozen=True):
    """One state event asked for at creation."""

    type: str
    state_key: str
    content: JsonObject


class RoomRequest(Struct, frozen=True):
    """What a client asks for, types checked."""

    version: str | None = None
    preset: str | None = None
    public: bool = False
    alias_localpart: str | None = None
    name: str | None = None
    topic: str | None = None
    invites: Sequence[UserId] = ()
    addresses: Sequence[ThirdPartyAddress] = ()
    is_direct: bool = False
    creation_content: JsonObject = field(default_factory=dict)
    initial_state: Sequence[InitialState] = ()
    power_levels: JsonObject = field(default_factory=dict)


class RoomCreation:
    """Builds a room's first events and writes them in one transaction."""

    def __init__(
        self,
        *,
        server_name: str,
        default_version: str,
        database: Database,
        rooms: Rooms,
        live_rooms: LiveRooms,
        membership: Membership,
        third_party: ThirdPartyInvites,
        clock_ms: Callable[[], int],
        random_id: Callable[[], str],
    ) -> None:
        self._server_name = server_name
        self._default_version = default_version
        self._database = database
        self._rooms = rooms
        self._live_rooms = live_rooms
        self._membership = membership
        self._third_party = third_party
        self._clock_ms = clock_ms
        self._random_id = random_id
        self.may_act: Callable[[str], None] = lambda _user_id: None
        """Raises for a user who makes no rooms now."""

    async def create(self, creator: UserId, request: RoomRequest, profile: JsonObject) -> str:
        """Make a room and invite people to it; its room ID.

        ``profile`` (display name, avatar) goes into the creator's member event.  Invites of local
        users are written with the room: nobody sees it without them.  An invite that is refused
        leaves the room as it is by then.
        Raises: :class:`UnsupportedRoomVersion`, ``M_ROOM_IN_USE``, ``M_INVALID_ROOM_STATE``, and
        what consent and policy raise for the invites.
        """
        version = ROOM_VERSIONS.get(request.version or self._default_version)
        if version is None:
            raise UnsupportedRoomVersion("This server does not know that room version")
        if len(request.invites) > MAX_INVITES or len(request.initial_state) > MAX_INITIAL_EVENTS:
            raise InvalidParam("Too many invites or initial state events at once")
        request = await self._with_owners(creator, request)
        await self._membership.check_invites(creator, request.invites, request.is_direct)
        alias = await self._free_alias(request.alias_localpart)

        drafts = self._drafts(creator, request, version, profile, alias)
        content = create_content(creator, request, version)
        async with self.new_room(creator, version, content, drafts) as (room, records):
            refused = await self._invite_ours(room, records, creator, request)
            listing = RoomListing(room.room_id, creator, alias, request.public)
            done = self._rooms.commit_together([(room, records)], listing)
            try:
                await unharmed(done)
            except asyncpg.UniqueViolationError as error:
                raise alias_taken() from error
        if refused is not None:
            raise refused
        await self._invite_others(creator, room.room_id, request)
        return room.room_id

    @asynccontextmanager
    async def new_room(
        self,
        creator: UserId,
        version: RoomVersion,
        content: JsonObject,
        drafts: Sequence[Draft],
    ) -> AsyncIterator[tuple[LiveRoom, list[EventRecord]]]:
        """A room that is built, to be committed; if it is not, nothing is left of it.

        ``content``: of its create event.  Raises ``M_INVALID_ROOM_STATE``.
        """
        self.may_act(creator)
        create = await self._new_create_event(creator, version, content)
        room = LiveRoom(create.room_id, version, self._server_name)
        try:
            async with room.lock:
                records = await self._build(room, create, drafts)
                self._live_rooms.add(room)
                yield room, records
        except BaseException:
            self._live_rooms.drop(room.room_id)
            await asyncio.shield(storage.delete_empty_room(self._database, room.room_id))
            raise

    async def _with_owners(self, creator: UserId, request: RoomRequest) -> RoomRequest:
        """Addresses that have an owner become plain invites, which is asked before all else."""
        if len(request.addresses) > MAX_ADDRESSES:
            raise InvalidParam(f"At most {MAX_ADDRESSES} addresses can be invited at once")
        if not request.addresses:
            return request
        owners = [(await self._third_party.find(creator, a), a) for a in request.addresses]
        return replace(
            request,
            invites=[
                *request.invites,
                *(owner for owner, _ in owners if owner not in (None, creator)),
            ],
            addresses=[address for owner, address in owners if owner is None],
        )

    async def _free_alias(self, localpart: str | None) -> str | None:
        if localpart is None:
            return None
        if not localpart:
            raise InvalidParam("'room_alias_name' is empty")
        try:
            alias = RoomAlias.parse(f"#{localpart}:{self._server_name}")
        except ValueError as error:
            raise InvalidParam("That is not a valid room alias") from error
        if await storage.get_alias(self._database, alias) is not None:
            raise alias_taken()
        return alias

    async def _new_create_event(
        self, creator: UserId, version: RoomVersion, content: JsonObject
    ) -> Event:
        """The create event of a room that there is not yet.

        From version 12 on the room's ID is the event's hash: the same request in the same
        millisecond would make the same room again.
        """
        now = at = self._clock_ms()
        while True:
            create = self._create_event(version, creator, content, at)
            if await storage.insert_room(self._database, create.room_id, version.identifier, now):
                return create
            at += 1

    def _create_event(
        self, version: RoomVersion, creator: UserId, content: JsonObject, at: int
    ) -> Event:
        room_id = f"!{self._random_id()}:{self._server_name}"
        try:
            event = build_event(
                version,
                room_id=room_id,
                sender=creator,
                type="m.room.create",
                content=content,
                state_key="",
                prev_events=[],
                auth_events=[],
                depth=1,
                origin_server_ts=at,
                server_name=self._server_name,
                signing_key=self._rooms.signing_key,
                event_id=f"${self._random_id()}:{self._server_name}",
            )
            check_format(event.pdu, version)
        except BadEvent as error:
            raise bad_event(error) from error
        verdict = check_auth(event, {})
        if isinstance(verdict, Rejected):
            raise invalid_room_state(verdict.reason)
        return event

    def _drafts(
        self,
        creator: UserId,
        request: RoomRequest,
        version: RoomVersion,
        profile: JsonObject,
        alias: str | None,
    ) -> list[Draft]:
        """All events after ``m.room.create``, in the order that the spec gives."""

        def state(kind: str, content: JsonObject, state_key: str = "") -> Draft:
            return Draft(creator, kind, content, state_key)

        preset = request.preset or ("public_chat" if request.public else "private_chat")
        if preset not in PRESETS:
            raise InvalidParam(f"'{preset}' is not a preset")
        given = {(item.type, item.state_key) for item in request.initial_state}
        drafts = [
            state("m.room.member", {**profile, "membership": "join"}, creator),
            state("m.room.power_levels", power_levels(creator, request, version)),
        ]
        if alias is not None:
            drafts.append(state("m.room.canonical_alias", {"alias": alias}))
        drafts.extend(
            state(kind, content)
            for kind, content in PRESETS[preset].items()
            if (kind, "") not in given
        )
        # Spec: "gets overridden by name and topic keys".
        overridden = {("m.room.name", "")} if request.name is not None else set()
        overridden |= {("m.room.topic", "")} if request.topic is not None else set()
        drafts.extend(
            state(item.type, item.content, item.state_key)
            for item in request.initial_state
            if (item.type, item.state_key) not in overridden
        )
        if request.name is not None:
            drafts.append(state("m.room.name", {"name": request.name}))
        if request.topic is not None:
            rich = {"m.text": [{"body": request.topic}]}
            drafts.append(state("m.room.topic", {"topic": request.topic, "m.topic": rich}))
        return drafts

    async def _build(
        self, room: LiveRoom, create: Event, drafts: Sequence[Draft]
    ) -> list[EventRecord]:
        await self._live_rooms.prepare_snapshot_ids(1)
        records = [self._rooms.apply(room, create)]
        for number, draft in enumerate(drafts):
            if number % PAUSE_AFTER == PAUSE_AFTER - 1:
                await asyncio.sleep(0)  # others want to be served, too
            try:
                event = await self._rooms.build_signed(room, draft)
            except Forbidden as error:
                raise invalid_room_state(f"{draft.type}: {error.text}") from error
            await self._live_rooms.prepare_snapshot_ids(1)
            records.append(self._rooms.apply(room, event))
        return records

    async def _invite_ours(
        self, room: LiveRoom, records: list[EventRecord], creator: UserId, request: RoomRequest
    ) -> MatrixError | None:
        """Add the invites of local users to a room's first events; why one was refused, if so."""
        try:
            for user_id in dict.fromkeys(request.invites):
                if self._is_ours(user_id):
                    content = invite_content(request)
                    records.append(
                        await self._membership.place_invite(room, creator, user_id, content)
                    )
        except MatrixError as error:
            return error
        return None

    async def _invite_others(self, creator: UserId, room_id: str, request: RoomRequest) -> None:
        """Invite whom other servers have to tell."""
        content = invite_content(request)
        for user_id in dict.fromkeys(request.invites):
            if not self._is_ours(user_id):
                await self._membership.invite(creator, room_id, user_id, content=content)
        for address in request.addresses:
            owner = await self._third_party.announce(creator, room_id, address)
            if owner is not None:
                await self._membership.invite(creator, room_id, owner, content=content)

    def _is_ours(self, user_id: UserId) -> bool:
        return user_id.server_name == self._server_name


def invite_content(request: RoomRequest) -> JsonObject:
    """What the member event of an invite says, beside the membership and profile."""
    return {"is_direct": True} if request.is_direct else {}


def alias_taken() -> MatrixError:
    """The answer to who wants another room's alias."""
    return MatrixError("That room alias is taken", errcode="M_ROOM_IN_USE")


def create_content(creator: UserId, request: RoomRequest, version: RoomVersion) -> JsonObject:
    """The content of the create event that is asked for.  Raises :class:`BadJson`."""
    content = {**request.creation_content, "room_version": version.identifier}
    content.pop("creator", None)
    if not version.implicit_room_creator:
        content["creator"] = creator
    if version.privileged_creators and request.preset == "trusted_private_chat":
        named = content.get("additional_creators", [])
        if not isinstance(named, list):
            raise BadJson("'additional_creators' must be an array of user IDs")
        content["additional_creators"] = list(dict.fromkeys([*named, *request.invites]))
    return content


def invalid_room_state(reason: str) -> MatrixError:
    """The answer to a request whose events the auth rules refuse."""
    return MatrixError(
        f"The room cannot be made like that: {reason}", errcode="M_INVALID_ROOM_STATE"
    )


def power_levels(creator: UserId, request: RoomRequest, version: RoomVersion) -> JsonObject:
    """The first power levels: the creator at 100, or above all levels from version 12 on."""
    users: dict[str, int] = {} if version.privileged_creators else {creator: 100}
    if request.preset == "trusted_private_chat" and not version.privileged_creators:
        users.update(dict.fromkeys(request.invites, 100))
    content: JsonObject = {
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.encryption": 100,
            "m.room.server_acl": 100,
            "m.room.tombstone": TOP_LEVEL,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": 0,
        "historical": 100,
    }
    content.update(request.power_levels)
    if version.privileged_creators and request.version is None:
        content["users"] = _without_creators(content["users"], creator, request)
    if version.privileged_creators:
        _guard_tombstone(content, request)
    return content


def _guard_tombstone(content: JsonObject, request: RoomRequest) -> None:
    """Spec: the level of tombstones "MUST explicitly be higher than ``state_default``".

    Unless the request names one.
    """
    events, default = content["events"], content["state_default"]
    named = request.power_levels.get("events")
    if not isinstance(events, dict) or (isinstance(named, dict) and "m.room.tombstone" in named):
        return
    above = default + 1 if isinstance(default, int) else TOMBSTONE_LEVEL
    content["events"] = {**events, "m.room.tombstone": max(TOMBSTONE_LEVEL, above)}


def _without_creators(users: object, creator: UserId, request: RoomRequest) -> object:
    """The levels of users without those of creators, who have no level in such a room.

    Who leaves the version to the server may name them: clients made before version 12 do.
    """
    if not isinstance(users, dict):
        return users  # for the auth rules to refuse
    creators: set[object] = {creator}
    if request.preset == "trusted_private_chat":
        creators.update(request.invites)
    return {user: level for user, level in users.items() if user not in creators}
