"""The gate on the way out: policy, then consent, before a local event is built."""

from __future__ import annotations

from homeserver.errors import InviteBlocked, MatrixError
from homeserver.protocol.identifiers import UserId
from homeserver.services.consent import Consent, InviteAnswer, Scope
from homeserver.services.judgement import Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy import Policy
from homeserver.services.rooms import Draft


class OutgoingGate:
    """Asks policy and consent for what local users send, and for their invites."""

    def __init__(self, *, server_name: str, policy: Policy, consent: Consent) -> None:
        self._server_name = server_name
        self._policy = policy
        self._consent = consent

    async def check_send(self, room: LiveRoom, draft: Draft) -> Judgement:
        """Policy's verdict.  Raises what policy and consent raise.

        Leaving a room needs nobody's consent, nor does what stays on this instance.
        """
        judgement = await self._policy.judge_send(room, draft)
        if room.destinations and not self._is_departure(draft):
            await self._consent.require_federation(UserId(draft.sender), room.destinations)
        return judgement

    def _is_departure(self, draft: Draft) -> bool:
        return draft.type == "m.room.member" and draft.content.get("membership") == "leave"

    async def check_remote_join(self, user_id: UserId, server_name: str) -> None:
        """Consent to joining a room on another instance."""
        await self._consent.require_federation(user_id, (server_name,))

    async def check_invite(
        self, inviter: UserId, invitee: UserId, *, is_direct: bool
    ) -> InviteAnswer:
        """The invitee's answer, where they are ours; the inviter's consent, where they are not.

        Raises ``M_INVITE_BLOCKED``, ``M_CONSENT_NOT_GIVEN``.
        """
        if invitee.server_name != self._server_name:
            await self._consent.require_federation(inviter, (invitee.server_name,))
            await self._wrote_first(inviter, invitee)
            return InviteAnswer.DELIVER
        try:
            answer = await self._consent.check_invite(invitee, inviter)
        except InviteBlocked as error:
            await self.record_refusal(inviter, inviter.server_name, "", error)
            raise
        await self._wrote_first(inviter, invitee)
        return answer

    async def check_incoming_invite(
        self, inviter: UserId, invitee: UserId, room_id: str
    ) -> InviteAnswer:
        """The answer to another instance's invite.  Raises ``M_INVITE_BLOCKED``."""
        try:
            return await self._consent.check_invite(invitee, inviter)
        except InviteBlocked as error:
            await self.record_refusal(inviter, inviter.server_name, room_id, error)
            raise

    async def record_refusal(
        self, sender: UserId, origin: str, room_id: str, error: MatrixError
    ) -> None:
        """Leave an audit row for a refused invite."""
        await self._policy.record_refusal(
            "consent",
            "invite",
            origin=origin,
            sender=sender,
            room_id=room_id,
            reason=error.text,
        )

    async def _wrote_first(self, inviter: UserId, invitee: UserId) -> None:
        """Writing first grants the other the right to answer."""
        await self._consent.grant_if_new(inviter, invitee, Scope.MESSAGE, how="wrote first")

    async def invite_accepted(self, invitee: UserId, inviter: str) -> None:
        """Accepting an invite grants its sender the right to write."""
        await self._consent.grant_if_new(invitee, inviter, Scope.MESSAGE, how="accepted invite")
