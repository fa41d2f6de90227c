"""What webhooks are to be sent, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable

PENDING, DELIVERED, FAILED, GONE = "pending", "delivered", "failed", "gone"

COLUMNS = """
delivery_id, sequence, webhook_id, type, position, user_id, event_id, data, state, created_at,
due_at, give_up_at, attempts, attempted_at, response_status, latency_ms, error
"""
INSERT = """
INSERT INTO webhook_deliveries (delivery_id, webhook_id, type, position, user_id, event_id, data,
    state, created_at, due_at, give_up_at)
SELECT new.delivery_id, new.webhook_id, new.type, new.position, new.user_id, new.event_id,
    new.data::jsonb, 'pending', $8, $9, $10
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[])
    WITH ORDINALITY
    AS new (delivery_id, webhook_id, type, position, user_id, event_id, data, number)
JOIN webhooks w USING (webhook_id)
ORDER BY number
ON CONFLICT (webhook_id, position, type, coalesce(user_id, '')) WHERE position IS NOT NULL
DO NOTHING
"""
# Whoever claims has until `$3`; should they die, it is due again then.
CLAIM = f"""
UPDATE webhook_deliveries SET due_at = $3 WHERE delivery_id IN (
    SELECT delivery_id FROM webhook_deliveries
    WHERE webhook_id = $1 AND state = 'pending' AND due_at <= $2
    ORDER BY due_at, sequence LIMIT $4 FOR UPDATE SKIP LOCKED)
RETURNING {COLUMNS}
"""
UNCLAIM = """
UPDATE webhook_deliveries d SET due_at = back.due_at
FROM unnest($1::text[], $2::bigint[]) AS back (delivery_id, due_at)
WHERE d.delivery_id = back.delivery_id AND d.state = 'pending'
"""
# Only what is still leased to whoever tried it: it may have been replayed meanwhile.
FINISH = """
UPDATE webhook_deliveries d SET state = done.state, due_at = done.due_at,
    attempts = d.attempts + done.attempts, attempted_at = done.attempted_at,
    response_status = done.response_status, latency_ms = done.latency_ms, error = done.error
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::bigint[], $6::int[], $7::int[],
    $8::text[], $9::bigint[]) AS done (delivery_id, state, due_at, attempts, attempted_at,
    response_status, latency_ms, error, leased_until)
WHERE d.delivery_id = done.delivery_id AND d.due_at = done.leased_until
"""
NEXT_DUE = """
SELECT min(due_at) FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'pending'
"""
SELECT = f"SELECT {COLUMNS} FROM webhook_deliveries WHERE webhook_id = $1 AND delivery_id = $2"
SELECT_PAGE = f"""
SELECT {COLUMNS} FROM webhook_deliveries
WHERE webhook_id = $1 AND ($2::text IS NULL OR state = $2) AND sequence < $3
ORDER BY sequence DESC LIMIT $4
"""
REPLAY_ONE = """
UPDATE webhook_deliveries SET state = 'pending', due_at = $3, give_up_at = $4
WHERE webhook_id = $1 AND delivery_id = $2 RETURNING delivery_id
"""
REPLAY_SINCE = """
WITH again AS (
    UPDATE webhook_deliveries SET state = 'pending', due_at = $4, give_up_at = $5
    WHERE webhook_id = $1 AND state = ANY($2::text[]) AND created_at >= $3
    RETURNING 1)
SELECT count(*) FROM again
"""
KEEP_PENDING = """
UPDATE webhook_deliveries SET due_at = least(due_at, $2), give_up_at = $3
WHERE webhook_id = $1 AND state = 'pending'
"""
COUNT_PENDING = """
SELECT count(*) FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'pending'
"""
DELETE_OLD = """
DELETE FROM webhook_deliveries WHERE delivery_id IN (
    SELECT delivery_id FROM webhook_deliveries WHERE state <> 'pending' AND created_at <= $1
    ORDER BY created_at LIMIT $2)
