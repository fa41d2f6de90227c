"""Joining, leaving, inviting, knocking, kicking, banning: here, or with another instance's help."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum, auto
from typing import Protocol

import structlog

from homeserver.errors import Forbidden, MatrixError, NotFound
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.services.arrivals import Arrivals
from homeserver.services.judgement import Action
from homeserver.services.live_room import JOIN_RULES, LiveRoom
from homeserver.services.rooms import Draft, Rooms, SendGate, Sent
from homeserver.storage import rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord

logger = structlog.get_logger(__name__)

RESTRICTED = ("restricted", "knock_restricted")
# What a user does not say of their own join: it means something to servers.
NOT_OWN = frozenset(
    {
        "membership",
        "reason",
        "third_party_signed",
        "third_party_invite",
        "join_authorised_via_users_server",
    }
)


class Conditions(Enum):
    """Whether somebody meets a restricted room's conditions, as far as can be seen from here."""

    MET = auto()
    NOT_MET = auto()
    UNKNOWN = auto()  # this server is not in every room that is named


class RemoteRooms(Protocol):
    """What membership needs of other instances; ``federation`` provides it."""

    async def join(
        self, user_id: UserId, room_id: str, servers: Sequence[str], content: JsonObject
    ) -> Sent:
        """Join a room through one of the servers (make_join, send_join)."""

    async def knock(
        self, user_id: UserId, room_id: str, servers: Sequence[str], content: JsonObject
    ) -> str:
        """Knock through one of the servers (make_knock, send_knock); the event's ID."""

    async def leave(
        self, user_id: UserId, room_id: str, servers: Sequence[str], content: JsonObject
    ) -> None:
        """Reject an invite or take back a knock (make_leave, send_leave)."""

    async def invite(self, room: LiveRoom, event: Event, stripped_state: list[JsonObject]) -> Event:
        """Have the invited user's server sign an invite; the event with its signature."""


class InviteGate(SendGate, Protocol):
    """Consent and policy for invites."""

    async def may_invite(self, inviter: UserId, invitee: UserId, *, is_direct: bool) -> None:
        """Raise ``M_INVITE_BLOCKED``, ``M_CONSENT_NOT_GIVEN``, ... if it may not be sent."""

    async def check_invite(
        self, inviter: UserId, invitee: UserId, room_id: str, *, is_direct: bool
    ) -> object:
        """The same for an invite that now goes out, and is counted."""

    async def invite_answered(self, invitee: UserId, inviter: str, *, accepted: bool) -> None:
        """Note that the invitee agreed to hear from the inviter, or did not."""

    async def check_knock(self, room: LiveRoom, user_id: str) -> None:
        """Raise :class:`Forbidden` if nobody here wants to hear a knock."""


class MemberProfiles(Protocol):
    """What goes into a member event of ours."""

    async def member_fields(self, user_id: UserId) -> JsonObject:
        """``displayname`` and ``avatar_url``, those that are set."""


