"""The schedule of messages that end by themselves, and who has seen those to be viewed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from homeserver.protocol.events import Event
from homeserver.protocol.message_ends import VIEW_ONCE_MS, ends, message_end
from homeserver.storage.database import Connection, Queryable

if TYPE_CHECKING:
    from homeserver.storage.event_records import EventRecord

# A message dated in the future lives no longer than one that is sent now.
INSERT_ENDS = f"""
INSERT INTO message_ends (event_id, room_id, sender, timeline_order, thread_id, after_ms,
    from_read, view_once, due_at)
SELECT event_id, room_id, sender, timeline_order, thread_id, after_ms, from_read, view_once,
    least(CASE WHEN NOT from_read THEN start + after_ms END,
          CASE WHEN view_once THEN start + {VIEW_ONCE_MS} END)
FROM (
    SELECT event_id, room_id, sender, timeline_order, thread_id, after_ms, from_read, view_once,
        least(ts, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) AS start
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[],
        $7::boolean[], $8::boolean[], $9::bigint[])
        AS new (event_id, room_id, sender, timeline_order, thread_id, after_ms, from_read,
            view_once, ts)
) timed
ON CONFLICT (event_id) DO UPDATE SET timeline_order = EXCLUDED.timeline_order
"""
SELECT_DUE = """
SELECT event_id, room_id, sender, view_once, attempts FROM message_ends
WHERE due_at <= $1 ORDER BY due_at LIMIT $2
"""
SELECT_NEXT_DUE = "SELECT min(due_at) FROM message_ends WHERE due_at IS NOT NULL"
POSTPONE = "UPDATE message_ends SET due_at = $2, attempts = attempts + 1 WHERE event_id = $1"
DELETE_ENDS = "DELETE FROM message_ends WHERE event_id = ANY($1::text[])"
SELECT_EDITS = """
SELECT event_id FROM events WHERE relates_to = $1 AND relation_type = 'm.replace' AND sender = $2
    AND erased IS NULL
"""


class DueMessage(Struct, frozen=True):
    """A message whose time is up."""

    event_id: str
    room_id: str
    sender: str
    view_once: bool
    attempts: int


async def write_ends(connection: Connection, batch: Sequence[tuple[int, EventRecord]]) -> None:
    """Put those messages on the schedule that say when they end; nothing for most."""
    rows = []
    for position, record in batch:
        event = record.event
        if not ends(event.content) or event.state_key is not None:
            continue
        end = message_end(event.content)
        if end is None:
            continue
        record.ends = end
        rows.append(
            (
                event.event_id,
                event.room_id,
                event.sender,
                position if record.live else record.timeline_order,
                _thread(event),
                end.after_ms,
                end.from_read,
                end.view_once,
                event.origin_server_ts,
            )
        )
    if rows:
        await connection.execute(INSERT_ENDS, *map(list, zip(*rows, strict=True)))


def _thread(event: Event) -> str:
    relation = event.content.get("m.relates_to")
    if isinstance(relation, dict) and relation.get("rel_type") == "m.thread":
        root = relation.get("event_id")
        if isinstance(root, str) and "\0" not in root:
            return root
    return "main"


async def get_due(db: Queryable, now: int, limit: int) -> list[DueMessage]:
    """Messages whose time is up, the longest overdue first."""
    return [DueMessage(**row) for row in await db.fetch(SELECT_DUE, now, limit)]


async def get_next_due(db: Queryable) -> int | None:
    """When the next message ends (ms)."""
    due: int | None = await db.fetchval(SELECT_NEXT_DUE)
    return due


async def postpone(db: Queryable, event_id: str, due_at: int) -> None:
    """Try again later to end a message."""
    await db.execute(POSTPONE, event_id, due_at)


async def delete_ends(db: Queryable, event_ids: Iterable[str]) -> None:
    """Take messages off the schedule."""
    await db.execute(DELETE_ENDS, list(event_ids))


async def get_edits(db: Queryable, event_id: str, sender: str) -> list[str]:
    """A message's edits: they end with it."""
    return [row["event_id"] for row in await db.fetch(SELECT_EDITS, event_id, sender)]
