"""The moderators' queue: what was held, flagged or reported, and what became of it."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from homeserver.storage.database import Queryable

_COLUMNS = """item_id, kind, event_id, room_id, sender, reporter, rule, note, unsent, times,
    created_at, state, resolved_by, resolved_at, resolution"""
# While one of a kind is open for a subject (and reporter), it is counted and not added again.
INSERT_ITEM = """
INSERT INTO moderation_queue (kind, subject, event_id, room_id, sender, reporter, rule, note,
    created_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
WHERE $6::text IS NULL OR (SELECT count(*) FROM moderation_queue
    WHERE reporter = $6 AND state = 'open') < $10
ON CONFLICT (kind, subject, coalesce(reporter, '')) WHERE state = 'open'
    DO UPDATE SET times = moderation_queue.times + 1,
        note = coalesce(EXCLUDED.note, moderation_queue.note)
RETURNING item_id, times
"""
SELECT_ITEMS = f"""
SELECT {_COLUMNS} FROM moderation_queue
WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR state = $2) AND item_id > $3
ORDER BY item_id LIMIT $4
"""
SELECT_ITEM = f"SELECT {_COLUMNS} FROM moderation_queue WHERE item_id = $1"
SELECT_OPEN_IDS = """
SELECT item_id FROM moderation_queue
WHERE state = 'open' AND kind = ANY($1::text[]) AND ($2::text IS NULL OR rule = $2)
    AND ($3::text IS NULL OR sender = $3) AND item_id > $4
ORDER BY item_id LIMIT $5
"""
CLOSE_ITEM = """
UPDATE moderation_queue SET state = $2, resolved_by = $3, resolution = $4, resolved_at = $5
WHERE item_id = $1 AND state = 'open'
"""
CLOSE_HELD_ITEMS = """
UPDATE moderation_queue SET state = $2, resolved_by = $3, resolution = $4, resolved_at = $5
WHERE event_id = $1 AND kind = 'held' AND state = 'open'
"""
SELECT_UNSENT = """
SELECT 1 FROM moderation_queue
WHERE event_id = $1 AND kind = 'held' AND unsent AND state IN ('open', 'dropped')
"""
COUNT_OPEN = "SELECT kind, count(*) AS items FROM moderation_queue WHERE state = 'open' GROUP BY 1"
# What nobody has looked at for long is closed; what was decided long ago is forgotten.
EXPIRE_ITEMS = """
UPDATE moderation_queue SET state = 'resolved', resolved_by = 'expiry', resolved_at = $3
WHERE item_id IN (
    SELECT item_id FROM moderation_queue
    WHERE coalesce(resolved_at, created_at) < $2 AND state = 'open' AND kind = ANY($1::text[])
    LIMIT $4)
"""
# That an event was dropped is kept as long as the event is: its media need never be served.
DELETE_ITEMS = """
DELETE FROM moderation_queue WHERE item_id IN (
    SELECT item_id FROM moderation_queue
    WHERE coalesce(resolved_at, created_at) < $1 AND state IN ('released', 'resolved') LIMIT $2)
"""


class Decision(Struct, frozen=True):
    """Who decides, why, and when."""

    by: str
    note: str | None
    at_ms: int


class NewItem(Struct, frozen=True):
    """Something for moderators to look at.  ``subject`` is what there is one open item of."""

    kind: str
    subject: str
    event_id: str | None
    room_id: str | None
    sender: str | None
    reporter: str | None
    rule: str | None
    note: str | None
    created_at: int  # ms


class QueueItem(Struct, frozen=True):
    """An item of the queue."""

    item_id: int
    kind: str
    event_id: str | None
    room_id: str | None
    sender: str | None
    reporter: str | None
    rule: str | None
    note: str | None
    unsent: bool
    times: int
    created_at: int  # ms
    state: str
    resolved_by: str | None
    resolved_at: int | None  # ms
    resolution: str | None


async def add_item(db: Queryable, item: NewItem, most_of_reporter: int) -> tuple[int, bool] | None:
    """Add an item, or count it once more if it is open already; its ID, and whether it is new.

    None if its reporter has so many open ones.
    """
    row = await db.fetchrow(
        INSERT_ITEM,
        item.kind,
        item.subject,
        item.event_id,
        item.room_id,
        item.sender,
        item.reporter,
        item.rule,
        item.note,
        item.created_at,
        most_of_reporter,
    )
    return (row["item_id"], row["times"] == 1) if row is not None else None


async def get_items(
    db: Queryable, *, kind: str | None, state: str | None, after: int, limit: int
) -> list[QueueItem]:
    """A page of items, the oldest first."""
    rows = await db.fetch(SELECT_ITEMS, kind, state, after, limit)
    return [QueueItem(**row) for row in rows]


async def get_item(db: Queryable, item_id: int) -> QueueItem | None:
    """One item."""
    row = await db.fetchrow(SELECT_ITEM, item_id)
    return QueueItem(**row) if row is not None else None


async def get_open_ids(
    db: Queryable,
    kinds: Collection[str],
    *,
    rule: str | None,
    sender: str | None,
    after: int,
    limit: int,
) -> list[int]:
    """Open items of some kinds by rule, by sender, or by both, after an ID; the oldest first."""
    rows = await db.fetch(SELECT_OPEN_IDS, list(kinds), rule, sender, after, limit)
    return [row["item_id"] for row in rows]


async def close_item(db: Queryable, item_id: int, state: str, decision: Decision) -> bool:
    """Decide an item; False if it was decided before."""
    status = await db.execute(
        CLOSE_ITEM, item_id, state, decision.by, decision.note, decision.at_ms
    )
    return not status.endswith(" 0")


async def close_held_items(db: Queryable, event_id: str, state: str, decision: Decision) -> None:
    """Decide what is open for a held event."""
    await db.execute(CLOSE_HELD_ITEMS, event_id, state, decision.by, decision.note, decision.at_ms)


async def is_unsent(db: Queryable, event_id: str) -> bool:
    """Whether an event of ours was held, or dropped, before any other instance got it."""
    return await db.fetchval(SELECT_UNSENT, event_id) is not None


async def count_open(db: Queryable) -> dict[str, int]:
    """Kind -> how many items are open."""
    return {row["kind"]: row["items"] for row in await db.fetch(COUNT_OPEN)}


async def expire_items(
    db: Queryable, kinds: Collection[str], before_ms: int, now_ms: int, limit: int
) -> int:
    """Close open items of some kinds that are older than a time; how many."""
    status = await db.execute(EXPIRE_ITEMS, list(kinds), before_ms, now_ms, limit)
    return int(status.rpartition(" ")[2])


async def delete_items(db: Queryable, before_ms: int, limit: int) -> int:
    """Forget items that were decided before a time, dropped ones aside; how many."""
    status = await db.execute(DELETE_ITEMS, before_ms, limit)
    return int(status.rpartition(" ")[2])
