"""Webhooks as their owners have them: made, changed, tested, looked into, replayed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from msgspec import Struct

from homeserver.errors import InvalidParam, NotFound
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.webhooks.delivering import result_of
from homeserver.services.conversations.webhooks.event_types import TEST, parse_wanted
from homeserver.services.conversations.webhooks.following import new_delivery_id
from homeserver.services.conversations.webhooks.registry import Owner, Registry
from homeserver.services.conversations.webhooks.signing import new_secret
from homeserver.services.conversations.webhooks.webhook import (
    ACTIVE,
    GIVE_UP_AFTER_MS,
    HOUR_MS,
    PAUSED,
)
from homeserver.services.rate_limits import RateLimits
from homeserver.storage import webhook_deliveries as deliveries
from homeserver.storage import webhooks as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.webhook_deliveries import (
    DELIVERED,
    FAILED,
    GONE,
    LARGEST_SEQUENCE,
    PENDING,
    Delivery,
    NewDelivery,
)
from homeserver.storage.webhooks import WebhookRow

MOST_WEBHOOKS = 20
MOST_CONCURRENT = 16
DEFAULT_CONCURRENCY = 4
MAX_URL_LENGTH = 2_000
MAX_DESCRIPTION_LENGTH = 200
OLD_SECRET_LIVES_MS = 24 * HOUR_MS
PRUNED_PER_STEP = 500
STATES = (PENDING, DELIVERED, FAILED, GONE)


class NewWebhook(Struct, frozen=True):
    """What an owner says of a webhook to be."""

    url: str
    events: Sequence[str]
    description: str = ""
    concurrency: int = DEFAULT_CONCURRENCY


class WebhookChanges(Struct, frozen=True):
    """What an owner changes; None: as it was.  ``state``: active or paused."""

    url: str | None = None
    events: Sequence[str] | None = None
    description: str | None = None
    concurrency: int | None = None
    state: str | None = None


class Limits(Struct, frozen=True):
    """What the admin says of webhooks."""

    allow_http: bool
    keep_log_ms: int


class Webhooks:
    """What owners do with their webhooks.  A job of the caretaker prunes the log of deliveries."""

    def __init__(
        self,
        *,
        database: Database,
        registry: Registry,
        position: Callable[[], int],
        limits: Limits,
        rate_limits: RateLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        """``position``: where the log stands."""
        self._database = database
        self._registry = registry
        self._position = position
        self._limits = limits
        self._rate_limits = rate_limits
        self._clock_ms = clock_ms

    async def create(self, owner: Owner, new: NewWebhook) -> WebhookRow:
        """Register a webhook: it is told what happens from now on.

        Raises :class:`InvalidParam`, and :class:`Problem` ``quota_exceeded``.
        """
        mine = await self.list_of(owner)
        if len(mine) >= MOST_WEBHOOKS:
            raise Problem(
                "quota_exceeded", f"There are {MOST_WEBHOOKS} webhooks: delete some", status=429
            )
        row = WebhookRow(
            webhook_id=f"wh_{secrets.token_hex(8)}",
            application_id=owner.application_id,
            user_id=owner.user_id,
            url=self._checked_url(new.url),
            events=parse_wanted(new.events),
            description=_checked_description(new.description),
            secret=new_secret(),
            previous_secret=None,
            previous_until=None,
            concurrency=_checked_concurrency(new.concurrency),
            state=ACTIVE,
            reason=None,
            position=self._position(),
            failures=0,
            failing_since=None,
            rest_until=None,
            created_at=self._clock_ms(),
        )
        await storage.insert(self._database, row)
        self._registry.take_up(row)
        return row

    async def list_of(self, owner: Owner) -> list[WebhookRow]:
        """An owner's webhooks, the oldest first."""
        return await storage.get_of(
            self._database, application_id=owner.application_id, user_id=owner.user_id
        )

    async def get(self, owner: Owner, webhook_id: str) -> WebhookRow:
        """A webhook of the owner's.  Raises :class:`NotFound`."""
        for row in await self.list_of(owner):
            if row.webhook_id == webhook_id:
                return row
        raise NotFound("There is no such webhook")

    async def change(self, owner: Owner, webhook_id: str, changes: WebhookChanges) -> WebhookRow:
        """Change a webhook; one that is made active again goes on where it stopped.

        Raises :class:`NotFound`, :class:`InvalidParam`.
        """
        row = await self.get(owner, webhook_id)
        if changes.url is not None:
            row = replace(row, url=self._checked_url(changes.url))
        if changes.events is not None:
            row = replace(row, events=parse_wanted(changes.events))
        if changes.description is not None:
            row = replace(row, description=_checked_description(changes.description))
        if changes.concurrency is not None:
            row = replace(row, concurrency=_checked_concurrency(changes.concurrency))
        if changes.state is not None:
            if changes.state not in (ACTIVE, PAUSED):
                raise InvalidParam(f"'state' must be {ACTIVE} or {PAUSED}")
            row = replace(row, state=changes.state, reason=None)
        # whatever has changed may be the remedy
        row = replace(row, failures=0, failing_since=None, rest_until=None)
        await storage.change(self._database, row)
        if row.state == ACTIVE:
            now = self._clock_ms()
            await deliveries.keep_pending(
                self._database, webhook_id, now=now, give_up_at=now + GIVE_UP_AFTER_MS
            )
        self._registry.take_up(row)
        self._registry.wake()
        return row

    async def delete(self, owner: Owner, webhook_id: str) -> None:
        """Delete a webhook and its log.  Raises :class:`NotFound`."""
        if not await storage.delete(
            self._database,
            webhook_id,
            application_id=owner.application_id,
            user_id=owner.user_id,
        ):
            raise NotFound("There is no such webhook")
        await self._registry.forget(webhook_id)

    async def rotate_secret(self, owner: Owner, webhook_id: str) -> WebhookRow:
        """Sign with a new secret; with the old one too, for a day.  Raises :class:`NotFound`."""
        row = await self.get(owner, webhook_id)
        row = replace(
            row,
            secret=new_secret(),
            previous_secret=row.secret,
            previous_until=self._clock_ms() + OLD_SECRET_LIVES_MS,
        )
        await storage.set_secrets(self._database, row)
        self._registry.take_up(row)
        return row

    async def account_ended(self, connection: Connection, user_id: str) -> None:
        """Delete an ended account's own webhooks."""
        await storage.delete_of_user(connection, user_id)

    # ------------------------------------------------------------ the log of deliveries

    async def deliveries_of(
        self, owner: Owner, webhook_id: str, *, state: str | None, before: int | None, limit: int
    ) -> list[Delivery]:
        """What was, or is to be, sent; the newest first.  Raises :class:`NotFound`."""
        await self.get(owner, webhook_id)
        if state is not None and state not in STATES:
            raise InvalidParam(f"'state' must be one of {', '.join(STATES)}")
        return await deliveries.get_page(
            self._database,
            webhook_id,
            state=state,
            before=before if before is not None else LARGEST_SEQUENCE,
            limit=limit,
        )

    async def replay_one(self, owner: Owner, webhook_id: str, delivery_id: str) -> None:
        """Send something again, under the same ID.  Raises :class:`NotFound`."""
        await self.get(owner, webhook_id)
        now = self._clock_ms()
        if not await deliveries.replay_one(
            self._database, webhook_id, delivery_id, now=now, give_up_at=now + GIVE_UP_AFTER_MS
        ):
            raise NotFound("There is no such delivery; they are kept for a while only")
        self._registry.queued([webhook_id])

    async def replay_since(
        self, owner: Owner, webhook_id: str, since: int, *, also_delivered: bool
    ) -> int:
        """Send again what failed since a time (ms), or all; how many.  Raises :class:`NotFound`."""
        await self.get(owner, webhook_id)
        now = self._clock_ms()
        count = await deliveries.replay_since(
            self._database,
            webhook_id,
            (FAILED, DELIVERED) if also_delivered else (FAILED,),
            since=since,
            now=now,
            give_up_at=now + GIVE_UP_AFTER_MS,
        )
        self._registry.queued([webhook_id])
        return count

    async def test(self, owner: Owner, webhook_id: str) -> Delivery:
        """Send something harmless at once, and tell what came of it.

        Raises :class:`NotFound`, :class:`~homeserver.errors.LimitExceeded`.
        """
        self._rate_limits.check("webhook_test", owner.application_id or owner.user_id or "")
        webhook = self._registry.take_up(await self.get(owner, webhook_id))
        now = self._clock_ms()
        new = NewDelivery(new_delivery_id(), webhook_id, TEST, data='{"message":"This is a test"}')
        # not due before this is over: no worker takes it as well
        await deliveries.insert(
            self._database, [new], now=now, due_at=now + HOUR_MS, give_up_at=now
        )
        delivery = await self._delivery(webhook_id, new.delivery_id)
        body = await self._registry.payloads.get(delivery, webhook.owner)
        assert body is not None
        attempt = await self._registry.sender.send(
            webhook.row.url, webhook.secrets(now), delivery.delivery_id, body
        )
        result = result_of(delivery, attempt, self._clock_ms())
        await deliveries.finish(self._database, [result])
        return await self._delivery(webhook_id, new.delivery_id)

    async def _delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        delivery = await deliveries.get(self._database, webhook_id, delivery_id)
        if delivery is None:
            raise NotFound("There is no such delivery; they are kept for a while only")
        return delivery

    # ------------------------------------------------------------ the caretaker's job

    async def step(self) -> bool:
        """Delete some of the log that is too old; False if nothing was."""
        before = self._clock_ms() - self._limits.keep_log_ms
        return await deliveries.delete_old(self._database, before, PRUNED_PER_STEP) > 0

    async def next_due(self) -> int | None:
        """When something of the log is too old (ms)."""
        oldest = await deliveries.oldest(self._database)
        return oldest + self._limits.keep_log_ms if oldest is not None else None

    # ------------------------------------------------------------ checks

    def _checked_url(self, url: str) -> str:
        schemes = ("https", "http") if self._limits.allow_http else ("https",)
        try:
            parts = urlsplit(url)
            good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or len(url) > MAX_URL_LENGTH or not url.isascii() or not url.isprintable():
            raise InvalidParam(f"'url' must be an address of {' or '.join(schemes)}")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise InvalidParam("'url' must not have a user name, a password or a fragment")
        return url


def _checked_description(text: str) -> str:
    if len(text) > MAX_DESCRIPTION_LENGTH or not (text.isprintable() or text == ""):
        raise InvalidParam(
            f"'description' must be at most {MAX_DESCRIPTION_LENGTH} printable characters"
        )
    return text


def _checked_concurrency(number: int) -> int:
    if not 1 <= number <= MOST_CONCURRENT:
        raise InvalidParam(f"'concurrency' must be 1 to {MOST_CONCURRENT}")
    return number
