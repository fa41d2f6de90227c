"""Goes along the log, and queues for each webhook what it asks for.

A webhook's position is written in the transaction that queues what lies before it.  So whenever
the process dies, the next one goes on where it stood: nothing is lost, nothing is queued twice.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import structlog

from homeserver.services.conversations.webhooks.happenings import Audience, Happening, Source
from homeserver.services.conversations.webhooks.webhook import GIVE_UP_AFTER_MS, Webhook
from homeserver.storage import webhook_deliveries as deliveries
from homeserver.storage import webhooks as storage
from homeserver.storage.database import Database
from homeserver.storage.webhook_deliveries import NewDelivery

logger = structlog.get_logger(__name__)

AT_ONCE = 500
WRITE_POSITIONS_EVERY = 2_000  # positions, where there was nothing to queue
AFTER_FAILURE_SECONDS = 5.0


def new_delivery_id() -> str:
    """The ID under which something is sent, however often."""
    return f"msg_{secrets.token_urlsafe(18)}"


class Following:
    """One worker for all webhooks.  They mostly stand at the same position, and go together."""

    def __init__(
        self,
        *,
        database: Database,
        source: Source,
        audience: Audience,
        webhooks: Callable[[], Iterable[Webhook]],
        queued: Callable[[Iterable[str]], None],
        clock_ms: Callable[[], int],
    ) -> None:
        """``webhooks``: those there are; ``queued``: told of those that have something to send."""
        self._database = database
        self._source = source
        self._audience = audience
        self._webhooks = webhooks
        self._queued = queued
        self._clock_ms = clock_ms
        self._reached = -1
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what happened while nobody followed."""
        self._task = asyncio.create_task(self._run(), name="webhooks follow the log")

    async def close(self) -> None:
        """Stop, wherever it stands."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """The log has grown, or the webhooks have changed."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while await self.step():
                    pass
            except Exception:
                logger.exception("webhooks cannot follow the log")
                await asyncio.sleep(AFTER_FAILURE_SECONDS)
                continue
            await self._wake.wait()

    async def step(self) -> bool:
        """Take all that are behind a stretch further; False if they are up to date.

        Those that are least behind go first: whoever comes back after weeks holds up nobody.
        """
        head = self._source.position
        behind: defaultdict[int, list[Webhook]] = defaultdict(list)
        for webhook in self._webhooks():
            if webhook.is_active and webhook.position < head:
                behind[webhook.position].append(webhook)
        if not behind:
            return False
        for position in sorted(behind, reverse=True):
            # no further than where others stood: from there they go together
            meeting = min((other for other in behind if other > position), default=None)
            await self._advance(behind[position], position, meeting)
        return True

    async def _advance(self, group: list[Webhook], position: int, meeting: int | None) -> None:
        if position != self._reached:
            self._audience.restart()
        stretch = await self._source.after(position, AT_ONCE)
        upto = stretch.position if meeting is None else min(stretch.position, meeting)
        happenings = [each for each in stretch.happenings if each.position <= upto]
        new = await self._wanted(group, happenings)
        await self._write(group, new, upto)
        self._reached = upto
        for webhook in group:
            webhook.position = max(webhook.position, upto)
        if new:
            self._queued({delivery.webhook_id for delivery in new})

    async def _wanted(
        self, group: Sequence[Webhook], happenings: Iterable[Happening]
    ) -> list[NewDelivery]:
        new = []
        for happening in happenings:
            self._audience.note(happening)
            for webhook in group:
                if not webhook.wants(happening.type):
                    continue
                told = await self._audience.told(happening, webhook.owner)
                if told is not None:
                    new.append(_delivery(webhook, told))
        return new

    async def _write(self, group: Sequence[Webhook], new: Sequence[NewDelivery], upto: int) -> None:
        if not new:
            late = [w for w in group if upto - w.row_position >= WRITE_POSITIONS_EVERY]
            if late:
                await self._set_positions(late, upto)
            return
        now = self._clock_ms()
        async with self._database.transaction() as connection:
            await deliveries.insert(
                connection, new, now=now, due_at=now, give_up_at=now + GIVE_UP_AFTER_MS
            )
            await storage.set_positions(connection, [w.webhook_id for w in group], upto)
        for webhook in group:
            webhook.row_position = upto

    async def _set_positions(self, group: Sequence[Webhook], upto: int) -> None:
        await storage.set_positions(self._database, [w.webhook_id for w in group], upto)
        for webhook in group:
            webhook.row_position = upto


def _delivery(webhook: Webhook, happening: Happening) -> NewDelivery:
    return NewDelivery(
        new_delivery_id(),
        webhook.webhook_id,
        happening.type,
        happening.position,
        happening.user_id,
        happening.event_id,
        happening.data,
    )
