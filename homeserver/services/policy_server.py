"""A room's policy server, asked to sign events before they are sent or shown.

A room that has one names it, with its key, in ``m.room.policy``.  Events of ours bear its signature
before they leave; events of others that come without one are shown to it on arrival, and
soft-failed if it refuses.  Spec: server-server API, policy servers (v1.18).
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import structlog
from msgspec import Struct

from homeserver.errors import Forbidden, LimitExceeded, MatrixError
from homeserver.protocol.events import BadEvent, Event, JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.policy_servers import (
    POLICY,
    Appointment,
    add_policy_signature,
    has_policy_signature,
    needs_policy_signature,
    parse_appointment,
    policy_signature_in,
)
from homeserver.protocol.signing import BadSignature
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy.rates import Rate

logger = structlog.get_logger(__name__)

RULE = "policy_server"  # in the audit trail
# An event that arrived is shown again to a policy server that is busy: so often, so soon, and only
# for instances that do not make a habit of it, since the room's later events wait meanwhile.
ATTEMPTS = 3
LONGEST_WAIT_MS = 2_000
PATIENCE_COUNT = 10
PATIENCE_SECONDS = 600.0


class RemotePolicyServer(Protocol):
    """Another instance as a policy server; ``federation`` provides it."""

    async def sign(self, via: str, pdu: JsonObject) -> JsonObject:
        """Its signatures of an event, by server and key ID.

        Returns within seconds.  Raises :class:`MatrixError`: the policy server's own, or
        :class:`Forbidden` with a text for the sender if it does not answer as one.
        """


class OwnPolicyServer(Protocol):
    """This instance as a policy server."""

    def sign(self, appointment: Appointment, event: Event) -> str:
        """Our signature of an event that was judged before.  Raises :class:`MatrixError`."""

    async def judge_and_sign(self, room: LiveRoom, appointment: Appointment, event: Event) -> str:
        """Our signature of an event that our rules allow.  Raises :class:`MatrixError`."""

    def judgement(self, event: Event) -> Judgement | None:
        """What our rules said of an event a moment ago; None if nothing that we remember."""


class Vetted(Struct, frozen=True):
    """An event that arrived, with its policy server's signature if that was to be had.

    ``judgement`` is the verdict if there is one already; without it content policy has its say.
    """

    event: Event
    judgement: Judgement | None = None


class PolicyServers:
    """Has events signed by the policy servers of their rooms."""

    def __init__(
        self,
        *,
        server_name: str,
        store: EventStore,
        remote: RemotePolicyServer,
        own: OwnPolicyServer,
    ) -> None:
        self._server_name = server_name
        self._store = store
        self._remote = remote
        self._own = own
        self._patience = Rate(PATIENCE_COUNT, PATIENCE_SECONDS)

    async def appointment(self, room: LiveRoom) -> Appointment | None:
        """The policy server that a room uses now.

        Spec: determining if a policy server is enabled in a room.
        """
        if POLICY not in room.state:
            return None
        await room.load_events(self._store, (POLICY,))
        appointment = parse_appointment(room.content(POLICY))
        return appointment if appointment is not None and appointment.via in room.hosts else None

    # ------------------------------------------------------------ sending

    async def signed(self, room: LiveRoom, event: Event) -> Event:
        """An event of ours with the signature that its room asks for; as it is if it asks for none.

        Our own rules must have allowed it before.  Raises the policy server's refusal, word for
        word; :class:`Forbidden` if it cannot be had or its signature is not valid.
        """
        appointment = await self._needed(room, event)
        if appointment is None:
            return event
        if appointment.via == self._server_name:
            return _with_own(event, appointment, self._own.sign(appointment, event))
        return await self.signed_by(appointment, event)

    async def signed_by(self, appointment: Appointment, event: Event) -> Event:
        """An event with the signature of another instance.  Raises as :meth:`signed`."""
        answer = await self._remote.sign(appointment.via, event.pdu)
        try:
            signature = policy_signature_in(answer, appointment.via)
            return add_policy_signature(event, appointment, signature)
        except (BadSignature, BadEvent) as error:
            raise Forbidden(
                f"{appointment.via}, the policy server of this room, gave no valid signature: "
                f"{error}"
            ) from error

    async def _needed(self, room: LiveRoom, event: Event) -> Appointment | None:
        """Whose signature an event lacks; None if it needs none or has it."""
        if not needs_policy_signature(event.type, event.state_key):
            return None
        appointment = await self.appointment(room)
        if appointment is None or has_policy_signature(event, appointment):
            return None
        return appointment

    # ------------------------------------------------------------ receiving

    async def vet(self, room: LiveRoom, event: Event) -> Vetted:
        """Have an event that arrived signed, if its room asks for that and it is not.

        Call it without the room's lock.  Spec: checks performed on receipt of a PDU, step 7.
        """
        appointment = await self._needed(room, event)
        if appointment is None:
            return Vetted(event, self._own.judgement(event))
        try:
            event = await self._sign_arrival(room, appointment, event)
        except MatrixError as error:
            logger.info("no policy signature", via=appointment.via, event_id=event.event_id)
            return Vetted(event, Judgement(Action.SOFT_FAIL, RULE, error.text))
        return Vetted(event, self._own.judgement(event))

    async def _sign_arrival(self, room: LiveRoom, appointment: Appointment, event: Event) -> Event:
        if appointment.via == self._server_name:
            signature = await self._own.judge_and_sign(room, appointment, event)
            return _with_own(event, appointment, signature)
        for _ in range(ATTEMPTS - 1):
            try:
                return await self.signed_by(appointment, event)
            except LimitExceeded as error:
                if self._patience.take(server_name_of(event.sender), time.monotonic()):
                    raise
                await asyncio.sleep(min(error.extra["retry_after_ms"], LONGEST_WAIT_MS) / 1000)
        return await self.signed_by(appointment, event)


def _with_own(event: Event, appointment: Appointment, signature: str) -> Event:
    try:
        return add_policy_signature(event, appointment, signature)
    except (BadSignature, BadEvent) as error:
        raise Forbidden(f"This event cannot bear the policy server's signature: {error}") from error
