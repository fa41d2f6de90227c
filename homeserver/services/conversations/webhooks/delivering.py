"""Works the queue of one webhook off: in order, not too many at once, again after a failure.

What is taken from the queue is leased for a while; whoever dies with it leaves it to the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson
import structlog

from homeserver.metrics import WEBHOOK_DELIVERIES
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.conversations.webhooks.happenings import Audience, Source
from homeserver.services.conversations.webhooks.sending import (
    DEADLINE_SECONDS,
    Attempt,
    Sender,
)
from homeserver.services.conversations.webhooks.webhook import Webhook, delay_ms
from homeserver.storage import webhook_deliveries as storage
from homeserver.storage.database import Database
from homeserver.storage.webhook_deliveries import (
    DELIVERED,
    FAILED,
    GONE,
    PENDING,
    Delivery,
    Result,
)

logger = structlog.get_logger(__name__)

LEASE_MS = 30_000
FRESH_MS = 1_000  # so long, what was found when it happened holds
BUFFERED = 50
STALE_AFTER_MS = LEASE_MS - int(DEADLINE_SECONDS * 1000) - 5_000
LONGEST_SLEEP_SECONDS = 60.0
AFTER_FAILURE_SECONDS = 5.0


def envelope(delivery: Delivery, data: bytes) -> bytes:
    """What is sent: the same each time, but for what was deleted meanwhile."""
    head: dict[str, str] = {
        "id": delivery.delivery_id,
        "type": delivery.type,
        "created_at": rfc3339(delivery.created_at),
    }
    if delivery.user_id is not None:
        head["user"] = address(delivery.user_id)
    return orjson.dumps(head)[:-1] + b',"data":' + data + b"}"


class Payloads:
    """Makes what is sent of what is queued."""

    def __init__(self, source: Source, audience: Audience, clock_ms: Callable[[], int]) -> None:
        self._source = source
        self._audience = audience
        self._clock_ms = clock_ms

    async def get(self, delivery: Delivery, owner: str) -> bytes | None:
        """The request's body; None if what happened is gone, or for the owner no more."""
        if delivery.event_id is None:
            return envelope(delivery, orjson.dumps(delivery.data))
        happening = await self._source.happening_of(delivery.event_id, delivery.type)
        update = happening.update if happening is not None else None
        if happening is None or update is None:
            return None
        if delivery.attempts or self._clock_ms() - delivery.created_at > FRESH_MS:
            happening = replace(happening, position=delivery.position or 0)
            if not await self._audience.still_told(happening, owner):
                return None
        return envelope(delivery, update)


class Delivering:
    """The worker of one webhook."""

    def __init__(
        self,
        webhook: Webhook,
        *,
        database: Database,
        payloads: Payloads,
        sender: Sender,
        noted: Callable[[Webhook], Awaitable[None]],
        clock_ms: Callable[[], int],
    ) -> None:
        """``noted``: the endpoint's health has changed, and is to be stored."""
        self.webhook = webhook
        self._database = database
        self._payloads = payloads
        self._sender = sender
        self._noted = noted
        self._clock_ms = clock_ms
        self._wake = asyncio.Event()
        self._buffer: deque[Delivery] = deque()
        self._taken_at = 0
        self._running: set[asyncio.Task[Result]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what waits."""
        self._task = asyncio.create_task(self._run(), name="webhook")

    async def close(self) -> None:
        """Stop; what is under way is sent again by the next process."""
        tasks = [*self._running, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """There is something to send, or the webhook has changed."""
        self._wake.set()

    # ------------------------------------------------------------ the loop

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._fill()
                if self._running:
                    await self._collect()
                else:
                    await self._sleep()
            except Exception:
                logger.exception("a webhook's queue failed", webhook=self.webhook.webhook_id)
                await asyncio.sleep(AFTER_FAILURE_SECONDS)

    async def _collect(self) -> None:
        """Wait until a request is done, or there is more to send; note what is done."""
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({*self._running, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        done = {task for task in self._running if task.done()}
        self._running -= done
        if done:
            await storage.finish(self._database, [task.result() for task in done])

    async def _fill(self) -> None:
        """Begin as many requests as may be under way."""
        now = self._clock_ms()
        may_send = self._may_send(now)
        if self._buffer and (not may_send or now - self._taken_at > STALE_AFTER_MS):
            await self._give_back()
        if not may_send or len(self._running) >= self.webhook.slots():
            return
        if not self._buffer:
            self._buffer.extend(
                await storage.claim(
                    self._database,
                    self.webhook.webhook_id,
                    now=now,
                    until=now + LEASE_MS,
                    limit=BUFFERED if self.webhook.row.failures == 0 else self.webhook.slots(),
                )
            )
            self._taken_at = now
        while self._buffer and len(self._running) < self.webhook.slots():
            delivery = self._buffer.popleft()
            self._running.add(asyncio.create_task(self._deliver(delivery)))

    def _may_send(self, now: int) -> bool:
        rest_until = self.webhook.row.rest_until
        return self.webhook.is_active and (rest_until is None or rest_until <= now)

    async def _give_back(self) -> None:
        deliveries = list(self._buffer)
        self._buffer.clear()
        await storage.unclaim(self._database, deliveries)

    async def _sleep(self) -> None:
        """Until something is due, as far as is known."""
        now, row = self._clock_ms(), self.webhook.row
        due = await storage.next_due(self._database, self.webhook.webhook_id)
        if due is not None and row.rest_until is not None:
            due = max(due, row.rest_until)
        seconds = LONGEST_SLEEP_SECONDS
        if due is not None and self.webhook.is_active:
            seconds = min(max((due - now) / 1000, 0.01), LONGEST_SLEEP_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    # ------------------------------------------------------------ one delivery

    async def _deliver(self, delivery: Delivery) -> Result:
        now = self._clock_ms()
        try:
            body = await self._payloads.get(delivery, self.webhook.owner)
        except Exception:
            logger.exception("a delivery could not be made", delivery=delivery.delivery_id)
            failed = Attempt("what happened could not be read", None, 0)
            return result_of(delivery, failed, now)
        if body is None:
            reason = "what happened was deleted or hidden before it could be told"
            lease = delivery.due_at or 0
            return Result(delivery.delivery_id, lease, GONE, None, 0, now, None, None, reason)
        attempt = await self.attempt(delivery, body)
        return result_of(delivery, attempt, self._clock_ms())

    async def attempt(self, delivery: Delivery, body: bytes) -> Attempt:
        """Send something now, whatever its turn; the endpoint's health is noted."""
        row, now = self.webhook.row, self._clock_ms()
        secrets = self.webhook.secrets(now)
        attempt = await self._sender.send(row.url, secrets, delivery.delivery_id, body)
        WEBHOOK_DELIVERIES.labels("accepted" if attempt.error is None else "failed").inc()
        if self.webhook.note(attempt, self._clock_ms()):
            await self._noted(self.webhook)
        return attempt


def result_of(delivery: Delivery, attempt: Attempt, now: int) -> Result:
    """What becomes of a delivery after an attempt: it is done, due again, or given up."""
    state, due_at = DELIVERED, None
    if attempt.error is not None:
        state = FAILED if now >= delivery.give_up_at else PENDING
    if state == PENDING:
        wait = max(delay_ms(delivery.attempts + 1), attempt.retry_after_ms or 0)
        due_at = min(now + wait, delivery.give_up_at)
    return Result(
        delivery.delivery_id,
        delivery.due_at or 0,
        state,
        due_at,
        1,
        now,
        attempt.response_status,
        attempt.latency_ms,
        attempt.error,
    )
