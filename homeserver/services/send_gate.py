"""The gate on the way out: policy, then consent, before a local event is built; and for invites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from homeserver.errors import Forbidden, InviteBlocked, LimitExceeded
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.account_standing import AccountStanding
from homeserver.services.consent import Answer, Consent, Scope
from homeserver.services.consent.peers import PeerConsent
from homeserver.services.consent.requests import MessageRequests
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy import Policy
from homeserver.services.policy.subject import UnseenRoom
from homeserver.services.policy_lists.gate import ListGate, with_flags
from homeserver.services.room_blocks import RoomBlocks
from homeserver.services.rooms import Draft

MOST_ASKED_ABOUT_KNOCKS = 50


class Unmade(Protocol):
    """Users who are made when somebody means them."""

    async def expect_user(self, user_id: str) -> None:
        """Have a local user made, if there is none and somebody knows them."""


class OutgoingGate:
    """Asks policy and consent for what local users send, and for invites and knocks."""

    def __init__(
        self,
        *,
        server_name: str,
        standing: AccountStanding,
        room_blocks: RoomBlocks,
        policy: Policy,
        lists: ListGate,
        consent: Consent,
        requests: MessageRequests,
        peers: PeerConsent,
    ) -> None:
        self._server_name = server_name
        self._standing = standing
        self._room_blocks = room_blocks
        self._policy = policy
        self._lists = lists
        self._consent = consent
        self._requests = requests
        self._peers = peers
        self.unmade: Unmade | None = None

    async def check_send(self, room: LiveRoom, draft: Draft) -> Judgement:
        """Policy's verdict.  Raises what policy and consent raise.

        Leaving a room needs nobody's consent, nor does what stays on this instance.
        """
        await self._standing.check_send(draft)
        self._room_blocks.check_send(room, draft)
        flags = self._lists.check_send(room, draft)
        judgement = with_flags(await self._policy.judge_send(room, draft), flags)
        if room.destinations and not self._is_departure(draft):
            await self._consent.require_federation(UserId(draft.sender), room.destinations)
            if draft.state_key is None:
                await self._peers.check_message(draft.sender, draft.type, room)
        return judgement

    def _is_departure(self, draft: Draft) -> bool:
        return draft.type == "m.room.member" and draft.content.get("membership") == "leave"

    async def check_remote_join(self, user_id: UserId, room_id: str, server_name: str) -> None:
        """Lists, and consent to joining a room on another instance, or knocking there."""
        self._standing.require_active(user_id)
        self._room_blocks.check(room_id)
        self._lists.check_entry(user_id, room_id)
        await self._consent.require_federation(user_id, (server_name,))

    # ------------------------------------------------------------ invites

    async def may_invite(self, inviter: UserId, invitee: UserId, *, is_direct: bool) -> None:
        """Raise what :meth:`check_invite` would raise; leaves no trace but for lists."""
        self._standing.require_active(inviter)
        self._lists.check_invitee(inviter, invitee)
        if invitee.server_name != self._server_name:
            await self._consent.require_federation(inviter, (invitee.server_name,))
        else:
            await self.expect(invitee)
            await self._requests.may_invite(invitee, inviter, is_direct=is_direct)

    async def expect(self, invitee: UserId) -> None:
        """Somebody means a local user, whom an application service may have to make first."""
        if self.unmade is not None:
            await self.unmade.expect_user(invitee)

    async def may_be_invited(self, invitee: UserId, inviter: UserId, room_id: str) -> None:
        """Raise what :meth:`check_incoming_invite` would raise; leaves no trace but for lists."""
        self._room_blocks.check(room_id)
        self._lists.check_inviter(inviter, room_id)
        await self._requests.may_invite(invitee, inviter, is_direct=False)

    async def check_invite(
        self, inviter: UserId, invitee: UserId, room_id: str, *, is_direct: bool
    ) -> Answer:
        """The invitee's answer, where they are ours; the inviter's consent, where they are not.

        Raises ``M_INVITE_BLOCKED``, ``M_CONSENT_NOT_GIVEN``, ``M_LIMIT_EXCEEDED``.
        """
        self._standing.require_active(inviter)
        self._room_blocks.check(room_id)
        self._lists.check_invitee(inviter, invitee, room_id)
        answer = Answer.ALLOW
        if invitee.server_name != self._server_name:
            await self.may_invite(inviter, invitee, is_direct=is_direct)
        else:
            await self.expect(invitee)
            answer = await self._answer(inviter, invitee, room_id, is_direct=is_direct)
        # Writing first grants the other the right to answer.  A group's admin who invites somebody
        # whom they blocked does not write to them.
        state = await self._consent.state_of(inviter, invitee, Scope.MESSAGE)
        if is_direct or state not in ("denied", "revoked"):
            await self._consent.grant_if_new(inviter, invitee, Scope.MESSAGE, how="wrote first")
        return answer

    async def judge_incoming_invite(self, event: Event, room_state: Sequence[JsonObject]) -> None:
        """Policy's verdict on another instance's invite into a room that we are not in.

        ``room_state``: what the inviting instance tells of it.  It is counted first, so that those
        who invite too often cost nothing more.  Raises :class:`Forbidden`, ``M_LIMIT_EXCEEDED``.
        """
        assert event.state_key is not None
        self._room_blocks.check(event.room_id)
        self._lists.check_inviter(event.sender, event.room_id, *_aliases(room_state))
        inviter = UserId(event.sender)
        with self._recording(inviter, event.room_id):
            await self._requests.count(UserId(event.state_key), inviter, event.event_id)
        await self._policy.judge_invite(event, UnseenRoom(_room_type(room_state)))

    async def check_incoming_invite(self, event: Event) -> Answer:
        """The answer to another instance's invite.

        Raises ``M_INVITE_BLOCKED``, ``M_LIMIT_EXCEEDED``; ``M_FORBIDDEN`` for what lists name.
        """
        assert event.state_key is not None
        self._room_blocks.check(event.room_id)
        self._lists.check_inviter(event.sender, event.room_id)
        return await self._answer(
            UserId(event.sender),
            UserId(event.state_key),
            event.room_id,
            is_direct=event.content.get("is_direct") is True,
            event_id=event.event_id,
        )

    async def invite_arrived(self, event: Event) -> Judgement:
        """Consent to an invite that came as an event of a room: it may not have been asked for."""
        assert event.state_key is not None
        invitee, inviter = UserId(event.state_key), UserId(event.sender)
        if invitee.server_name != self._server_name:
            return ACCEPTED
        # Another server may send a third-party invite in the name of one of our users.
        by_proof = "third_party_invite" in event.content
        if inviter.server_name == self._server_name and not by_proof:
            return ACCEPTED
        is_direct = event.content.get("is_direct") is True
        try:
            await self._answer(
                inviter, invitee, event.room_id, is_direct=is_direct, event_id=event.event_id
            )
        except (InviteBlocked, LimitExceeded) as error:
            return Judgement(Action.SOFT_FAIL, "consent", error.text)
        return ACCEPTED

    async def _answer(
        self,
        inviter: UserId,
        invitee: UserId,
        room_id: str,
        *,
        is_direct: bool,
        event_id: str | None = None,
    ) -> Answer:
        with self._recording(inviter, room_id):
            return await self._requests.check(
                invitee, inviter, room_id, is_direct=is_direct, event_id=event_id
            )

    @contextmanager
    def _recording(self, sender: UserId, room_id: str) -> Iterator[None]:
        """Leave an audit row if an invite is refused."""
        try:
            yield
        except (InviteBlocked, LimitExceeded) as error:
            self._policy.record_refusal(
                "consent",
                "invite",
                origin=sender.server_name,
                sender=sender,
                room_id=room_id,
                reason=error.text,
            )
            raise

    async def invite_answered(self, invitee: UserId, inviter: str, *, accepted: bool) -> None:
        """The invitee joined or left.  Accepting grants the inviter the right to write."""
        await self._requests.invite_answered(invitee, inviter, accepted=accepted)

    # ------------------------------------------------------------ knocks

    async def check_knock(self, room: LiveRoom, user_id: str) -> None:
        """Refuse a knock that nobody here who could answer it wants to hear.

        Raises :class:`Forbidden`.  With another instance's members in the room, it is not ours
        alone to say.
        """
        self._standing.require_active(user_id)
        self._room_blocks.check(room.room_id)
        levels = room.power_levels
        may_answer = [user for user in room.joined_local if levels.user(user) >= levels.invite]
        if room.destinations or not may_answer or len(may_answer) > MOST_ASKED_ABOUT_KNOCKS:
            return
        for owner in may_answer:
            answer = await self._consent.invite_answer(UserId(owner), user_id, Scope.GROUP)
            if answer in (Answer.ALLOW, Answer.ASK):
                return
        raise Forbidden("Nobody in this room takes knocks from you")


def _room_type(room_state: Sequence[JsonObject]) -> str | None:
    """The type in a create event among stripped state."""
    for event in room_state:
        if event.get("type") == "m.room.create":
            room_type = event["content"].get("type")
            return room_type if isinstance(room_type, str) else None
    return None


def _aliases(room_state: Sequence[JsonObject]) -> list[str]:
    """The canonical alias among stripped state, if there is one."""
    return [
        alias
        for event in room_state
        if event.get("type") == "m.room.canonical_alias"
        and isinstance(alias := event["content"].get("alias"), str)
    ]
