"""Receipts: one row per room, type, user and thread, which never moves backwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

READ = "m.read"
READ_PRIVATE = "m.read.private"
UNTHREADED = ""
MAIN_THREAD = "main"

# An event that was held may be read after what stands behind it.
# An event of unknown order has not arrived yet, so it is taken to be ahead of those that have.
UPSERT_RECEIPTS = """
INSERT INTO receipts (room_id, receipt_type, user_id, thread_id, event_id, event_order, ts,
    position)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
    $7::bigint[], $8::bigint[])
ON CONFLICT (room_id, receipt_type, user_id, thread_id) DO UPDATE SET
    event_id = EXCLUDED.event_id, ts = EXCLUDED.ts, position = EXCLUDED.position,
    event_order = CASE WHEN EXCLUDED.event_order < receipts.event_order
        THEN receipts.event_order ELSE EXCLUDED.event_order END
WHERE EXCLUDED.event_order > receipts.event_order
    OR EXCLUDED.event_order IS NULL AND receipts.event_id <> EXCLUDED.event_id
    OR receipts.event_order IS NULL AND EXCLUDED.event_order IS NOT NULL
    OR EXISTS (SELECT 1 FROM events e WHERE e.event_id = EXCLUDED.event_id
        AND e.timeline_order > 0 AND e.position <> e.timeline_order
        AND e.position > receipts.position)
RETURNING position
"""
SELECT_EVENTS = """
SELECT event_id, room_id, timeline_order, relates_to, relation_type FROM events
WHERE event_id = ANY($1::text[])
"""
# The newest receipts of each room, and the reader's own however old.
SELECT_RECEIPTS = """
SELECT r.* FROM unnest($1::text[]) AS wanted (room_id) CROSS JOIN LATERAL (
    SELECT * FROM (
        SELECT room_id, receipt_type, user_id, thread_id, event_id, ts FROM receipts
        WHERE room_id = wanted.room_id AND position > $2 AND position <= $3
            AND receipt_type = 'm.read'
        ORDER BY position DESC LIMIT $5
    ) newest
    UNION
    SELECT room_id, receipt_type, user_id, thread_id, event_id, ts FROM receipts
    WHERE room_id = wanted.room_id AND receipt_type IN ('m.read', 'm.read.private')
        AND user_id = $4 AND position > $2 AND position <= $3
) r
"""
SELECT_LATEST_READ = """
SELECT room_id, thread_id, max(event_order) AS event_order FROM receipts
WHERE room_id = ANY($2::text[]) AND receipt_type IN ('m.read', 'm.read.private')
    AND user_id = $1 AND event_order IS NOT NULL
GROUP BY room_id, thread_id
"""


class ReceiptRecord(Record, eq=False):
    """A receipt on its way into the log.  ``event_order`` is the event's timeline order.

    ``moved``: once written, whether it was ahead of what was there.
    """

    room_id: str
    receipt_type: str
    user_id: str
    thread_id: str
    event_id: str
    event_order: int | None
    ts: int
    moved: bool = False

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What there is one receipt of."""
        return (self.room_id, self.receipt_type, self.user_id, self.thread_id)

    def touched_rooms(self) -> Sequence[str]:
        """The room, unless the receipt is private or lags behind."""
        return (self.room_id,) if self.moved and self.receipt_type == READ else ()

    def touched_users(self) -> Sequence[str]:
        """The reader: other devices of theirs count unread messages by it."""
        return (self.user_id,) if self.moved else ()

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, ReceiptRecord]]
    ) -> None:
        """Move the receipts forward; one that lags behind what is there changes nothing."""
        ahead: dict[tuple[str, str, str, str], tuple[int, ReceiptRecord]] = {}
        for position, record in batch:
            other = ahead.get(record.key)
            if other is None or not _is_behind(record, other[1]):
                ahead[record.key] = (position, record)
        rows = [
            (*record.key, record.event_id, record.event_order, record.ts, position)
            for position, record in ahead.values()
        ]
        written = await connection.fetch(UPSERT_RECEIPTS, *map(list, zip(*rows, strict=True)))
        moved = {row["position"] for row in written}
        for position, record in ahead.values():
            record.moved = position in moved


def _is_behind(receipt: ReceiptRecord, other: ReceiptRecord) -> bool:
    if receipt.event_order is None or other.event_order is None:
        return False
    return receipt.event_order < other.event_order


class EventPlace(Struct, frozen=True):
    """Where an event stands, as far as a receipt needs to know."""

    event_id: str
    room_id: str
    timeline_order: int | None
    relates_to: str | None
    relation_type: str | None


class Receipt(Struct, frozen=True):
    """A receipt as stored."""

    room_id: str
    receipt_type: str
    user_id: str
    thread_id: str
    event_id: str
    ts: int


async def get_event_places(db: Queryable, event_ids: Iterable[str]) -> dict[str, EventPlace]:
    """Where these events stand, as far as we have them."""
    rows = await db.fetch(SELECT_EVENTS, list(event_ids))
    return {row["event_id"]: EventPlace(**row) for row in rows}


async def get_receipts(
    db: Queryable, room_ids: Iterable[str], reader: str, *, since: int, upto: int, limit: int
) -> list[Receipt]:
    """Receipts of ``since < position <= upto`` that ``reader`` may see, the newest of each room."""
    rows = await db.fetch(SELECT_RECEIPTS, list(room_ids), since, upto, reader, limit)
    return [Receipt(**row) for row in rows]


async def get_latest_read(
    db: Queryable, user_id: str, room_ids: Iterable[str]
) -> dict[str, dict[str, int]]:
    """Room ID -> thread ID (``''``: unthreaded) -> timeline order that the user has read up to.

    Of ``m.read`` and ``m.read.private`` the one that is further ahead counts.
    """
    found: dict[str, dict[str, int]] = {}
    for row in await db.fetch(SELECT_LATEST_READ, user_id, list(room_ids)):
        found.setdefault(row["room_id"], {})[row["thread_id"]] = row["event_order"]
    return found
