"""A conversation's members: listing, inviting, removing and banning them."""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.access import (
    Access,
    require,
    require_above,
    standing_of,
)
from homeserver.services.conversations.inviting import Inviting
from homeserver.services.conversations.member_views import MemberViews
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.shapes.conversations import (
    EffectivePermissions,
    Invited,
    Member,
    MemberProblem,
    MembersQuery,
)
from homeserver.services.conversations.shapes.pages import Page
from homeserver.services.conversations.shapes.people import address
from homeserver.services.live_room import LiveRoom
from homeserver.services.membership import Membership


class Members:
    """Reads and changes who is in a conversation, on behalf of a member."""

    def __init__(
        self,
        *,
        server_name: str,
        access: Access,
        views: MemberViews,
        inviting: Inviting,
        membership: Membership,
    ) -> None:
        self._server_name = server_name
        self._access = access
        self._views = views
        self._inviting = inviting
        self._membership = membership

    # ------------------------------------------------------------ reading

    async def page(self, user_id: str, room_id: str, query: MembersQuery) -> Page[Member]:
        """A page of members.  Raises what :meth:`Access.room` raises."""
        room = await self._access.room(user_id, room_id)
        return await self._views.page(room_id, standing_of(room), query)

    async def get(self, user_id: str, room_id: str, person: UserId) -> Member:
        """One member.  Raises :class:`NotFound`, and what :meth:`Access.room` raises."""
        return await self._get(await self._access.room(user_id, room_id), person)

    async def permissions(self, user_id: str, room_id: str, person: UserId) -> EffectivePermissions:
        """What a member may do.  Raises :class:`NotFound`, and what :meth:`Access.room` raises."""
        room = await self._access.room(user_id, room_id)
        if not room.is_joined(person):
            raise no_such_member()
        standing = standing_of(room)
        return EffectivePermissions(
            person=address(person),
            role=standing.role(person),
            permissions=standing.effective(person),
        )

    async def _get(self, room: LiveRoom, person: UserId) -> Member:
        found = await self._views.one(room.room_id, standing_of(room), person)
        if found is None:
            raise no_such_member()
        return found

    # ------------------------------------------------------------ coming

    async def add(
        self, user_id: UserId, room_id: str, people: Sequence[UserId], reason: str | None
    ) -> Invited:
        """Invite people; who is in already, or asked to be let in, is let in.

        Raises what :meth:`Access.allowed` raises; what stands against somebody is in the answer.
        """
        room = await self._access.allowed(user_id, room_id, "invite")
        banned = [person for person in people if room.membership(person) == "ban"]
        wanted = [
            person for person in people if room.membership(person) not in ("join", "invite", "ban")
        ]
        asking = {person for person in wanted if room.membership(person) == "knock"}
        await self._inviting.invite(user_id, room_id, wanted, reason=reason)
        for person in asking:
            await self._let_in(room_id, person)
        listed = [person for person in people if person not in banned]
        members = await self._views.named(room_id, standing_of(room), listed)
        problems = [m.problem for m in members if m.problem is not None]
        return Invited(
            members=members,
            problems=[
                *problems,
                *(
                    MemberProblem(
                        person=address(person),
                        code="banned",
                        detail="That person is banned: lift the ban first",
                    )
                    for person in banned
                ),
            ],
        )

    async def _let_in(self, room_id: str, person: UserId) -> None:
        """Who asked to be let in, and is one of ours, need not be asked whether they want it."""
        if person.server_name != self._server_name:
            return
        try:
            await self._membership.join(person, room_id)
        except MatrixError:
            return  # they have their invitation

    async def approve(self, user_id: UserId, room_id: str, person: UserId) -> Member:
        """Let in somebody who asks for it.

        Raises :class:`Problem` ``not_asked``, what :meth:`Access.allowed` raises, and what consent
        and policy raise.
        """
        room = await self._access.allowed(user_id, room_id, "invite")
        _require_asking(room, person)
        await self._membership.invite(user_id, room_id, person)
        await self._let_in(room_id, person)
        return await self._get(room, person)

    async def refuse(
        self, user_id: UserId, room_id: str, person: UserId, reason: str | None
    ) -> Member:
        """Refuse somebody who asks to be let in.

        Raises :class:`Problem` ``not_asked``, and what :meth:`Access.allowed` raises.
        """
        room = await self._access.allowed(user_id, room_id, "remove")
        _require_asking(room, person)
        await self._membership.kick(user_id, room_id, person, reason)
        return await self._get(room, person)

    # ------------------------------------------------------------ going

    async def remove(
        self, user_id: UserId, room_id: str, person: UserId, reason: str | None
    ) -> None:
        """Remove a member, or take back an invitation.

        Raises :class:`InvalidParam` for oneself, :class:`NotFound` for whom there is nothing to
        remove, and what :meth:`Access.allowed` raises.
        """
        room = await self._access.room(user_id, room_id)
        if person == user_id:
            raise InvalidParam("To go yourself, leave the conversation")
        pending = await self._inviting.pending(room_id, (person,))
        if pending:
            require(standing_of(room), user_id, "invite")
            await self._inviting.forget(room_id, (person,))
        if room.membership(person) not in ("join", "invite", "knock"):
            if not pending:
                raise no_such_member()
            return
        require(standing_of(room), user_id, "remove")
        require_above(standing_of(room), user_id, person)
        await self._membership.kick(user_id, room_id, person, reason)

    async def ban(
        self, user_id: UserId, room_id: str, person: UserId, reason: str | None
    ) -> Member:
        """Remove somebody for good: they cannot come back until the ban is lifted.

        Raises :class:`InvalidParam` for oneself, and what :meth:`Access.allowed` raises.
        """
        room = await self._access.allowed(user_id, room_id, "moderate")
        if person == user_id:
            raise InvalidParam("You cannot ban yourself")
        require_above(standing_of(room), user_id, person)
        await self._inviting.forget(room_id, (person,))
        if room.membership(person) != "ban":
            await self._membership.set_membership(user_id, room_id, person, "ban", reason=reason)
        return await self._get(room, person)

    async def unban(
        self, user_id: UserId, room_id: str, person: UserId, reason: str | None
    ) -> Member:
        """Lift a ban.

        Raises :class:`Problem` ``not_banned``, and what :meth:`Access.allowed` raises.
        """
        room = await self._access.allowed(user_id, room_id, "moderate", "remove")
        if room.membership(person) != "ban":
            raise Problem("not_banned", "That person is not banned", status=409)
        require_above(standing_of(room), user_id, person)
        await self._membership.unban(user_id, room_id, person, reason)
        return await self._get(room, person)


def no_such_member() -> NotFound:
    """The answer to whoever asks for somebody who never was in the conversation."""
    return NotFound("That person is not in this conversation")


def _require_asking(room: LiveRoom, person: UserId) -> None:
    if room.membership(person) != "knock":
        raise Problem("not_asked", "That person does not ask to be let in", status=409)
