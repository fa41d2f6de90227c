"""What moderators are shown of message requests: who overdoes it, and who was reported."""

from __future__ import annotations

from typing import Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.services.consent.notices import Moderators

logger = structlog.get_logger(__name__)


class Forwarder(Protocol):
    """Passes reports on to the reported user's instance."""

    async def forward(
        self,
        reporter: str,
        target_user: str,
        room_id: str | None,
        event_id: str | None,
        reason: str | None,
    ) -> None:
        """Pass one on, if that instance is a Comity."""


class RequestAbuse:
    """Adds to the moderators' queue."""

    def __init__(self, *, queue: Moderators, forwarder: Forwarder) -> None:
        self._queue = queue
        self._forwarder = forwarder

    async def request_abuse(self, sender: str, note: str) -> None:
        """A sender, or an instance as a whole, invites strangers more often than it may."""
        await self._queue.add("request_abuse", sender=sender, note=note)

    async def report(self, reporter: str, sender: str, room_id: str, reason: str) -> None:
        """A recipient reports the sender of a request."""
        await self._queue.add(
            "report", sender=sender, room_id=room_id, note=reason, reporter=reporter
        )

    async def pass_on(self, reporter: str, sender: str, room_id: str, reason: str) -> None:
        """Tell the sender's instance of a report, which may take its time."""
        try:
            await self._forwarder.forward(reporter, sender, room_id, None, reason)
        except MatrixError as error:
            logger.info("report not passed on", reason=error.text)
