"""Webhooks: who is told what, at which address, and how far each has got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

from homeserver.storage.database import Queryable

COLUMNS = """
webhook_id, application_id, user_id, url, events, description, secret, previous_secret,
previous_until, concurrency, state, reason, position, failures, failing_since, rest_until,
created_at
"""
INSERT = f"""
INSERT INTO webhooks ({COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
"""
SELECT_ALL = f"""
SELECT {COLUMNS} FROM webhooks w WHERE user_id IS NULL OR EXISTS (
    SELECT 1 FROM accounts a WHERE a.user_id = w.user_id AND a.deactivated_at IS NULL)
"""
SELECT_OF = f"""
SELECT {COLUMNS} FROM webhooks WHERE application_id = $1 OR user_id = $2
ORDER BY created_at, webhook_id
"""
CHANGE = """
UPDATE webhooks SET url = $2, events = $3, description = $4, concurrency = $5, state = $6,
    reason = $7, failures = $8, failing_since = $9, rest_until = $10
WHERE webhook_id = $1
"""
SET_SECRETS = """
UPDATE webhooks SET secret = $2, previous_secret = $3, previous_until = $4 WHERE webhook_id = $1
"""
SET_HEALTH = """
UPDATE webhooks SET state = $2, reason = $3, failures = $4, failing_since = $5, rest_until = $6
WHERE webhook_id = $1 AND state = 'active'
"""
# Forward only: of two processes that follow the log, neither takes the other back.
SET_POSITIONS = """
UPDATE webhooks SET position = $2 WHERE webhook_id = ANY($1::text[]) AND position < $2
"""
DELETE = """
DELETE FROM webhooks WHERE webhook_id = $1 AND (application_id = $2 OR user_id = $3)
RETURNING webhook_id
"""
DELETE_OF_USER = "DELETE FROM webhooks WHERE user_id = $1"


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A webhook, either an application's or a user's.  Times in ms."""

    webhook_id: str
    application_id: str | None
    user_id: str | None
    url: str
    events: Sequence[str]
    description: str
    secret: str = field(repr=False)
    previous_secret: str | None = field(repr=False)
    previous_until: int | None
    concurrency: int
    state: str
    reason: str | None
    position: int
    failures: int
    failing_since: int | None
    rest_until: int | None
    created_at: int


async def insert(db: Queryable, webhook: WebhookRow) -> None:
    """Store a new webhook."""
    await db.execute(INSERT, *astuple(webhook))


async def get_all(db: Queryable) -> list[WebhookRow]:
    """All webhooks, but those of users whose account has ended."""
    return [WebhookRow(**row) for row in await db.fetch(SELECT_ALL)]


async def get_of(
    db: Queryable, *, application_id: str | None = None, user_id: str | None = None
) -> list[WebhookRow]:
    """The webhooks of an application, or of a user, the oldest first."""
    return [WebhookRow(**row) for row in await db.fetch(SELECT_OF, application_id, user_id)]


async def change(db: Queryable, webhook: WebhookRow) -> None:
    """Store what its owner may change, and its health."""
    await db.execute(
        CHANGE,
        webhook.webhook_id,
        webhook.url,
        webhook.events,
        webhook.description,
        webhook.concurrency,
        webhook.state,
        webhook.reason,
        webhook.failures,
        webhook.failing_since,
        webhook.rest_until,
    )


async def set_secrets(db: Queryable, webhook: WebhookRow) -> None:
    """Store its secrets."""
    await db.execute(
        SET_SECRETS,
        webhook.webhook_id,
        webhook.secret,
        webhook.previous_secret,
        webhook.previous_until,
    )


async def set_health(db: Queryable, webhook: WebhookRow) -> None:
    """Store how its endpoint does, unless its owner has paused it."""
    await db.execute(
        SET_HEALTH,
        webhook.webhook_id,
        webhook.state,
        webhook.reason,
        webhook.failures,
        webhook.failing_since,
        webhook.rest_until,
    )


async def set_positions(db: Queryable, webhook_ids: Sequence[str], position: int) -> None:
    """Note that everything up to a position of the log is queued for these."""
    await db.execute(SET_POSITIONS, list(webhook_ids), position)


async def delete(
    db: Queryable, webhook_id: str, *, application_id: str | None, user_id: str | None
) -> bool:
    """Delete a webhook of this application, or of this user; False without such."""
    return await db.fetchval(DELETE, webhook_id, application_id, user_id) is not None


async def delete_of_user(db: Queryable, user_id: str) -> None:
    """Delete a user's own webhooks."""
    await db.execute(DELETE_OF_USER, user_id)
