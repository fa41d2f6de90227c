"""Coming into conversations and going: invitations, open ones, asking to be let in, leaving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from homeserver.errors import MatrixError, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.conversations import Conversations, no_such_conversation
from homeserver.services.conversations.direct_list import DirectList, Invitations
from homeserver.services.conversations.groups import Groups
from homeserver.services.conversations.own_settings import Settings
from homeserver.services.conversations.problems import Problem
from homeserver.services.directory import Directory
from homeserver.services.live_room import JOIN_RULES
from homeserver.services.membership import Membership
from homeserver.services.rooms import Rooms
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database


class EntryList(Protocol):
    """What the admin's lists say of rooms."""

    def check_entry(self, user_id: str, room: str) -> None:
        """Raise :class:`Forbidden` for a room, or an alias, that is listed."""


class Entering:
    """Takes users into conversations, and out of them."""

    def __init__(
        self,
        *,
        database: Database,
        rooms: Rooms,
        directory: Directory,
        lists: EntryList,
        membership: Membership,
        conversations: Conversations,
        direct_list: DirectList,
        groups: Groups,
        settings: Settings,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._directory = directory
        self._lists = lists
        self._membership = membership
        self._conversations = conversations
        self._direct_list = direct_list
        self._invitations = Invitations(
            database=database, membership=membership, direct_list=direct_list
        )
        self._groups = groups
        self._settings = settings

    # ------------------------------------------------------------ invitations

    async def accept(self, user_id: UserId, room_id: str) -> None:
        """Accept an invitation, or a stranger's request, which grants them to write.

        Doing it twice is no error.  Raises :class:`Problem` ``not_invited``, :class:`NotFound`,
        and what joining raises.
        """
        row = await storage.get_membership(self._database, room_id, user_id)
        if row is None or row.forgotten:
            raise no_such_conversation()
        if row.membership == "join":
            return
        if row.membership != "invite":
            raise not_invited()
        await self._invitations.join(user_id, room_id)

    async def decline(self, user_id: UserId, room_id: str, reason: str | None) -> None:
        """Decline an invitation, or a stranger's request.

        Raises :class:`Problem` ``not_invited``, :class:`NotFound`.
        """
        row = await storage.get_membership(self._database, room_id, user_id)
        if row is None or row.forgotten:
            raise no_such_conversation()
        if row.membership != "invite":
            raise not_invited()
        await self._membership.leave(user_id, room_id, reason=reason)

    # ------------------------------------------------------------ without being invited

    async def join(
        self, user_id: UserId, named: str, *, via: Sequence[str], reason: str | None
    ) -> str:
        """Join an open conversation, named by its ID or its address (``#boats:example.org``); its
        ID.

        Raises :class:`NotFound`; :class:`Problem` ``approval_needed``, ``banned``; and what joining
        raises.
        """
        room_id, servers = await self._find(user_id, named, via)
        await self._check_open(user_id, room_id)
        await self._membership.join(user_id, room_id, servers=servers, reason=reason)
        return room_id

    async def _check_open(self, user_id: UserId, room_id: str) -> None:
        rule = await self._join_rule(user_id, room_id)
        if rule == "knock":
            raise Problem("approval_needed", "One has to ask to be let in here", status=403)
        if rule is not None and rule not in ("public", "restricted", "knock_restricted"):
            raise no_such_conversation()

    async def _check_askable(self, user_id: UserId, room_id: str) -> None:
        rule = await self._join_rule(user_id, room_id)
        if rule == "public":
            raise Problem("open", "This conversation is open: join it", status=409)
        if rule is not None and rule not in ("knock", "knock_restricted"):
            raise no_such_conversation()

    async def _join_rule(self, user_id: UserId, room_id: str) -> str | None:
        """How one gets in; None if we cannot say, or if the user may come in any case."""
        room = await self._rooms.find(room_id)
        if room is None or not room.joined_local:
            return None
        membership = room.membership(user_id)
        if membership == "ban":
            raise Problem("banned", "You are banned from this conversation", status=403)
        if membership in ("join", "invite"):
            return None
        return str(room.content(JOIN_RULES).get("join_rule", "invite"))

    async def ask(
        self, user_id: UserId, named: str, *, via: Sequence[str], message: str | None
    ) -> str:
        """Ask to be let in; the conversation's ID.  Doing it twice is no error.

        Raises :class:`NotFound`; :class:`Problem` ``open``, ``banned``; and what knocking raises.
        """
        room_id, servers = await self._find(user_id, named, via)
        row = await storage.get_membership(self._database, room_id, user_id)
        if row is not None and row.membership in ("join", "invite", "knock"):
            return room_id
        await self._check_askable(user_id, room_id)
        await self._membership.knock(user_id, room_id, servers=servers, reason=message)
        return room_id

    async def _find(self, user_id: UserId, named: str, via: Sequence[str]) -> tuple[str, list[str]]:
        self._lists.check_entry(user_id, named)
        try:
            return await self._directory.resolve(named, via)
        except MatrixError as error:
            if error.status in (400, 404):
                raise no_such_conversation() from error
            raise

    # ------------------------------------------------------------ going

    async def leave(self, user_id: UserId, room_id: str, reason: str | None) -> None:
        """Leave a conversation, or take back that one asked to be let in.

        Doing it twice is no error.  Raises :class:`NotFound`, and :class:`Problem`
        ``owner_must_hand_over`` for a group's last owner.
        """
        if await self._conversations.entry(user_id, room_id) is None:
            row = await storage.get_membership(self._database, room_id, user_id)
            if row is None or row.forgotten or row.membership != "leave":
                raise no_such_conversation()
            return
        peers = await self._direct_list.peers_by_room(user_id)
        if room_id not in peers:
            await self._groups.check_departure(user_id, room_id)
        await self._membership.leave(user_id, room_id, reason=reason)

    async def delete(self, user_id: UserId, room_id: str) -> None:
        """Leave a conversation and forget it: it is gone for this user, with what they set of it.

        Raises what :meth:`leave` raises.
        """
        await self.leave(user_id, room_id, None)
        try:
            await self._membership.forget(user_id, room_id)
        except MatrixError as error:
            raise NotFound("There is no such conversation") from error
        await self._direct_list.remove(user_id, room_id)
        await self._settings.forget(user_id, room_id)


def not_invited() -> Problem:
    """The answer to whoever answers an invitation that there is not."""
    return Problem("not_invited", "There is no invitation to answer", status=409)
