"""What is to be sent at a certain time: one row each, from the request to some days after the end.

A row that is due is *claimed* before it is sent: it is nobody else's until its lease has run out.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Queryable

MESSAGE, EVENT = "message", "event"
SCHEDULED, SENDING, SENT, CANCELLED, FAILED = "scheduled", "sending", "sent", "cancelled", "failed"
FINISHED = (SENT, CANCELLED, FAILED)

_COLUMNS = """scheduled_id, user_id, device_id, kind, room_id, event_type, state_key, body,
    delay_ms, scheduled_at, due_at, state, revision, attempts, finished_at, event_id, error"""
INSERT = f"""
INSERT INTO scheduled_sends (scheduled_id, user_id, device_id, kind, txn_id, room_id, event_type,
    state_key, body, delay_ms, scheduled_at, due_at, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '{SCHEDULED}') ON CONFLICT DO NOTHING
"""
SELECT = f"SELECT {_COLUMNS} FROM scheduled_sends WHERE scheduled_id = $1"
SELECT_BY_TRANSACTION = f"""
SELECT {_COLUMNS} FROM scheduled_sends
WHERE user_id = $1 AND device_id = $2 AND kind = $3 AND txn_id = $4
"""
SELECT_PAGE = f"""
SELECT {_COLUMNS} FROM scheduled_sends
WHERE user_id = $1 AND kind = $2 AND state = ANY($3::text[]) AND (due_at, scheduled_id) > ($4, $5)
    AND ($7::text IS NULL OR room_id = $7)
ORDER BY due_at, scheduled_id LIMIT $6
"""
COUNT_WAITING = """
SELECT count(*) AS waiting, min(due_at) AS next_due FROM scheduled_sends
WHERE user_id = $1 AND state IN ('scheduled', 'sending')
"""
SELECT_NEXT_DUE = """
SELECT min(due_at) FROM scheduled_sends WHERE state IN ('scheduled', 'sending')
"""
CLAIM_DUE = f"""
UPDATE scheduled_sends s SET state = '{SENDING}', due_at = $2
FROM (
    SELECT scheduled_id, due_at FROM scheduled_sends
    WHERE state IN ('scheduled', 'sending') AND due_at <= $1
    ORDER BY due_at, scheduled_id LIMIT $3 FOR UPDATE SKIP LOCKED
) due
WHERE s.scheduled_id = due.scheduled_id
RETURNING due.due_at AS was_due, {", ".join(f"s.{c.strip()}" for c in _COLUMNS.split(","))}
"""
CLAIM = f"""
UPDATE scheduled_sends SET state = '{SENDING}', due_at = $3
WHERE scheduled_id = $1 AND user_id = $2 AND state = '{SCHEDULED}' RETURNING {_COLUMNS}
"""
# What was being sent when the process ended is taken up at once.
RELEASE_CLAIMS = f"UPDATE scheduled_sends SET due_at = $1 WHERE state = '{SENDING}'"
GIVE_BACK = f"""
UPDATE scheduled_sends SET state = '{SCHEDULED}', due_at = $2, attempts = $3, error = $4
WHERE scheduled_id = $1 AND state = '{SENDING}'
"""
FINISH = f"""
UPDATE scheduled_sends SET state = $2, finished_at = $3, event_id = $4, error = $5
WHERE scheduled_id = $1 AND state = '{SENDING}'
"""
CANCEL = f"""
UPDATE scheduled_sends SET state = '{CANCELLED}', finished_at = $3
WHERE scheduled_id = $1 AND user_id = $2 AND state = '{SCHEDULED}' RETURNING {_COLUMNS}
"""
RESTART = f"""
UPDATE scheduled_sends SET scheduled_at = $3, due_at = $3 + delay_ms, attempts = 0, error = NULL,
    revision = revision + 1
WHERE scheduled_id = $1 AND user_id = $2 AND state = '{SCHEDULED}' RETURNING {_COLUMNS}
"""
CHANGE = f"""
UPDATE scheduled_sends SET body = $3, room_id = $4, scheduled_at = $5, due_at = $6,
    delay_ms = greatest($6::bigint - $5::bigint, 0), attempts = 0, error = NULL,
    revision = revision + 1
WHERE scheduled_id = $1 AND user_id = $2 AND state = '{SCHEDULED}'
    AND ($7::int IS NULL OR revision = $7) RETURNING {_COLUMNS}
"""
DELETE_OLD = """
DELETE FROM scheduled_sends WHERE scheduled_id IN (
    SELECT scheduled_id FROM scheduled_sends WHERE finished_at < $1 LIMIT $2)
"""
# The oldest of each user's that are done with, beyond so many.
DELETE_SURPLUS = """
DELETE FROM scheduled_sends WHERE scheduled_id IN (
    SELECT scheduled_id FROM (
        SELECT scheduled_id, row_number() OVER (PARTITION BY user_id ORDER BY finished_at DESC) AS n
        FROM scheduled_sends WHERE finished_at IS NOT NULL
            AND user_id IN (SELECT user_id FROM scheduled_sends WHERE finished_at IS NOT NULL
                GROUP BY user_id HAVING count(*) > $1)
    ) ranked WHERE n > $1)