class Membership:
    """Changes who is in a room."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        rooms: Rooms,
        arrivals: Arrivals,
        remote: RemoteRooms,
        gate: InviteGate,
        profiles: MemberProfiles,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._rooms = rooms
        self._arrivals = arrivals
        self._remote = remote
        self._gate = gate
        self._profiles = profiles
        self.on_joined: Callable[[UserId, str], Awaitable[None]] | None = None
        """Told of each of ours who has joined a room by their own request."""
        self.check_leave: Callable[[UserId, str, str], Awaitable[None]] | None = None
        """Raises what keeps one of ours, with this membership, from leaving a room."""

    # ------------------------------------------------------------ coming

    async def join(
        self,
        user_id: UserId,
        room_id: str,
        *,
        servers: Iterable[str] = (),
        reason: str | None = None,
        extra: JsonObject | None = None,
    ) -> None:
        """Join a local user to a room, through other instances if we are not in it.

        ``servers``: instances that may know the room.  ``extra``: what else goes into the member
        event; a name or avatar in it is for this room alone.  Spec: ``POST /join/{roomIdOrAlias}``.
        """
        content: JsonObject = {
            **await self._profiles.member_fields(user_id),
            **(extra or {}),
            "membership": "join",
        }
        if reason is not None:
            content["reason"] = reason
        room = await self._rooms.find(room_id)
        if room is not None and room.is_joined(user_id):
            return
        before = await storage.get_membership(self._database, room_id, user_id)
        await self._enter(user_id, room_id, room, servers, content)
        if before is not None and before.membership == "invite":
            await self._gate.invite_answered(user_id, before.sender, accepted=True)
        if self.on_joined is not None:
            await self.on_joined(user_id, room_id)

    async def _enter(
        self,
        user_id: UserId,
        room_id: str,
        room: LiveRoom | None,
        servers: Iterable[str],
        content: JsonObject,
    ) -> None:
        """Join from here if we are in the room and may let the user in, else through others."""
        if room is not None and has_say(room):
            authorised = await self._authorising_user(room, user_id)
            if authorised is not None:
                content["join_authorised_via_users_server"] = authorised
            if authorised is not None or not self._needs_authorising(room, user_id):
                await self._rooms.send(room_id, Draft(user_id, "m.room.member", content, user_id))
                return
        candidates = await self._candidates(user_id, room_id, servers, room)
        if not candidates:
            if room is not None and room.joined_local:
                raise Forbidden("You are in none of the rooms whose members may join this one")
            raise NotFound("This server does not know that room, nor another server to ask")
        await self._remote.join(user_id, room_id, candidates, content)

    def _needs_authorising(self, room: LiveRoom, user_id: UserId) -> bool:
        return (
            room.version.restricted_join_rule
            and room.content(JOIN_RULES).get("join_rule") in RESTRICTED
            and room.membership(user_id) not in ("invite", "join")
        )

    async def _authorising_user(self, room: LiveRoom, user_id: UserId) -> str | None:
        """One of ours who may let the user in, if they meet a restricted room's conditions."""
        if not self._needs_authorising(room, user_id):
            return None
        if await self.conditions(room, user_id) is not Conditions.MET:
            return None
        return self.authorising_user(room)

    async def conditions(self, room: LiveRoom, user_id: str) -> Conditions:
        """Whether a user is in a room that a restricted join rule names.

        Spec: room version 8, restricted rooms; server-server API, restricted rooms.
        """
        found = Conditions.NOT_MET
        allow = room.content(JOIN_RULES).get("allow")
        for condition in allow if isinstance(allow, list) else ():
            if not isinstance(condition, dict) or condition.get("type") != "m.room_membership":
                continue
            allowed_id = condition.get("room_id")
            if not isinstance(allowed_id, str):
                continue
            other = await self._rooms.find(allowed_id)
            if other is None or not other.joined_local:
                found = Conditions.UNKNOWN
            elif other.is_joined(user_id):
                return Conditions.MET
        return found

    def authorising_user(self, room: LiveRoom) -> str | None:
        """A joined user of ours with the power to invite."""
        best = max(room.joined_local, key=room.power_levels.user, default=None)
        return best if best is not None and self.may_authorise(room, best) else None

    def may_authorise(self, room: LiveRoom, user_id: str) -> bool:
        """Whether a user of ours may let others into a restricted room."""
        levels = room.power_levels
        return user_id in room.joined_local and levels.user(user_id) >= levels.invite

    async def _candidates(
        self, user_id: UserId, room_id: str, servers: Iterable[str], room: LiveRoom | None
    ) -> list[str]:
        """Instances to ask: those named, the inviter's, those in the room, the room ID's own."""
        names = list(servers)
        invited = await storage.get_membership(self._database, room_id, user_id)
        if invited is not None and invited.membership in ("invite", "knock"):
            names.append(server_name_of(invited.sender))
        if room is not None:
            names.extend(room.destinations)
        if ":" in room_id:
            names.append(server_name_of(room_id))
        return [name for name in dict.fromkeys(names) if name != self._server_name]

    async def knock(
        self,
        user_id: UserId,
        room_id: str,
        *,
        servers: Iterable[str] = (),
        reason: str | None = None,
        extra: JsonObject | None = None,
    ) -> None:
        """Ask to be let in.  ``extra``: as for :meth:`join`.

        Spec: ``POST /knock/{roomIdOrAlias}``.
        """
        content: JsonObject = {
            **await self._profiles.member_fields(user_id),
            **(extra or {}),
            "membership": "knock",
        }
        if reason is not None:
            content["reason"] = reason
        room = await self._rooms.find(room_id)
        if room is not None and room.joined_local:
            await self._gate.check_knock(room, user_id)
            await self._rooms.send(room_id, Draft(user_id, "m.room.member", content, user_id))
            return
        candidates = await self._candidates(user_id, room_id, servers, room)
        if not candidates:
            raise NotFound("This server does not know that room, nor another server to ask")
        await self._remote.knock(user_id, room_id, candidates, content)

    async def check_knock(self, room: LiveRoom, user_id: str) -> None:
        """Refuse a knock that nobody here wants to hear.  Raises :class:`Forbidden`."""
        await self._gate.check_knock(room, user_id)

    # ------------------------------------------------------------ inviting

    async def check_invites(
        self, inviter: UserId, invitees: Iterable[UserId], is_direct: bool
    ) -> None:
        """Ask consent and policy for several invites before any is sent.

        Raises :class:`Forbidden` for who would invite themselves; what consent and policy raise.
        """
        for invitee in invitees:
            if invitee == inviter:
                raise Forbidden("You are in the room already: you cannot invite yourself")
            await self._gate.may_invite(inviter, invitee, is_direct=is_direct)

    async def invite(
        self,
        inviter: UserId,
        room_id: str,
        invitee: UserId,
        *,
        content: JsonObject | None = None,
        reason: str | None = None,
        sent_at: int | None = None,
    ) -> None:
        """Invite a user, here or on another instance.  Spec: ``POST /rooms/{roomId}/invite``.

        ``sent_at``: the event's time, where it is not now (ms).
        """
        room = await self._rooms.get_joined(room_id, inviter)
        if room.is_joined(invitee):
            raise already_joined()
        body: JsonObject = {**(content or {}), "membership": "invite"}
        if reason is not None:
            body["reason"] = reason
        await self._invite(room, inviter, invitee, body, sent_at)

    async def place_invite(
        self, room: LiveRoom, inviter: UserId, invitee: UserId, content: JsonObject
    ) -> EventRecord:
        """Invite a local user into a room that is being made; to be committed with the room.

        Call it with the room's lock held.  Raises what :meth:`invite` raises.
        """
        if room.is_joined(invitee):
            raise already_joined()
        draft = await self._invitation(room, inviter, invitee, {**content, "membership": "invite"})
        return await self._rooms.place(room, draft, await self._gate.check_send(room, draft))

    async def exchange(
        self, room: LiveRoom, inviter: UserId, invitee: UserId, proof: JsonObject
    ) -> None:
        """Invite the owner of an address that a local user invited to a room of ours.

        ``proof``: what goes into the event as ``third_party_invite``.  The inviter need not be in
        the room any more: the auth rules look at their ``m.room.third_party_invite``.
        Spec: server-server API, third-party invites.
        """
        body: JsonObject = {"membership": "invite", "third_party_invite": proof}
        await self._invite(room, inviter, invitee, body)

    async def _invite(
        self,
        room: LiveRoom,
        inviter: UserId,
        invitee: UserId,
        body: JsonObject,
        sent_at: int | None = None,
    ) -> None:
        draft = await self._invitation(room, inviter, invitee, body, sent_at)
        if invitee.server_name == self._server_name:
            await self._rooms.send(room.room_id, draft)
            return
        judgement = await self._gate.check_send(room, draft)
        if judgement.action is not Action.ACCEPT:
            return  # kept from everybody, of which the sender is not told
        async with room.lock:
            event = await self._rooms.build_signed(room, draft)
            stripped = self._rooms.invite_room_state(room, event)
        signed = await self._remote.invite(room, event, stripped)
        # to all in the room: the invited user's server too, if others of its users are there
        judgement = await self._arrivals.receive(signed, relay_from=self._server_name)
        if judgement.action not in (Action.ACCEPT, Action.DUPLICATE):
            raise Forbidden(judgement.reason or "The invite is no longer allowed")

    async def _invitation(
        self,
        room: LiveRoom,
        inviter: UserId,
        invitee: UserId,
        body: JsonObject,
        sent_at: int | None = None,
    ) -> Draft:
        """The draft of an invite that consent was asked for.  Raises what it says."""
        is_direct = body.get("is_direct") is True
        await self._gate.check_invite(inviter, invitee, room.room_id, is_direct=is_direct)
        if invitee.server_name == self._server_name:
            body.update(await self._profiles.member_fields(invitee))
        return Draft(inviter, "m.room.member", body, invitee, origin_server_ts=sent_at)

    # ------------------------------------------------------------ going

    async def leave(self, user_id: UserId, room_id: str, *, reason: str | None = None) -> None:
        """Leave a room, reject an invite or take back a knock.

        Spec: ``POST /rooms/{roomId}/leave``.
        """
        await self.require_leave(user_id, room_id)
        await self._leave(user_id, room_id, reason)

    async def take_out(self, user_id: UserId, room_id: str, reason: str | None) -> None:
        """Have a local user leave, reject an invite or take back a knock, by an admin's order.

        Nobody is asked; rooms that users have to keep are left, too.
        """
        await self._leave(user_id, room_id, reason, gated=False)

    async def require_leave(self, user_id: UserId, room_id: str) -> None:
        """Refuse to let a user leave a room that they have to keep.

        Raises ``M_CANNOT_LEAVE_SERVER_NOTICE_ROOM``.
        """
        if self.check_leave is None:
            return
        room = await self._rooms.find(room_id)
        if room is not None:
            await self.check_leave(user_id, room_id, room.membership(user_id))

    async def _leave(
        self, user_id: UserId, room_id: str, reason: str | None, *, gated: bool = True
    ) -> None:
        content: JsonObject = {"membership": "leave"}
        if reason is not None:
            content["reason"] = reason
        room = await self._rooms.find(room_id)
        row = await storage.get_membership(self._database, room_id, user_id)
        if room is not None and has_say(room):
            if room.membership(user_id) == "leave":
                if row is None:
                    raise Forbidden("You are not in that room")
                return
            draft = Draft(user_id, "m.room.member", content, user_id)
            await self._rooms.send(room_id, draft, gated=gated)
        elif row is None:
            raise NotFound("You are not in that room")
        elif row.membership in ("invite", "knock"):
            servers = await self._candidates(user_id, room_id, (), room)
            await self._remote.leave(user_id, room_id, servers, content)
        if row is not None and row.membership == "invite":
            await self._gate.invite_answered(user_id, row.sender, accepted=False)

    async def set_membership(
        self,
        sender: UserId,
        room_id: str,
        target: UserId,
        membership: str,
        *,
        reason: str | None = None,
    ) -> None:
        """Kick (``leave``), ban or unban (``leave`` of a banned user) somebody else.

        Spec: ``POST /rooms/{roomId}/kick``, ``/ban``, ``/unban``.
        """
        room = await self._rooms.get_joined(room_id, sender)
        content: JsonObject = {"membership": membership}
        if reason is not None:
            content["reason"] = reason
        if membership == "leave" and room.membership(target) not in (
            "join",
            "invite",
            "knock",
            "ban",
        ):
            raise Forbidden("That user is not in the room")
        await self._rooms.send(room_id, Draft(sender, "m.room.member", content, target))

    async def kick(
        self, sender: UserId, room_id: str, target: UserId, reason: str | None = None
    ) -> None:
        """Remove somebody who is in the room, invited, or knocking."""
        room = await self._rooms.get_joined(room_id, sender)
        if room.membership(target) == "ban":
            raise Forbidden("That user is banned: unban them instead")
        if sender == target:
            await self.require_leave(target, room_id)
        await self.set_membership(sender, room_id, target, "leave", reason=reason)

    async def unban(
        self, sender: UserId, room_id: str, target: UserId, reason: str | None = None
    ) -> None:
        """Lift a ban.  Raises 403 ``M_BAD_STATE`` for who is not banned."""
        room = await self._rooms.get_joined(room_id, sender)
        if room.membership(target) != "ban":
            raise MatrixError("That user is not banned", errcode="M_BAD_STATE", status=403)
        await self.set_membership(sender, room_id, target, "leave", reason=reason)

    async def forget(self, user_id: UserId, room_id: str) -> None:
        """Forget a room that the user has left.  Spec: ``POST /rooms/{roomId}/forget``."""
        if not await storage.set_forgotten(self._database, room_id, user_id):
            raise MatrixError("You must leave the room before you can forget it")

    async def leave_all(self, user_id: UserId) -> None:
        """Leave every room and reject every invite: for an account that is deactivated."""
        rows = await storage.get_user_rooms(self._database, user_id, ("join", "invite", "knock"))
        for row in rows:
            try:
                await self._leave(user_id, row.room_id, None)
            except MatrixError as error:
                logger.warning("could not leave", room_id=row.room_id, reason=error.text)


def has_say(room: LiveRoom) -> bool:
    """Whether what happens in a room may be decided here.

    That is where one of ours is in it; and where nobody is any more, if one of ours was there to
    the end: then no other instance knows better.
    """
    return bool(room.joined_local) or (not room.hosts and bool(room.extremities))


def own_fields(body: JsonObject) -> JsonObject:
    """What a user may put into the member event of their own join or knock."""
    return {key: value for key, value in body.items() if key not in NOT_OWN}


def already_joined() -> Forbidden:
    """The answer to who invites somebody who is in the room."""
    return Forbidden("That user is already in the room")
