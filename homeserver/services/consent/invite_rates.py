"""How often people whom a user does not know may invite, by sender and by instance.

A sender is refused first, so that one of them does not use up what is left for everybody of their
instance; and once the instance is over its rate, its senders are not looked at one by one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from homeserver.config import RateConfig
from homeserver.errors import LimitExceeded
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.services.consent.consent import Consent
from homeserver.services.rate_limits import RateLimits

ACQUAINTED_FACTOR = 4  # who is in a room with the user may invite so much more often
REMEMBERED = 10_000
NOTED_EVERY_MS = 3_600_000

STRANGERS = ("sender", "instance")
ACQUAINTED = ("acquainted_sender", "acquainted_instance")


class AbuseQueue(Protocol):
    """Where moderators see who overdoes it, and what was reported."""

    async def request_abuse(self, sender: str, note: str) -> None:
        """A sender, or an instance as a whole, invites more often than it may."""

    async def report(self, reporter: str, sender: str, room_id: str, reason: str) -> None:
        """A recipient reports the sender of a request."""

    async def pass_on(self, reporter: str, sender: str, room_id: str, reason: str) -> None:
        """Tell the sender's instance of a report, which may take its time."""


class InviteRates:
    """Counts the invites of whom their recipients do not know."""

    def __init__(
        self,
        *,
        consent: Consent,
        per_sender: RateConfig,
        per_instance: RateConfig,
        clock_ms: Callable[[], int],
        enabled: bool = True,
    ) -> None:
        self._consent = consent
        self._clock_ms = clock_ms
        self._rates = RateLimits(
            rates={
                "sender": per_sender,
                "instance": per_instance,
                "acquainted_sender": _times(per_sender),
                "acquainted_instance": _times(per_instance),
            },
            enabled=enabled,
        )
        self.abuse: AbuseQueue | None = None
        self._counted: OrderedDict[str, None] = OrderedDict()  # event IDs
        self._noted: OrderedDict[str, int] = OrderedDict()  # offender -> when

    async def count(self, owner: UserId, inviter: str, event_id: str | None = None) -> None:
        """Count an invite, the same event once.  Raises :class:`LimitExceeded`.

        Whom the owner has accepted or written to is not counted, nor who is of this instance and
        in a room with them.
        """
        if event_id in self._counted or await self._consent.is_contact(owner, inviter):
            return
        instance = server_name_of(inviter)
        is_local = instance == owner.server_name
        acquainted = await self._consent.is_known(owner, inviter)
        if acquainted and is_local:
            return
        sender_rate, instance_rate = ACQUAINTED if acquainted else STRANGERS
        try:
            if not is_local:
                self._rates.peek(instance_rate, instance)
        except LimitExceeded:
            await self._note(instance, f"too many invites by users of {instance}")
            raise
        try:
            self._rates.check(sender_rate, inviter)
        except LimitExceeded:
            await self._note(inviter, f"too many invites by {inviter}")
            raise
        if not is_local:
            self._rates.check(instance_rate, instance)
        if event_id is not None:
            self._counted[event_id] = None
            if len(self._counted) > REMEMBERED:
                self._counted.popitem(last=False)

    async def _note(self, offender: str, note: str) -> None:
        """Tell the moderators, once in a while."""
        now = self._clock_ms()
        if self.abuse is None or now - self._noted.get(offender, -NOTED_EVERY_MS) < NOTED_EVERY_MS:
            return
        self._noted[offender] = now
        self._noted.move_to_end(offender)
        if len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)
        await self.abuse.request_abuse(offender, note)


def _times(rate: RateConfig) -> RateConfig:
    return RateConfig(
        per_second=rate.per_second * ACQUAINTED_FACTOR, burst=rate.burst * ACQUAINTED_FACTOR
    )
