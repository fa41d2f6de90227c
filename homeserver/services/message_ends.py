"""Ends messages whose time is up: ``dev.comity.expires``, ``dev.comity.view_once``.

Each instance deletes its own copy; the sender's instance sends a redaction besides, for all that
are plain Matrix.  See ``docs/retention.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.deletion import Deletion
from homeserver.services.event_store import EventStore
from homeserver.services.rooms import Draft, Sent
from homeserver.storage import message_ends as storage
from homeserver.storage.database import Database
from homeserver.storage.erasures import EXPIRED, VIEWED
from homeserver.storage.event_records import ClientTransaction
from homeserver.storage.message_ends import DueMessage

logger = structlog.get_logger(__name__)

AT_ONCE = 20
RETRY_MS = 30_000
LONGEST_RETRY_MS = 24 * 3_600_000
DEVICE = "dev.comity.expires"  # no client's: the redactions are ours


class Redactions(Protocol):
    """Sends redactions."""

    async def send(
        self,
        room_id: str,
        draft: Draft,
        *,
        transaction: ClientTransaction | None = None,
        gated: bool = True,
    ) -> Sent:
        """Send an event as a local user."""


class MessageEnds:
    """A job of the caretaker: works off the schedule."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        store: EventStore,
        rooms: Redactions,
        deletion: Deletion,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._store = store
        self._rooms = rooms
        self._deletion = deletion
        self._clock_ms = clock_ms

    async def next_due(self) -> int | None:
        """When the next message ends (ms)."""
        return await storage.get_next_due(self._database)

    async def step(self) -> bool:
        """End some of the messages whose time is up."""
        due = await storage.get_due(self._database, self._clock_ms(), AT_ONCE)
        for message in due:
            try:
                await self._end(message)
            except Exception as error:
                await self._postpone(message, error)
        return bool(due)

    async def _end(self, message: DueMessage) -> None:
        event_ids = [message.event_id]
        event_ids += await storage.get_edits(self._database, message.event_id, message.sender)
        failure: Exception | None = None
        if server_name_of(message.sender) == self._server_name:
            try:
                for event_id in event_ids:
                    await self._redact(message, event_id)
            except Exception as error:
                failure = error  # our copy goes all the same
        why = VIEWED if message.view_once else EXPIRED
        await self._deletion.delete_event_content(event_ids, why=why)
        if failure is not None:
            raise failure
        await storage.delete_ends(self._database, event_ids)

    async def _redact(self, message: DueMessage, event_id: str) -> None:
        """Take it back, once, however often this is tried; what forbids it is no matter here."""
        stored = await self._store.get(event_id)
        if stored is None or not stored.shown or stored.redacted_by is not None:
            return
        content: JsonObject = {"reason": "expired"}
        draft = Draft(message.sender, "m.room.redaction", content, redacts=event_id)
        transaction = ClientTransaction(
            message.sender, DEVICE, "redact", event_id, self._clock_ms()
        )
        try:
            await self._rooms.send(message.room_id, draft, transaction=transaction, gated=False)
        except MatrixError as error:
            if error.status >= 500:
                raise
            # They have left, or may not speak there any more: our copy goes all the same.
            logger.info("expired without a redaction", event_id=event_id, reason=error.text)

    async def _postpone(self, message: DueMessage, error: Exception) -> None:
        logger.warning(
            "a message's end is tried again", event_id=message.event_id, reason=repr(error)
        )
        wait = min(RETRY_MS * 2 ** min(message.attempts, 12), LONGEST_RETRY_MS)
        await storage.postpone(self._database, message.event_id, self._clock_ms() + wait)
