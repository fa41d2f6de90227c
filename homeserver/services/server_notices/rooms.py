"""Each user's room for notices: made when it is first needed, one per user.

Spec: client-server API, server notices.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import WeakValueDictionary

import asyncpg
from msgspec import Struct

from homeserver.errors import MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.consent import Scope
from homeserver.services.creation import RoomCreation
from homeserver.services.room_tags import RoomTags
from homeserver.services.rooms import Draft, Rooms
from homeserver.services.unharmed import unharmed
from homeserver.storage import server_notices as storage
from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.database import Database
from homeserver.storage.server_notices import NoticeRoomRecord

TAG = "m.server_notice"
TAGS = "m.tag"
HOW = "server notice"
TOP = 100


class CannotLeave(MatrixError):
    """An invite to the room for notices cannot be rejected."""

    errcode, status = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", 403


class Grants(Protocol):
    """Consent, as far as notices need it."""

    async def grant_if_new(self, owner: str, peer: str, scope: str, *, how: str) -> None:
        """Grant, unless something was said already."""


class MemberProfiles(Protocol):
    """What goes into a member event of ours."""

    async def member_fields(self, user_id: UserId) -> JsonObject:
        """``displayname`` and ``avatar_url``, those that are set."""


class RoomLook(Struct, frozen=True):
    """What users see of the room."""

    name: str
    topic: str | None
    avatar_url: str | None
    version: str


class NoticeRooms:
    """Finds users' rooms for notices, and makes them."""

    def __init__(
        self,
        *,
        database: Database,
        rooms: Rooms,
        creation: RoomCreation,
        tags: RoomTags,
        consent: Grants,
        profiles: MemberProfiles,
        look: RoomLook,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._creation = creation
        self._tags = tags
        self._consent = consent
        self._profiles = profiles
        self._look = look
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def check_leave(self, user_id: UserId, room_id: str, membership: str) -> None:
        """Refuse to reject the invite to one's room for notices.  Raises :class:`CannotLeave`."""
        if membership != "invite":
            return
        if await storage.get_notice_room(self._database, user_id) == room_id:
            raise CannotLeave("This is where this server tells you what you must know")

    async def ensure(self, sender: UserId, user_id: UserId, fields: JsonObject) -> str:
        """A user's room for notices, into which they are invited, unless they are in it.

        ``fields``: of the sender's member event.
        """
        async with self._locks.setdefault(user_id, asyncio.Lock()):
            room_id = await storage.get_notice_room(self._database, user_id)
            if room_id is None:
                # So that the invite is not taken for a stranger's.
                for scope in (Scope.MESSAGE, Scope.GROUP):
                    await self._consent.grant_if_new(user_id, sender, scope, how=HOW)
                return await self._make(sender, user_id, fields)
            room = await self._rooms.get(room_id)
            if room.membership(user_id) not in ("join", "invite"):
                await self._rooms.send(room_id, await self._invite(sender, user_id), gated=False)
            if TAG not in await self._tags.get(user_id, room_id):
                await self._tags.put(user_id, room_id, TAG)
            return room_id

    async def _invite(self, sender: UserId, user_id: UserId) -> Draft:
        content = {**await self._profiles.member_fields(user_id), "membership": "invite"}
        return Draft(sender, "m.room.member", content, user_id)

    async def _make(self, sender: UserId, user_id: UserId, fields: JsonObject) -> str:
        """The room, its tag and its row, in one transaction."""
        version = ROOM_VERSIONS[self._look.version]

        def state(kind: str, content: JsonObject) -> Draft:
            return Draft(sender, kind, content, "")

        levels: JsonObject = {
            "users": {} if version.privileged_creators else {sender: TOP},
            "users_default": 0,
            "events_default": 50,  # it is read, not written to
            "state_default": TOP,
            "invite": TOP,
        }
        drafts = [
            Draft(sender, "m.room.member", {**fields, "membership": "join"}, sender),
            state("m.room.power_levels", levels),
            state("m.room.join_rules", {"join_rule": "invite"}),
            state("m.room.history_visibility", {"history_visibility": "shared"}),
            state("m.room.guest_access", {"guest_access": "forbidden"}),
            state("m.room.name", {"name": self._look.name}),
        ]
        if self._look.topic is not None:
            drafts.append(state("m.room.topic", {"topic": self._look.topic}))
        if self._look.avatar_url is not None:
            drafts.append(state("m.room.avatar", {"url": self._look.avatar_url}))
        drafts.append(await self._invite(sender, user_id))
        content: JsonObject = {"room_version": version.identifier, "m.federate": False}
        if not version.implicit_room_creator:
            content["creator"] = sender
        async with self._creation.new_room(sender, version, content, drafts) as (room, records):
            tag = AccountDataRecord(user_id, room.room_id, TAGS, {"tags": {TAG: {}}})
            row = NoticeRoomRecord(user_id, room.room_id)
            try:
                await unharmed(self._rooms.commit_together([(room, records)], row, tag))
            except asyncpg.UniqueViolationError as error:
                raise MatrixError("The user's room is just being made", status=503) from error
        return room.room_id
