"""Webhooks and what became of their deliveries, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from homeserver.services.conversations.shapes.base import Input, Shape
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.storage.webhook_deliveries import Delivery
from homeserver.storage.webhooks import WebhookRow

DeliveryState = Literal["pending", "delivered", "failed", "gone"]


class WebhookInfo(Shape, frozen=True, kw_only=True):
    """A webhook, without its secret.

    ``state``: active; paused, by you; disabled, because nothing was accepted for three days
    (``reason``).  ``failures``: in a row.  ``position``: all of the log up to it is queued.
    """

    id: str
    url: str
    events: Sequence[str]
    description: str
    concurrency: int
    state: Literal["active", "paused", "disabled"]
    reason: str | None
    failures: int
    failing_since: str | None
    rests_until: str | None
    position: int
    created_at: str


class MadeWebhook(Shape, frozen=True, kw_only=True):
    """A new webhook, or one with a new secret: the secret is shown this once."""

    secret: str
    info: WebhookInfo


class NewWebhookBody(Input, frozen=True, kw_only=True):
    """What shall be told, and where.  ``concurrency``: requests under way at once, 1 to 16."""

    url: str
    events: list[str]
    description: str = ""
    concurrency: int = 4


class WebhookChangesBody(Input, frozen=True, kw_only=True):
    """What shall be otherwise."""

    url: str | None = None
    events: list[str] | None = None
    description: str | None = None
    concurrency: int | None = None
    state: Literal["active", "paused"] | None = None


class DeliveryInfo(Shape, frozen=True, kw_only=True):
    """Something that was, or is to be, sent.  ``id``: the header `webhook-id`.

    ``state``: pending; delivered; failed, after three days; gone: what happened was deleted before
    it could be told.  ``response_status``, ``latency_ms`` and ``error`` are of the last attempt.
    """

    id: str
    type: str
    state: DeliveryState
    position: int | None
    created_at: str
    attempts: int
    last_attempt_at: str | None
    next_attempt_at: str | None
    response_status: int | None
    latency_ms: int | None
    error: str | None


class ReplayBody(Input, frozen=True, kw_only=True):
    """Since when to send again what failed; with ``delivered``, what was accepted as well."""

    since: str
    delivered: bool = False


class Replayed(Shape, frozen=True, kw_only=True):
    """How many deliveries are sent again."""

    count: int


def webhook_info(row: WebhookRow) -> WebhookInfo:
    """A webhook as JSON."""
    return WebhookInfo(
        id=row.webhook_id,
        url=row.url,
        events=row.events,
        description=row.description,
        concurrency=row.concurrency,
        state=row.state,  # type: ignore[arg-type]
        reason=row.reason,
        failures=row.failures,
        failing_since=_time(row.failing_since),
        rests_until=_time(row.rest_until),
        position=row.position,
        created_at=rfc3339(row.created_at),
    )


def delivery_info(delivery: Delivery) -> DeliveryInfo:
    """A delivery as JSON."""
    return DeliveryInfo(
        id=delivery.delivery_id,
        type=delivery.type,
        state=delivery.state,  # type: ignore[arg-type]
        position=delivery.position,
        created_at=rfc3339(delivery.created_at),
        attempts=delivery.attempts,
        last_attempt_at=_time(delivery.attempted_at),
        next_attempt_at=_time(delivery.due_at) if delivery.state == "pending" else None,
        response_status=delivery.response_status,
        latency_ms=delivery.latency_ms,
        error=delivery.error,
    )


def _time(ms: int | None) -> str | None:
    return rfc3339(ms) if ms is not None else None
