"""Webhooks: being told what happens.  See ``docs/api/webhooks.md``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from client_api.conversations.api import Api, Call
from client_api.conversations.auth import Caller
from client_api.conversations.keys import WEBHOOKS
from homeserver.services.conversations.scopes import WEBHOOKS as SCOPE
from homeserver.services.conversations.shapes.base import Input
from homeserver.services.conversations.shapes.pages import (
    DEFAULT_LIMIT,
    MOST_PER_PAGE,
    Page,
    make_cursor,
    parse_cursor,
)
from homeserver.services.conversations.shapes.times import parse_time
from homeserver.services.conversations.shapes.webhooks import (
    DeliveryInfo,
    DeliveryState,
    MadeWebhook,
    NewWebhookBody,
    ReplayBody,
    Replayed,
    WebhookChangesBody,
    WebhookInfo,
    delivery_info,
    webhook_info,
)
from homeserver.services.conversations.webhooks.registry import Owner
from homeserver.services.conversations.webhooks.service import NewWebhook, WebhookChanges
from homeserver.storage.webhooks import WebhookRow

api = Api("Webhooks", "Requests to an address of yours that tell what happens.")


class DeliveriesQuery(Input, frozen=True, kw_only=True):
    """Which deliveries."""

    state: DeliveryState | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_PER_PAGE)] = DEFAULT_LIMIT
    cursor: str | None = None


def owner_of(caller: Caller) -> Owner:
    """Whose webhooks a caller has: an application its own, everybody else theirs."""
    if caller.application is not None:
        return Owner(application_id=caller.application.application_id)
    return Owner(user_id=caller.requester.user_id)


def _made(row: WebhookRow) -> MadeWebhook:
    return MadeWebhook(secret=row.secret, info=webhook_info(row))


@api.post("/webhooks", scope=SCOPE, status=201, idempotent=False)
async def create_webhook(call: Call[NewWebhookBody]) -> MadeWebhook:
    """Register a webhook: from now on, its address is told what happens.

    An application is told what its users are told, a user what they are told. `events` names types
    such as `message.created`, families such as `message.*`, or `*`. Each request is signed by the
    Standard Webhooks scheme with the secret, which is shown this once.
    """
    body = call.body
    new = NewWebhook(body.url, body.events, body.description, body.concurrency)
    return _made(await call.app[WEBHOOKS].create(owner_of(call.caller), new))


@api.get("/webhooks", scope=SCOPE)
async def list_webhooks(call: Call) -> Page[WebhookInfo]:
    """List the webhooks, the oldest first, and how each does."""
    rows = await call.app[WEBHOOKS].list_of(owner_of(call.caller))
    return Page(items=[webhook_info(row) for row in rows])


@api.get("/webhooks/{webhook_id}", scope=SCOPE)
async def get_webhook(call: Call) -> WebhookInfo:
    """Read a webhook."""
    row = await call.app[WEBHOOKS].get(owner_of(call.caller), call.path("webhook_id"))
    return webhook_info(row)


@api.patch("/webhooks/{webhook_id}", scope=SCOPE)
async def change_webhook(call: Call[WebhookChangesBody]) -> WebhookInfo:
    """Change a webhook, pause it, or make it active again.

    One that is made active goes on where it stopped: what happened meanwhile is told then.
    """
    body = call.body
    changes = WebhookChanges(body.url, body.events, body.description, body.concurrency, body.state)
    webhook_id = call.path("webhook_id")
    row = await call.app[WEBHOOKS].change(owner_of(call.caller), webhook_id, changes)
    return webhook_info(row)


@api.delete("/webhooks/{webhook_id}", scope=SCOPE)
async def delete_webhook(call: Call) -> None:
    """Delete a webhook, what it was still to be told, and its log."""
    await call.app[WEBHOOKS].delete(owner_of(call.caller), call.path("webhook_id"))


@api.post("/webhooks/{webhook_id}/rotate-secret", scope=SCOPE, idempotent=False)
async def rotate_webhook_secret(call: Call) -> MadeWebhook:
    """Sign with a new secret; for 24 hours each request is signed with the old one as well."""
    webhooks = call.app[WEBHOOKS]
    return _made(await webhooks.rotate_secret(owner_of(call.caller), call.path("webhook_id")))


@api.post("/webhooks/{webhook_id}/test", scope=SCOPE, idempotent=False)
async def test_webhook(call: Call) -> DeliveryInfo:
    """Send an update of the type `webhook.test` at once, and tell what came of it."""
    webhooks = call.app[WEBHOOKS]
    return delivery_info(await webhooks.test(owner_of(call.caller), call.path("webhook_id")))


@api.get("/webhooks/{webhook_id}/deliveries", scope=SCOPE)
async def list_deliveries(call: Call[None, DeliveriesQuery]) -> Page[DeliveryInfo]:
    """List what was sent, or is to be, the newest first: with status and latency."""
    query = call.query
    before = parse_cursor(query.cursor, int)[0] if query.cursor is not None else None
    found = await call.app[WEBHOOKS].deliveries_of(
        owner_of(call.caller),
        call.path("webhook_id"),
        state=query.state,
        before=before,
        limit=query.limit + 1,
    )
    items = found[: query.limit]
    more = len(found) > len(items)
    return Page(
        items=[delivery_info(delivery) for delivery in items],
        next=make_cursor(items[-1].sequence) if more else None,
    )


@api.post("/webhooks/{webhook_id}/replay", scope=SCOPE)
async def replay_deliveries(call: Call[ReplayBody]) -> Replayed:
    """Send again all that failed since a time, or with `delivered` everything: the same IDs."""
    count = await call.app[WEBHOOKS].replay_since(
        owner_of(call.caller),
        call.path("webhook_id"),
        parse_time(call.body.since, "since"),
        also_delivered=call.body.delivered,
    )
    return Replayed(count=count)


@api.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", scope=SCOPE)
async def replay_delivery(call: Call) -> None:
    """Send one delivery again, under the same ID."""
    await call.app[WEBHOOKS].replay_one(
        owner_of(call.caller), call.path("webhook_id"), call.path("delivery_id")
    )
