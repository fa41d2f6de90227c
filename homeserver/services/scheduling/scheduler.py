"""Sends what is to be sent at a certain time: once, whenever the process dies.

A row that is due is claimed in the database, then sent under a transaction ID that is the row's
own, then finished.  Whoever dies in between leaves a claim, which is taken up again; the same
transaction gives the event that was sent, if it was.  What one user scheduled goes in its order.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import Protocol

import structlog
from msgspec import Struct

from homeserver.errors import Forbidden, LimitExceeded, MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.storage import scheduled as storage
from homeserver.storage.database import Database
from homeserver.storage.scheduled import CANCELLED, FAILED, SENT, ScheduledSend

logger = structlog.get_logger(__name__)

AT_ONCE = 50
LEASE_MS = 120_000
FIRST_RETRY_MS = 5_000
LONGEST_RETRY_MS = 3_600_000
GIVE_UP_AFTER_MS = 24 * 3_600_000
PRUNE_EVERY_MS = 3_600_000
PRUNED_AT_ONCE = 1_000
CLOSE_SECONDS = 5.0


class ScheduleLimits(Struct, frozen=True):
    """``scheduling`` of the configuration; times in ms."""

    max_delay_ms: int = 365 * 24 * 3_600_000
    max_per_user: int = 200
    keep_finished_ms: int = 7 * 24 * 3_600_000
    keep_finished_per_user: int = 1_000


class Sender(Protocol):
    """Sends one kind of what is scheduled."""

    retries_rate_limits: bool
    """Whether it is tried again if it comes too fast; else that is a failure."""

    async def send(self, row: ScheduledSend) -> str:
        """Send it now, once however often this is called; the event's ID.

        Raises :class:`MatrixError` if it may not be sent.
        """

    def describe(self, error: MatrixError) -> JsonObject:
        """A failure, as it is kept and shown."""


class Scheduler:
    """Keeps what is scheduled, and is the job that sends it."""

    def __init__(
        self,
        *,
        database: Database,
        limits: ScheduleLimits,
        wake: Callable[[], None],
        clock_ms: Callable[[], int],
    ) -> None:
        """``wake``: tells whoever runs the job that there may be work sooner."""
        self.limits = limits
        self.senders: dict[str, Sender] = {}
        self._database = database
        self._wake = wake
        self._clock_ms = clock_ms
        self._last: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._next_prune = 0
        self._closing = False
        self.may_act: Callable[[str], None] = lambda _user_id: None
        """Raises for a user who sends nothing now."""

    async def start(self) -> None:
        """Take up what was being sent when the process ended."""
        await storage.release_claims(self._database, self._clock_ms())

    async def close(self) -> None:
        """Let what is being sent end; what does not is sent after the next start."""
        self._closing = True
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def settle(self) -> None:
        """Wait until nothing is being sent."""
        while self._running:
            await asyncio.wait(set(self._running))

    # ------------------------------------------------------------ taking in

    async def add(self, row: ScheduledSend, txn_id: str | None = None) -> ScheduledSend:
        """Keep a new one; for a transaction that was seen before, the one that it made.

        Raises :class:`Forbidden` if it is too far ahead, :class:`LimitExceeded` if the user has
        too many that wait.
        """
        self.may_act(row.user_id)
        if txn_id is not None:
            before = await self._made_by(row, txn_id)
            if before is not None:
                return before
        self.check_delay(row.delay_ms)
        waiting, next_due = await storage.count_waiting(self._database, row.user_id)
        if self.limits.max_per_user == 0:
            raise Forbidden("Nothing can be scheduled on this server")
        if waiting >= self.limits.max_per_user:
            wait = max(1_000, (next_due or 0) - self._clock_ms())
            raise LimitExceeded(wait)
        if not await storage.add(self._database, row, txn_id):
            assert txn_id is not None
            before = await self._made_by(row, txn_id)
            assert before is not None
            return before
        self._wake()
        return row

    async def _made_by(self, row: ScheduledSend, txn_id: str) -> ScheduledSend | None:
        return await storage.get_by_transaction(
            self._database, row.user_id, row.device_id, row.kind, txn_id
        )

    def check_delay(self, delay_ms: int) -> None:
        """Raise :class:`Forbidden` if that is too far ahead."""
        if delay_ms > self.limits.max_delay_ms:
            raise Forbidden(
                f"At most {self.limits.max_delay_ms} ms ahead",
                max_delay_ms=self.limits.max_delay_ms,
            )

    # ------------------------------------------------------------ changing

    async def get(self, scheduled_id: str, user_id: str, kind: str) -> ScheduledSend | None:
        """One of a user's."""
        row = await storage.get(self._database, scheduled_id)
        return row if row is not None and (row.user_id, row.kind) == (user_id, kind) else None

    async def cancel(self, row: ScheduledSend) -> ScheduledSend | None:
        """Never send it; None if it does not wait any more."""
        return await storage.cancel(self._database, row.scheduled_id, row.user_id, self._clock_ms())

    async def restart(self, row: ScheduledSend) -> ScheduledSend | None:
        """Let it wait as long again from now on; None if it does not wait any more."""
        return await storage.restart(
            self._database, row.scheduled_id, row.user_id, self._clock_ms()
        )

    async def change(
        self, row: ScheduledSend, send_at: int, *, expected_revision: int | None = None
    ) -> ScheduledSend | None:
        """Give it the body and the room of ``row``, and a new time (ms).

        None if it does not wait any more, or is not what the caller knew.
        """
        self.may_act(row.user_id)
        now = self._clock_ms()
        self.check_delay(send_at - now)
        changed = await storage.change(self._database, row, now, send_at, expected_revision)
        self._wake()
        return changed

    async def send_now(self, row: ScheduledSend) -> ScheduledSend | None:
        """Send it without waiting any longer; None if it does not wait any more.

        Raises what sending raises; then it goes on waiting.
        """
        claimed = await storage.claim(
            self._database, row.scheduled_id, row.user_id, self._clock_ms() + LEASE_MS
        )
        if claimed is None:
            return None
        try:
            event_id = await self.senders[row.kind].send(claimed)
        except BaseException:
            await storage.give_back(
                self._database, row.scheduled_id, row.due_at, row.attempts, row.error
            )
            self._wake()
            raise
        await self._finish(claimed, SENT, event_id=event_id)
        return claimed

    async def forget(self, user_id: str) -> None:
        """Send nothing more of a user whose account ends."""
        await storage.delete_of_user(self._database, user_id)

    # ------------------------------------------------------------ the job

    async def next_due(self) -> int | None:
        """When something is to be sent, or to be forgotten (ms)."""
        due = await storage.get_next_due(self._database)
        return self._next_prune if due is None else min(due, self._next_prune)

    async def step(self) -> bool:
        """Begin to send what is due."""
        now, free = self._clock_ms(), AT_ONCE - len(self._running)
        if now >= self._next_prune:
            await self._prune(now)
        if self._closing or free <= 0:
            return False
        claimed = await storage.claim_due(self._database, now, now + LEASE_MS, free)
        for row in claimed:
            before = self._last.get(row.user_id)
            task = asyncio.create_task(self._send_after(before, row), name="scheduled send")
            self._last[row.user_id] = task
            self._running.add(task)
            task.add_done_callback(partial(self._ended, row.user_id))
        return bool(claimed)

    def _ended(self, user_id: str, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._last.get(user_id) is task:
            del self._last[user_id]
        if not task.cancelled() and task.exception() is not None:
            logger.error("scheduled send failed", exc_info=task.exception())
        if not self._closing:
            self._wake()

    async def _send_after(self, before: asyncio.Task[None] | None, row: ScheduledSend) -> None:
        if before is not None:
            await asyncio.wait((before,))
        sender = self.senders[row.kind]
        try:
            event_id = await sender.send(row)
        except LimitExceeded as error:
            if sender.retries_rate_limits:
                await self._retry(row, error, int(error.extra["retry_after_ms"]))
            else:
                await self._fail(row, error)
        except MatrixError as error:
            if error.status >= 500:
                await self._retry(row, error)
            else:
                await self._fail(row, error)
        except Exception:
            logger.exception("scheduled send failed", scheduled_id=row.scheduled_id)
            await self._retry(row, MatrixError("Something went wrong on this server", status=500))
        else:
            await self._finish(row, SENT, event_id=event_id)

    async def _retry(
        self, row: ScheduledSend, error: MatrixError, after_ms: int | None = None
    ) -> None:
        now = self._clock_ms()
        if now - row.send_at > GIVE_UP_AFTER_MS:
            await self._fail(row, error)
            return
        wait = min(FIRST_RETRY_MS * 2 ** min(row.attempts, 16), LONGEST_RETRY_MS)
        described = self.senders[row.kind].describe(error)
        due_at = now + (wait if after_ms is None else after_ms)
        await storage.give_back(
            self._database, row.scheduled_id, due_at, row.attempts + 1, described
        )

    async def _fail(self, row: ScheduledSend, error: MatrixError) -> None:
        logger.info("scheduled send refused", scheduled_id=row.scheduled_id, reason=error.errcode)
        described = self.senders[row.kind].describe(error)
        await self._finish(row, FAILED, error=described)

    async def _finish(
        self,
        row: ScheduledSend,
        state: str,
        *,
        event_id: str | None = None,
        error: JsonObject | None = None,
    ) -> None:
        now = self._clock_ms()
        await storage.finish(
            self._database, row.scheduled_id, state, now, event_id=event_id, error=error
        )

    async def _prune(self, now: int) -> None:
        self._next_prune = now + PRUNE_EVERY_MS
        before = now - self.limits.keep_finished_ms
        while await storage.delete_old(self._database, before, PRUNED_AT_ONCE):
            continue
        await storage.delete_surplus(self._database, self.limits.keep_finished_per_user)


def new_scheduled_id() -> str:
    """An ID that nobody can guess."""
    return secrets.token_urlsafe(18)


def outcome(row: ScheduledSend) -> str | None:
    """How it ended, as Matrix sees it: sent or cancelled (by an error, too); None: not yet."""
    if row.state == FAILED:
        return CANCELLED
    return row.state if row.state in (SENT, CANCELLED) else None
