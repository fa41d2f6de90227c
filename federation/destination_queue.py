"""What waits for one instance, and the sending of it: one transaction at a time, in order.

Events wait in memory as long as they are few.  When they are many, after a failure, and after a
start, they are read from the database page by page, so memory is bounded however long an instance
was away, and nothing is ever skipped.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import structlog
from msgspec import Struct

from federation.client import FederationClient
from federation.errors import FederationFailure, PeerError
from federation.health import DestinationHealth
from federation.paths import path_of
from federation.transactions_out import MAX_EDUS, MAX_PDUS, OutgoingPdu, Transaction
from homeserver.protocol.events import JsonObject
from homeserver.storage import outbox as storage
from homeserver.storage.database import Database
from homeserver.storage.outbox import PendingEdu

logger = structlog.get_logger(__name__)

MAX_IN_MEMORY = 500
PAGE = 500
MAX_EPHEMERAL = 500
TIMEOUT_SECONDS = 60.0
MAX_ANSWER_BYTES = 1024 * 1024
DATABASE_PAUSE_SECONDS = 5.0
GREET_FOR_MS = 24 * 3600 * 1000
POISON = frozenset({400, 413})  # the content may be at fault, not the instance
REFUSALS_BEFORE_NARROWING = 2
MAX_REASON_LENGTH = 200
LEFT_OUT = "the instance takes no transaction that has it"


class QueueParts(Struct, frozen=True):
    """What all queues share."""

    database: Database
    client: FederationClient
    health: DestinationHealth
    clock_ms: Callable[[], int]
    slots: asyncio.Semaphore
    failing_slots: asyncio.Semaphore
    acked: Callable[[str, int], None]
    refused: Callable[[str, Mapping[str, str]], Awaitable[None]]
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class DestinationQueue:
    """The queue of one instance.  A task runs only while there is something to do."""

    def __init__(self, server_name: str, parts: QueueParts) -> None:
        self.server_name = server_name
        self._parts = parts
        self._acked: int | None = None
        self._newest = 0  # the position of the last event that was put in memory
        self._pdus: deque[OutgoingPdu] = deque()
        self._behind = True  # there is, or may be, more in the database than in memory
        self._edus_waiting = True
        self._ephemeral: dict[tuple[str, str], JsonObject] = {}
        self._greet = False
        self._limit = MAX_PDUS
        self._refusals = 0
        self._complained = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    # ------------------------------------------------------------ what comes in

    def add_pdu(self, pdu: OutgoingPdu) -> None:
        """Queue an event that has been committed."""
        if not self._behind and pdu.position > self._newest:
            self._newest = pdu.position
            self._pdus.append(pdu)
            if len(self._pdus) > MAX_IN_MEMORY:
                self._fall_behind()
        self.schedule()

    def erase(self, redacted: Mapping[str, JsonObject]) -> None:
        """Send redacted PDUs for those of these events that still wait."""
        for pdu in self._pdus:
            if pdu.event_id in redacted:
                pdu.erase(redacted[pdu.event_id])

    def add_ephemeral(self, edu_type: str, content: JsonObject, key: str) -> None:
        """Queue an EDU that need not arrive; it replaces an older one of its key."""
        self._ephemeral.pop((edu_type, key), None)
        self._ephemeral[(edu_type, key)] = {"edu_type": edu_type, "content": content}
        if len(self._ephemeral) > MAX_EPHEMERAL:
            del self._ephemeral[next(iter(self._ephemeral))]
        self.schedule()

    def edus_waiting(self) -> None:
        """EDUs have been written to the database."""
        self._edus_waiting = True
        self.schedule()

    def greet(self) -> None:
        """Send something, if only an empty transaction, so that the other side knows we are up."""
        self._greet = True
        self.schedule()

    def _fall_behind(self) -> None:
        self._behind = True
        if self._task is None:
            self._pdus.clear()
        else:
            # the running task may hold the first of them; keep those, forget the rest
            while len(self._pdus) > MAX_PDUS:
                self._pdus.pop()

    # ------------------------------------------------------------ running

    def schedule(self) -> None:
        """Start sending if there is something to send and the instance may be tried."""
        if self._closing or self._task is not None or not self._has_work():
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = self._parts.health.wait_seconds(self.server_name)
        if wait > 0:
            self._timer = asyncio.get_running_loop().call_later(wait, self.schedule)
            return
        self._task = self._parts.spawn(self._run())

    def stop(self) -> None:
        """Begin nothing more; a transaction under way may end."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()

    def _has_work(self) -> bool:
        return (
            bool(self._pdus or self._behind or self._edus_waiting or self._ephemeral)
            or self._greeting()
        )

    def _greeting(self) -> bool:
        since = self._parts.health.failing_since(self.server_name)
        if since is not None and self._parts.clock_ms() - since > GREET_FOR_MS:
            self._greet = False
        return self._greet

    async def _run(self) -> None:
        failing = self._parts.health.is_failing(self.server_name)
        slots = self._parts.failing_slots if failing else self._parts.slots
        pause = 0.0
        try:
            async with slots:
                while not self._closing and await self._send_next():
                    pass
        except Exception:
            logger.exception("outbox worker failed", server=self.server_name)
            pause = DATABASE_PAUSE_SECONDS
        finally:
            self._task = None
            if pause and not self._closing:
                asyncio.get_running_loop().call_later(pause, self.schedule)
            else:
                self.schedule()

    async def _send_next(self) -> bool:
        """Send one transaction; False if there was nothing to send, or it failed."""
        transaction = await self._next()
        if transaction is None:
            return False
        try:
            await self._put(transaction)
        except FederationFailure as failure:
            await self._failed(transaction, failure)
            return False
        await self._arrived(transaction)
        self._limit = min(self._limit * 2, MAX_PDUS)
        return True

    # ------------------------------------------------------------ a transaction

    async def _next(self) -> Transaction | None:
        await self._fill()
        pdus = [self._pdus[index] for index in range(min(self._limit, len(self._pdus)))]
        edus: list[PendingEdu] = []
        # while it is being found out what the other side refuses, one kind goes at a time
        whole = self._limit == MAX_PDUS
        if self._edus_waiting and (whole or not pdus):
            self._edus_waiting = False
            room = MAX_EDUS if whole else self._limit
            edus = await storage.get_edus(self._parts.database, self.server_name, room)
            self._edus_waiting |= len(edus) == room
        ephemeral: list[JsonObject] = []
        if whole:
            for key in list(self._ephemeral)[: MAX_EDUS - len(edus)]:
                ephemeral.append(self._ephemeral.pop(key))
        if not (pdus or edus or ephemeral or self._greeting()):
            return None
        return Transaction(pdus, edus, ephemeral, nonce=secrets.token_hex(8))

    async def _fill(self) -> None:
        """Read what is next from the database, unless all that is next is in memory.

        What is committed while it is being read comes in by :meth:`add_pdu`, and may be in the
        page as well.
        """
        if self._pdus or not self._behind:
            return
        database, server_name = self._parts.database, self.server_name
        self._behind = False
        try:
            if self._acked is None:
                self._acked = await storage.get_acked_position(database, server_name)
            rows = await storage.get_pending(database, server_name, self._acked, PAGE)
        except BaseException:
            self._behind = True
            raise
        page = [OutgoingPdu.from_row(row) for row in rows]
        newest = page[-1].position if page else self._acked
        if len(page) == PAGE:
            self._behind = True
        if not self._behind:
            page.extend(pdu for pdu in self._pdus if pdu.position > newest)
        self._pdus = deque(page)
        self._newest = page[-1].position if page else newest

    async def _put(self, transaction: Transaction) -> None:
        parts = self._parts
        answer = await parts.client.put(
            self.server_name,
            path_of("v1/send", transaction.txn_id),
            body=transaction.body(parts.client.server_name, parts.clock_ms()),
            timeout_seconds=TIMEOUT_SECONDS,
            max_bytes=MAX_ANSWER_BYTES,
            interactive=False,
        )
        refused = _refusals(transaction, answer.get("pdus"))
        for event_id, reason in refused.items():
            logger.info("pdu refused", server=self.server_name, event_id=event_id, reason=reason)
        if refused:
            await parts.refused(self.server_name, refused)

    async def _arrived(self, transaction: Transaction) -> None:
        """Note what the other side has."""
        self._refusals = 0
        self._complained = False
        self._greet = False
        for pdu in transaction.pdus:
            # the queue may have been cut meanwhile, never at its head
            if self._pdus and self._pdus[0] is pdu:
                self._pdus.popleft()
        if transaction.pdus:
            self._acked = transaction.pdus[-1].position
            self._parts.acked(self.server_name, self._acked)
        if transaction.edus:
            ids = [edu.edu_id for edu in transaction.edus]
            await storage.delete_edus(self._parts.database, ids)
        self._parts.health.succeeded(self.server_name)

    # ------------------------------------------------------------ failures

    async def _failed(self, transaction: Transaction, failure: FederationFailure) -> None:
        """Back off; nothing is lost but what was ephemeral."""
        self._edus_waiting |= bool(transaction.edus)
        if isinstance(failure, PeerError) and failure.status in POISON:
            self._refusals += 1
            if self._refusals >= REFUSALS_BEFORE_NARROWING and await self._narrow(transaction):
                return
        if not failure.temporary and not self._complained:
            self._complained = True
            logger.warning("transaction refused", server=self.server_name, reason=failure.reason)
        retry_after = getattr(failure, "retry_after_seconds", None)
        self._parts.health.failed(self.server_name, failure.reason, retry_after)

    async def _narrow(self, transaction: Transaction) -> bool:
        """Find out what it is that the other side refuses, and go on without it.

        Half as much is tried until one thing is left.  If the other side takes an empty
        transaction but not that, it is left out.  False: the other side refuses everything.
        """
        if transaction.size > 1:
            self._limit = max(1, min(self._limit, transaction.size) // 2)
            return True
        try:
            await self._put(Transaction(nonce=secrets.token_hex(8)))
        except FederationFailure:
            return False
        logger.error(
            "left out of the queue, for the other side does not take it",
            server=self.server_name,
            event_ids=[pdu.event_id for pdu in transaction.pdus],
            edu_types=[edu.edu_type for edu in transaction.edus],
        )
        if transaction.pdus:
            left_out = {pdu.event_id: LEFT_OUT for pdu in transaction.pdus}
            await self._parts.refused(self.server_name, left_out)
        await self._arrived(transaction)
        return True


def _refusals(transaction: Transaction, results: Any) -> dict[str, str]:
    """Event ID -> why the other side did not take it.  Spec: ``PUT /send``."""
    if not isinstance(results, dict) or not results:
        return {}
    refused: dict[str, str] = {}
    for pdu in transaction.pdus:
        result = results.get(pdu.event_id)
        if isinstance(result, dict) and "error" in result:
            reason = str(result["error"]).replace("\0", "")
            refused[pdu.event_id] = reason[:MAX_REASON_LENGTH]
    return refused
