"""Direct conversations: the one with somebody, found or made; and the notes to oneself."""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from homeserver.errors import MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.consent import Scope
from homeserver.services.conversations.direct_list import DirectList
from homeserver.services.conversations.inviting import check_exists
from homeserver.services.creation import InitialState, RoomCreation, RoomRequest
from homeserver.services.live_room import LiveRoom
from homeserver.services.membership import Membership
from homeserver.services.rooms import Rooms
from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.storage import conversations as storage
from homeserver.storage.database import Database
from homeserver.storage.rooms import is_direct_invite

logger = structlog.get_logger(__name__)

MOST_LOOKED_AT = 20  # of the rooms that are said to be direct with one person
NOTES = "Notes to self"
GRANTED = "granted"
ENCRYPTION: JsonObject = {"algorithm": "m.megolm.v1.aes-sha2"}


class Agreements(Protocol):
    """What people have agreed to."""

    async def state_of(self, owner: str, peer: str, scope: str) -> str | None:
        """What the owner said of this very peer: ``granted``, ...; None: nothing."""


class MemberProfiles(Protocol):
    """What goes into member events."""

    async def member_fields(self, user_id: UserId) -> JsonObject:
        """``displayname`` and ``avatar_url``, those that are set."""


class Direct:
    """Finds direct conversations, and makes those that there are not yet."""

    def __init__(
        self,
        *,
        server_name: str,
        default_version: str,
        database: Database,
        rooms: Rooms,
        rooms_of_users: RoomsOfUsers,
        membership: Membership,
        creation: RoomCreation,
        profiles: MemberProfiles,
        direct_list: DirectList,
        agreements: Agreements,
    ) -> None:
        self._server_name = server_name
        self._default_version = default_version
        self._database = database
        self._rooms = rooms
        self._rooms_of_users = rooms_of_users
        self._membership = membership
        self._creation = creation
        self._profiles = profiles
        self._list = direct_list
        self._agreements = agreements
        # One call at a time for each pair, whichever of the two it comes from.
        self._locks: WeakValueDictionary[frozenset[str], asyncio.Lock] = WeakValueDictionary()

    async def find_or_make(
        self, owner: UserId, peer: UserId, *, encrypted: bool = False
    ) -> tuple[str, bool]:
        """The direct conversation with somebody: its ID, and whether it was made just now.

        A message to oneself goes to one's notes.  What the peer wrote first is accepted; who left
        is invited anew.  ``encrypted``: whether a new one is.  Costs no query while the room is in
        memory.  Raises: :class:`NotFound` and :class:`Problem` ``account_ended`` where there is
        nobody of that name here; what consent and policy raise for an invite.
        """
        if owner == peer:
            return await self.find_or_make_notes(owner)
        room_id = await self._open_room(owner, peer)
        if room_id is not None:
            return room_id, False
        lock = self._locks.setdefault(frozenset((owner, peer)), asyncio.Lock())
        async with lock:
            found = (
                await self._open_room(owner, peer)
                or await self._accepted(owner, peer)
                or await self._left(owner, peer)
                or await self._unmarked(owner, peer)
            )
            if found is not None:
                return found, False
            return await self._make(owner, peer, encrypted=encrypted), True

    async def find_or_make_notes(self, owner: UserId) -> tuple[str, bool]:
        """One's notes to oneself: the conversation's ID, and whether it was made just now."""
        lock = self._locks.setdefault(frozenset((owner,)), asyncio.Lock())
        async with lock:
            for room_id in await self._candidates(owner, owner):
                room = await self._rooms.find(room_id)
                if room is not None and room.is_joined(owner) and is_alone(room):
                    return room_id, False
            room_id = await self._create(owner, RoomRequest(name=NOTES))
            await self._list.add(owner, owner, room_id)
            return room_id, True

    # ------------------------------------------------------------ finding

    async def _candidates(self, owner: UserId, peer: UserId) -> list[str]:
        """The rooms that are said to be direct, the last named first."""
        return (await self._list.rooms_with(owner, peer))[: -MOST_LOOKED_AT - 1 : -1]

    async def _open_room(self, owner: UserId, peer: UserId) -> str | None:
        """A room of the two in which the peer is, or else one to which they are invited."""
        invited = None
        for room_id in await self._candidates(owner, peer):
            room = await self._rooms.find(room_id)
            if room is None or not room.is_joined(owner) or not is_between_two(room):
                continue
            if room.is_joined(peer):
                return room_id
            if room.membership(peer) == "invite":
                invited = invited or room_id
        return invited

    async def _accepted(self, owner: UserId, peer: UserId) -> str | None:
        """A room to which the peer has invited the owner to talk: joined now."""
        rooms = await self._rooms_of_users.get(owner)
        for room_id, row in rooms.invited.items():
            if row.sender != peer or not is_direct_invite(row, owner):
                continue
            try:
                await self._membership.join(owner, room_id)
            except MatrixError as error:
                if error.status >= 500:
                    raise
                logger.info("invite not accepted", room_id=room_id, reason=error.text)
                continue
            await self._list.add(owner, peer, room_id)
            return room_id
        return None

    async def _left(self, owner: UserId, peer: UserId) -> str | None:
        """A room that the peer has left: they are invited anew."""
        for room_id in await self._candidates(owner, peer):
            room = await self._rooms.find(room_id)
            if room is None or not room.is_joined(owner) or not is_alone(room):
                continue
            levels = room.power_levels
            if room.membership(peer) == "ban" or levels.user(owner) < levels.invite:
                continue
            await self.invite(owner, room_id, peer)
            return room_id
        return None

    async def _unmarked(self, owner: UserId, peer: UserId) -> str | None:
        """A room of the two that was made to be direct, which no client has noted."""
        found = await storage.get_unmarked_direct_rooms(self._database, owner, peer, 1)
        for room_id in found:
            await self._list.add(owner, peer, room_id)
            return room_id
        return None

    # ------------------------------------------------------------ making

    async def _make(self, owner: UserId, peer: UserId, *, encrypted: bool) -> str:
        await check_exists(self._database, peer, self._server_name)
        await self._membership.check_invites(owner, (peer,), is_direct=True)
        request = self._request(owner, peer, encrypted=encrypted)
        room_id = await self._create(owner, request)
        try:
            await self.invite(owner, room_id, peer)
        except BaseException:
            await self._give_up(owner, room_id)
            raise
        await self._list.add(owner, peer, room_id)
        await self._let_in(owner, room_id, peer)
        return room_id

    async def _let_in(self, owner: UserId, room_id: str, peer: UserId) -> None:
        """Whoever has agreed to hear from the owner (a contact) need not be asked again.

        In a new conversation alone: who has left one stays out until they come back themselves.
        """
        if peer.server_name != self._server_name:
            return
        if await self._agreements.state_of(peer, owner, Scope.MESSAGE) != GRANTED:
            return
        try:
            await self._membership.join(peer, room_id)
        except MatrixError as error:
            logger.info("a contact was not let in", room_id=room_id, reason=error.text)
            return  # they have their invitation
        await self._list.add(peer, owner, room_id)

    def _request(self, owner: UserId, peer: UserId, *, encrypted: bool) -> RoomRequest:
        """A room that both govern."""
        privileged = ROOM_VERSIONS[self._default_version].privileged_creators
        return RoomRequest(
            preset="trusted_private_chat",
            is_direct=True,
            creation_content={"additional_creators": [peer]} if privileged else {},
            power_levels={} if privileged else {"users": {owner: 100, peer: 100}},
            initial_state=[InitialState("m.room.encryption", "", ENCRYPTION)] if encrypted else [],
        )

    async def _create(self, owner: UserId, request: RoomRequest) -> str:
        return await self._creation.create(
            owner, request, await self._profiles.member_fields(owner)
        )

    async def invite(self, owner: UserId, room_id: str, peer: UserId) -> None:
        """Invite somebody to talk.  Raises what consent and policy raise."""
        await self._membership.invite(owner, room_id, peer, content={"is_direct": True})

    async def _give_up(self, owner: UserId, room_id: str) -> None:
        """Nobody needs a room whose only guest could not be invited."""
        try:
            await self._membership.leave(owner, room_id)
            await self._membership.forget(owner, room_id)
        except MatrixError as error:
            logger.warning("an empty room is left", room_id=room_id, reason=error.text)


def is_between_two(room: LiveRoom) -> bool:
    """Whether nobody else would read what one of two writes there."""
    return room.joined_count + room.invited_count <= 2


def is_alone(room: LiveRoom) -> bool:
    """Whether there is nobody but one."""
    return room.joined_count + room.invited_count <= 1
