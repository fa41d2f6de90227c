"""This instance as the policy server of rooms that have appointed it.

It signs what its admin's rules allow, with keys that are not the ones that it federates with.
Spec: server-server API, policy servers (v1.18).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol.canonical import reference_hash
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.policy_servers import (
    Appointment,
    appointment_content,
    sign_as_policy_server,
)
from homeserver.protocol.room_versions import EventIdFormat
from homeserver.protocol.signing import BadKey, SigningKey, VerifyKey
from homeserver.services.judgement import Action, Judgement
from homeserver.services.live_room import LiveRoom

REMEMBERED = 10_000
REMEMBERED_SECONDS = 60.0  # how long a change of the rules may go unnoticed for one event
REFUSAL = "This room's policy server does not allow this"


class SigningPolicy(Protocol):
    """The rules that decide what is signed."""

    async def judge_for_signing(self, room: LiveRoom, event: Event) -> Judgement:
        """Accept or not; leaves the audit row itself."""


class _Remembered(Struct, frozen=True):
    until: float
    judgement: Judgement


class PolicySigner:
    """Judges events and signs them.  Without keys it is switched off."""

    def __init__(
        self,
        *,
        server_name: str,
        keys: Sequence[SigningKey],
        policy: SigningPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``keys``: the first is the one to appoint; the others sign for rooms that name them."""
        self.server_name = server_name
        self._keys = {key.verify_key.data: key for key in reversed(keys)}
        self._current = keys[0] if keys else None
        self._policy = policy
        self._clock = clock
        self._remembered: OrderedDict[bytes | str, _Remembered] = OrderedDict()

    @property
    def enabled(self) -> bool:
        """Whether this instance is a policy server."""
        return self._current is not None

    @property
    def appointment_content(self) -> JsonObject | None:
        """The content of the ``m.room.policy`` that appoints this instance; None if off."""
        if self._current is None:
            return None
        return appointment_content(self.server_name, self._current.verify_key)

    def has_key(self, appointment: Appointment) -> bool:
        """Whether it is us whom a room names, with one of our keys."""
        return appointment.via == self.server_name and self._find_key(appointment) is not None

    # ------------------------------------------------------------ signing

    def sign(self, appointment: Appointment, event: Event) -> str:
        """Our signature of an event, with the key that its room names.

        Raises :class:`Forbidden` if we are no policy server, or never had that key.
        """
        return sign_as_policy_server(event, self._key(appointment))

    async def judge_and_sign(self, room: LiveRoom, appointment: Appointment, event: Event) -> str:
        """Our signature of an event, if the rules allow it.

        Raises :class:`MatrixError` 400 ``M_FORBIDDEN`` with the rule's words; as :meth:`sign`.
        """
        key = self._key(appointment)
        judgement = self.judgement(event)
        if judgement is None:
            judgement = await self._policy.judge_for_signing(room, event)
            self._remember(event, judgement)
        if judgement.action is not Action.ACCEPT:
            raise MatrixError(judgement.reason or REFUSAL, errcode="M_FORBIDDEN", status=400)
        return sign_as_policy_server(event, key)

    def _key(self, appointment: Appointment) -> SigningKey:
        if self._current is None:
            raise Forbidden(
                f"{self.server_name}, which this room has made its policy server, is none: "
                "somebody with the power must take its m.room.policy back"
            )
        key = self._find_key(appointment)
        if key is None:
            raise Forbidden(
                f"The key in this room's m.room.policy is not one of {self.server_name}: somebody "
                "with the power must set it anew"
            )
        return key

    def _find_key(self, appointment: Appointment) -> SigningKey | None:
        try:
            return self._keys.get(VerifyKey.from_base64(appointment.public_key).data)
        except BadKey:
            return None

    # ------------------------------------------------------------ remembering

    def judgement(self, event: Event) -> Judgement | None:
        """What the rules said of an event lately, so that they are not asked twice.

        Each instance in a room may show us the same event, and at last it arrives.
        """
        if not self._remembered:
            return None
        remembered = self._remembered.get(_identity(event))
        if remembered is None or remembered.until <= self._clock():
            return None
        return remembered.judgement

    def _remember(self, event: Event, judgement: Judgement) -> None:
        identity = _identity(event)
        until = self._clock() + REMEMBERED_SECONDS
        self._remembered[identity] = _Remembered(until, judgement)
        self._remembered.move_to_end(identity)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)


def _identity(event: Event) -> bytes | str:
    """What no two events share.  In room versions 1 and 2 senders choose event IDs, even twice."""
    if event.room_version.event_id_format is EventIdFormat.ASSIGNED:
        return reference_hash(event.pdu, event.room_version)
    return event.event_id
