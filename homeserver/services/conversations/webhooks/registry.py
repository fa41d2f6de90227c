"""All webhooks there are, each with the worker that serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import orjson
import structlog
from msgspec import Struct

from homeserver.services.conversations.webhooks.delivering import Delivering, Payloads
from homeserver.services.conversations.webhooks.event_types import DISABLED
from homeserver.services.conversations.webhooks.following import Following, new_delivery_id
from homeserver.services.conversations.webhooks.happenings import Audience, Source
from homeserver.services.conversations.webhooks.sending import Sender
from homeserver.services.conversations.webhooks.webhook import (
    GIVE_UP_AFTER_MS,
    STOPPED,
    Webhook,
)
from homeserver.storage import webhook_deliveries as deliveries
from homeserver.storage import webhooks as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.webhook_deliveries import NewDelivery
from homeserver.storage.webhooks import WebhookRow

logger = structlog.get_logger(__name__)

LOOK_AGAIN_SECONDS = 60.0
COMMITTED_AFTER_SECONDS = (0.05, 0.5, 5.0)


class Owner(Struct, frozen=True):
    """Whose webhooks: an application's, or a user's."""

    application_id: str | None = None
    user_id: str | None = None

    def has(self, row: WebhookRow) -> bool:
        """Whether a webhook is this owner's."""
        return (row.application_id, row.user_id) == (self.application_id, self.user_id)


class Registry:
    """The webhooks in memory, and their workers."""

    def __init__(
        self,
        *,
        database: Database,
        source: Source,
        audience: Audience,
        sender: Sender,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self.sender = sender
        self._clock_ms = clock_ms
        self.payloads = Payloads(source, audience, clock_ms)
        self._webhooks: dict[str, Webhook] = {}
        self._workers: dict[str, Delivering] = {}
        self._following = Following(
            database=database,
            source=source,
            audience=audience,
            webhooks=self._webhooks.values,
            queued=self.queued,
            clock_ms=clock_ms,
        )
        self._refreshing: asyncio.Task[None] | None = None
        self._running = False

    # ------------------------------------------------------------ running

    async def start(self) -> None:
        """Serve all webhooks there are, from where each stood."""
        self._running = True
        await self.refresh()
        self._following.start()
        self._refreshing = asyncio.create_task(self._keep_fresh(), name="webhooks")

    async def close(self) -> None:
        """Stop; what is under way is sent again after the next start."""
        self._running = False
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await self._refreshing
        await self._following.close()
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))

    @property
    def any_active(self) -> bool:
        """Whether anybody is to be told of anything."""
        return any(webhook.is_active for webhook in self._webhooks.values())

    def wake(self) -> None:
        """The log has grown."""
        if self._webhooks:
            self._following.wake()

    def queued(self, webhook_ids: Iterable[str]) -> None:
        """There is something to send to these."""
        for webhook_id in webhook_ids:
            worker = self._workers.get(webhook_id)
            if worker is not None:
                worker.wake()

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            try:
                await self.refresh()
            except Exception:
                logger.exception("could not look for webhooks")

    async def refresh(self) -> None:
        """Take up what other processes, or the deletion of their owners, did to webhooks."""
        rows = {row.webhook_id: row for row in await storage.get_all(self._database)}
        for webhook_id in self._webhooks.keys() - rows.keys():
            await self.forget(webhook_id)
        for row in rows.values():
            self.take_up(row)
        self._following.wake()

    def take_up(self, row: WebhookRow) -> Webhook:
        """A webhook is new, or has changed."""
        webhook = self._webhooks.get(row.webhook_id)
        if webhook is None:
            webhook = self._webhooks[row.webhook_id] = Webhook(row)
        webhook.row = row
        worker = self._workers.get(row.webhook_id)
        if worker is not None:
            worker.wake()
        elif self._running:
            worker = self._workers[row.webhook_id] = self._worker(webhook)
            worker.start()
        return webhook

    def _worker(self, webhook: Webhook) -> Delivering:
        return Delivering(
            webhook,
            database=self._database,
            payloads=self.payloads,
            sender=self.sender,
            noted=self._noted,
            clock_ms=self._clock_ms,
        )

    async def forget(self, webhook_id: str) -> None:
        """A webhook is no more."""
        self._webhooks.pop(webhook_id, None)
        worker = self._workers.pop(webhook_id, None)
        if worker is not None:
            await worker.close()

    async def _noted(self, webhook: Webhook) -> None:
        """An endpoint's health has changed; if it was given up, its owner's others are told."""
        row = webhook.row
        async with webhook.writing:  # the last to be written is the last there is
            await storage.set_health(self._database, webhook.row)
        if row.state != STOPPED:
            return
        logger.warning("webhook disabled", webhook=row.webhook_id, reason=row.reason)
        owner = Owner(row.application_id, row.user_id)
        data = {"webhook_id": row.webhook_id, "url": row.url, "reason": row.reason}
        await self._tell(owner, DISABLED, data)

    # ------------------------------------------------------------ what is not from the log

    async def announce(
        self, connection: Connection, owners: Sequence[str], type_: str, data: Mapping[str, object]
    ) -> None:
        """Queue something for these owners, in the transaction in which it happens.

        ``owners``: IDs of applications and users; ``data``: without any text of people's.
        """
        told = [webhook for webhook in self._webhooks.values() if webhook.owner in owners]
        if told:
            await self._queue(connection, told, type_, data)
            loop = asyncio.get_running_loop()
            for seconds in COMMITTED_AFTER_SECONDS:  # it is nowhere told when
                loop.call_later(seconds, self.queued, [webhook.webhook_id for webhook in told])

    async def _tell(self, owner: Owner, type_: str, data: Mapping[str, object]) -> None:
        mine = [webhook for webhook in self._webhooks.values() if owner.has(webhook.row)]
        async with self._database.transaction() as connection:
            await self._queue(connection, mine, type_, data)
        self.queued(webhook.webhook_id for webhook in mine)

    async def _queue(
        self,
        connection: Connection,
        webhooks: Iterable[Webhook],
        type_: str,
        data: Mapping[str, object],
    ) -> None:
        text, now = orjson.dumps(data).decode(), self._clock_ms()
        new = [
            NewDelivery(new_delivery_id(), webhook.webhook_id, type_, data=text)
            for webhook in webhooks
            if webhook.row.state != STOPPED and webhook.wants(type_)
        ]
        if new:
            await deliveries.insert(
                connection, new, now=now, due_at=now, give_up_at=now + GIVE_UP_AFTER_MS
            )
