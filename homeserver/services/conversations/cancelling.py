"""Taking back, and trying again, messages that are not everywhere yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.services.conversations.delivery import DeliveryStatuses
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.shapes.delivery import Cancelled, Retried
from homeserver.services.delivery.stages import Instances, Sendout
from homeserver.services.rate_limits import RateLimits
from homeserver.services.rooms import Draft, Rooms
from homeserver.storage import message_ends
from homeserver.storage import moderation_queue as queue_storage
from homeserver.storage.database import Database
from homeserver.storage.delivery import count_members
from homeserver.storage.erasures import REDACTED
from homeserver.storage.event_records import ClientTransaction
from homeserver.storage.events import StoredEvent
from homeserver.storage.moderation_queue import Decision

logger = structlog.get_logger(__name__)

DEVICE = "dev.comity.cancel"  # no client's
REASON = "cancelled"
MOST_TRIED = 100


class Contents(Protocol):
    """What events say."""

    async def delete_event_content(self, event_ids: Iterable[str], *, why: str, tell: bool) -> int:
        """Delete it for good."""


class Cancelling:
    """Cancels messages, and has instances tried again."""

    def __init__(
        self,
        *,
        database: Database,
        statuses: DeliveryStatuses,
        rooms: Rooms,
        contents: Contents,
        instances: Instances,
        rate_limits: RateLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._statuses = statuses
        self._rooms = rooms
        self._contents = contents
        self._instances = instances
        self._rate_limits = rate_limits
        self._clock_ms = clock_ms

    async def cancel(self, user_id: str, room_id: str, event_id: str) -> Cancelled:
        """Take back a message that not every instance has.

        Its content goes at once, so that who has not got it gets it redacted; who has it is asked
        to delete it.  Raises :class:`NotFound`, :class:`Forbidden`; :class:`Problem`
        ``already_delivered`` if every instance has it, ``already_deleted``.
        """
        stored = await self._statuses.own_message(user_id, room_id, event_id)
        if stored.redacted_by is not None or stored.erased is not None:
            raise Problem("already_deleted", "That message was deleted before", status=409)
        sendout = (await self._statuses.sendouts([stored]))[event_id]
        if not await self._is_pending(sendout):
            raise Problem(
                "already_delivered",
                "Every instance that it is for has that message: it can only be deleted",
                status=409,
            )
        edits = await message_ends.get_edits(self._database, event_id, user_id)
        await self._contents.delete_event_content([event_id, *edits], why=REDACTED, tell=False)
        if sendout.is_held:
            decision = Decision(user_id, "cancelled by its sender", self._clock_ms())
            await queue_storage.close_held_items(self._database, event_id, "dropped", decision)
        else:
            for redacted in (event_id, *edits):
                await self._redact(stored, redacted)
        reached = sorted(server for server in sendout.acked if sendout.has(server))
        return Cancelled(message_id=event_id, reached=reached)

    async def _is_pending(self, sendout: Sendout) -> bool:
        """Whether somebody's instance does not have it, or nobody but guests-to-be is there."""
        if sendout.is_held or sendout.missing:
            return True
        counts = await count_members(self._database, [sendout.room_id])
        joined, invited = counts.get(sendout.room_id, (0, 0))
        return joined <= 1 and invited > 0

    async def _redact(self, stored: StoredEvent, event_id: str) -> None:
        event = stored.event
        draft = Draft(event.sender, "m.room.redaction", {"reason": REASON}, redacts=event_id)
        transaction = ClientTransaction(event.sender, DEVICE, "redact", event_id, self._clock_ms())
        try:
            await self._rooms.send(event.room_id, draft, transaction=transaction, gated=False)
        except MatrixError as error:
            if error.status >= 500:
                raise
            # They have left: what the outbox still has goes out redacted all the same.
            logger.info("cancelled without a redaction", event_id=event_id, reason=error.text)

    async def retry(self, user_id: str, room_id: str, event_id: str) -> Retried:
        """Try at once the instances that do not have a message.

        Raises :class:`NotFound`, :class:`Forbidden`, :class:`LimitExceeded`.
        """
        self._rate_limits.check("delivery_retry", user_id)
        stored = await self._statuses.own_message(user_id, room_id, event_id)
        sendout = (await self._statuses.sendouts([stored]))[event_id]
        waiting = [
            server
            for server in sorted(sendout.missing)
            if server not in sendout.refusals and self._instances.may_send_to(server)
        ][:MOST_TRIED]
        for server in waiting:
            self._instances.try_now(server)
        return Retried(message_id=event_id, instances=waiting)