"""
SELECT_OLDEST = "SELECT min(created_at) FROM webhook_deliveries WHERE state <> 'pending'"
LARGEST_SEQUENCE = 2**63 - 1


class NewDelivery(Struct, frozen=True):
    """Something to be sent: the update of an event, or ``data`` as JSON."""

    delivery_id: str
    webhook_id: str
    type: str
    position: int | None = None
    user_id: str | None = None
    event_id: str | None = None
    data: str | None = None


class Delivery(Struct, frozen=True):
    """Something that was to be sent.  Times in ms."""

    delivery_id: str
    sequence: int
    webhook_id: str
    type: str
    position: int | None
    user_id: str | None
    event_id: str | None
    data: Any
    state: str
    created_at: int
    due_at: int | None
    give_up_at: int
    attempts: int
    attempted_at: int | None
    response_status: int | None
    latency_ms: int | None
    error: str | None


class Result(Struct, frozen=True):
    """What became of an attempt.  ``due_at``: when to try again; ``attempts``: 1, or 0 for none."""

    delivery_id: str
    leased_until: int
    state: str
    due_at: int | None
    attempts: int
    attempted_at: int
    response_status: int | None
    latency_ms: int | None
    error: str | None


async def insert(
    db: Queryable, deliveries: Sequence[NewDelivery], *, now: int, due_at: int, give_up_at: int
) -> None:
    """Queue deliveries in this order; what is queued already, or for nobody, is left out."""
    await db.execute(
        INSERT,
        [delivery.delivery_id for delivery in deliveries],
        [delivery.webhook_id for delivery in deliveries],
        [delivery.type for delivery in deliveries],
        [delivery.position for delivery in deliveries],
        [delivery.user_id for delivery in deliveries],
        [delivery.event_id for delivery in deliveries],
        [delivery.data for delivery in deliveries],
        now,
        due_at,
        give_up_at,
    )


async def claim(
    db: Queryable, webhook_id: str, *, now: int, until: int, limit: int
) -> list[Delivery]:
    """Take what is due, until a time (ms) at which others may take it; in the order of sending."""
    rows = await db.fetch(CLAIM, webhook_id, now, until, limit)
    return sorted((Delivery(**row) for row in rows), key=lambda delivery: delivery.sequence)


async def unclaim(db: Queryable, deliveries: Sequence[Delivery]) -> None:
    """Give back what was not tried: it is due as it was when it was queued."""
    await db.execute(
        UNCLAIM,
        [delivery.delivery_id for delivery in deliveries],
        [delivery.created_at for delivery in deliveries],
    )


async def finish(db: Queryable, results: Sequence[Result]) -> None:
    """Note what became of attempts."""
    await db.execute(
        FINISH,
        [result.delivery_id for result in results],
        [result.state for result in results],
        [result.due_at for result in results],
        [result.attempts for result in results],
        [result.attempted_at for result in results],
        [result.response_status for result in results],
        [result.latency_ms for result in results],
        [result.error for result in results],
        [result.leased_until for result in results],
    )


async def next_due(db: Queryable, webhook_id: str) -> int | None:
    """When something is due again (ms)."""
    due_at: int | None = await db.fetchval(NEXT_DUE, webhook_id)
    return due_at


async def get(db: Queryable, webhook_id: str, delivery_id: str) -> Delivery | None:
    """One delivery of a webhook's."""
    row = await db.fetchrow(SELECT, webhook_id, delivery_id)
    return Delivery(**row) if row is not None else None


async def get_page(
    db: Queryable, webhook_id: str, *, state: str | None, before: int, limit: int
) -> list[Delivery]:
    """A webhook's deliveries, the newest first, beginning before a sequence number."""
    return [
        Delivery(**row) for row in await db.fetch(SELECT_PAGE, webhook_id, state, before, limit)
    ]


async def replay_one(
    db: Queryable, webhook_id: str, delivery_id: str, *, now: int, give_up_at: int
) -> bool:
    """Have a delivery sent again; False if there is none."""
    return await db.fetchval(REPLAY_ONE, webhook_id, delivery_id, now, give_up_at) is not None


async def replay_since(
    db: Queryable,
    webhook_id: str,
    states: Sequence[str],
    *,
    since: int,
    now: int,
    give_up_at: int,
) -> int:
    """Have all in these states sent again that were queued since a time (ms); how many."""
    count: int = await db.fetchval(REPLAY_SINCE, webhook_id, list(states), since, now, give_up_at)
    return count


async def keep_pending(db: Queryable, webhook_id: str, *, now: int, give_up_at: int) -> None:
    """Have all that waits tried now, and not given up before a time (ms)."""
    await db.execute(KEEP_PENDING, webhook_id, now, give_up_at)


async def count_pending(db: Queryable, webhook_id: str) -> int:
    """How much waits to be sent."""
    count: int = await db.fetchval(COUNT_PENDING, webhook_id)
    return count


async def delete_old(db: Queryable, before: int, limit: int) -> int:
    """Delete what was queued before a time (ms) and is done with; how many were."""
    done = await db.execute(DELETE_OLD, before, limit)
    return int(done.rpartition(" ")[2])


async def oldest(db: Queryable) -> int | None:
    """When the oldest was queued that is done with (ms)."""
    created_at: int | None = await db.fetchval(SELECT_OLDEST)
    return created_at