"""
DELETE_OF_USER = "DELETE FROM scheduled_sends WHERE user_id = $1"


class ScheduledSend(Struct, frozen=True):
    """Something to be sent later.  Times in ms."""

    scheduled_id: str
    user_id: str
    device_id: str
    kind: str
    room_id: str | None
    event_type: str | None
    state_key: str | None
    body: JsonObject
    delay_ms: int
    scheduled_at: int
    due_at: int
    state: str = SCHEDULED
    revision: int = 0
    attempts: int = 0
    finished_at: int | None = None
    event_id: str | None = None
    error: JsonObject | None = None

    @property
    def send_at(self) -> int:
        """When its sender wants it sent, however often that failed."""
        return self.scheduled_at + self.delay_ms


async def add(db: Queryable, row: ScheduledSend, txn_id: str | None) -> bool:
    """Keep a new one; False if its transaction was seen before."""
    status = await db.execute(
        INSERT, row.scheduled_id, row.user_id, row.device_id, row.kind, txn_id, row.room_id,
        row.event_type, row.state_key, row.body, row.delay_ms, row.scheduled_at, row.due_at,
    )  # fmt: skip
    return not status.endswith(" 0")


async def get(db: Queryable, scheduled_id: str) -> ScheduledSend | None:
    """One of them, whosoever it is."""
    return _row(await db.fetchrow(SELECT, scheduled_id))


async def get_by_transaction(
    db: Queryable, user_id: str, device_id: str, kind: str, txn_id: str
) -> ScheduledSend | None:
    """The one that a client's transaction made."""
    return _row(await db.fetchrow(SELECT_BY_TRANSACTION, user_id, device_id, kind, txn_id))


async def get_page(
    db: Queryable,
    user_id: str,
    kind: str,
    states: Sequence[str],
    *,
    after: tuple[int, str] = (0, ""),
    limit: int,
    room_id: str | None = None,
) -> list[ScheduledSend]:
    """A user's, by when they are due; ``after``: the last one's due time and ID."""
    rows = await db.fetch(SELECT_PAGE, user_id, kind, list(states), *after, limit, room_id)
    return [ScheduledSend(**row) for row in rows]


async def count_waiting(db: Queryable, user_id: str) -> tuple[int, int | None]:
    """How many of a user's wait, and when the next is due (ms)."""
    row = await db.fetchrow(COUNT_WAITING, user_id)
    return row["waiting"], row["next_due"]


async def get_next_due(db: Queryable) -> int | None:
    """When the next is due (ms)."""
    due: int | None = await db.fetchval(SELECT_NEXT_DUE)
    return due


async def claim_due(db: Queryable, now: int, lease_until: int, limit: int) -> list[ScheduledSend]:
    """Take up to ``limit`` that are due, in their order; nobody else gets them before the lease
    runs out."""
    rows = [dict(row) for row in await db.fetch(CLAIM_DUE, now, lease_until, limit)]
    rows.sort(key=lambda row: (row.pop("was_due"), row["scheduled_id"]))
    return [ScheduledSend(**row) for row in rows]


async def claim(
    db: Queryable, scheduled_id: str, user_id: str, lease_until: int
) -> ScheduledSend | None:
    """Take one that waits, due or not; None if it does not wait."""
    return _row(await db.fetchrow(CLAIM, scheduled_id, user_id, lease_until))


async def release_claims(db: Queryable, now: int) -> None:
    """Let all that was claimed be due now."""
    await db.execute(RELEASE_CLAIMS, now)


async def give_back(
    db: Queryable, scheduled_id: str, due_at: int, attempts: int, error: JsonObject | None
) -> None:
    """A claimed one waits again: it could not be sent for the time being."""
    await db.execute(GIVE_BACK, scheduled_id, due_at, attempts, error)


async def finish(
    db: Queryable,
    scheduled_id: str,
    state: str,
    now: int,
    *,
    event_id: str | None = None,
    error: JsonObject | None = None,
) -> None:
    """A claimed one is done with."""
    await db.execute(FINISH, scheduled_id, state, now, event_id, error)


async def cancel(db: Queryable, scheduled_id: str, user_id: str, now: int) -> ScheduledSend | None:
    """Never send one that waits; None if it does not wait."""
    return _row(await db.fetchrow(CANCEL, scheduled_id, user_id, now))


async def restart(db: Queryable, scheduled_id: str, user_id: str, now: int) -> ScheduledSend | None:
    """Let one that waits wait as long again from now on; None if it does not wait."""
    return _row(await db.fetchrow(RESTART, scheduled_id, user_id, now))


async def change(
    db: Queryable, row: ScheduledSend, now: int, send_at: int, expected_revision: int | None
) -> ScheduledSend | None:
    """Give one that waits another body or time; None if it does not wait, or was changed."""
    return _row(
        await db.fetchrow(
            CHANGE, row.scheduled_id, row.user_id, row.body, row.room_id, now, send_at,
            expected_revision,
        )
    )  # fmt: skip


async def delete_old(db: Queryable, before: int, limit: int) -> bool:
    """Forget some that were done with before a time (ms); whether there may be more."""
    return (await db.execute(DELETE_OLD, before, limit)).endswith(f" {limit}")


async def delete_surplus(db: Queryable, keep: int) -> None:
    """Forget each user's oldest that are done with, beyond so many."""
    await db.execute(DELETE_SURPLUS, keep)


async def delete_of_user(db: Queryable, user_id: str) -> None:
    """Forget a user's."""
    await db.execute(DELETE_OF_USER, user_id)


def _row(row: JsonObject | None) -> ScheduledSend | None:
    return ScheduledSend(**row) if row is not None else None
