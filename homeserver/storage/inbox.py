"""The inbox: PDUs that were acknowledged to their sender and are not yet in their rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from homeserver.storage.database import Database, Queryable

INSERT_INBOX = """
INSERT INTO inbox (origin, room_id, event_id, pdu, received_at)
SELECT $1, new.room_id, new.event_id, new.pdu, $5
FROM unnest($2::text[], $3::text[], $4::bytea[]) AS new (room_id, event_id, pdu)
ON CONFLICT (event_id, origin) DO UPDATE SET received_at = EXCLUDED.received_at
RETURNING event_id, inbox_id
"""
INSERT_TRANSACTION = """
INSERT INTO inbox_transactions (origin, txn_id, response, received_at)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
SELECT_TRANSACTION = "SELECT response FROM inbox_transactions WHERE origin = $1 AND txn_id = $2"
SELECT_ROOMS = "SELECT DISTINCT room_id FROM inbox"
SELECT_ROOM = """
SELECT inbox_id, origin, event_id, pdu FROM inbox WHERE room_id = $1 AND inbox_id > $2
ORDER BY inbox_id LIMIT $3
"""
DELETE = "DELETE FROM inbox WHERE inbox_id = $1"
SELECT_BACKLOG = """
SELECT count(*) > $2 FROM (SELECT 1 FROM inbox WHERE origin = $1 LIMIT $2 + 1) AS waiting
"""
DELETE_OLD_TRANSACTIONS = """
DELETE FROM inbox_transactions WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM inbox_transactions WHERE received_at < $1 LIMIT $2))
"""


PAGE = 100  # how many waiting PDUs are read at once


class InboxRow(Struct, frozen=True):
    """A PDU that waits for its place in its room."""

    inbox_id: int
    origin: str
    event_id: str
    pdu: bytes


async def add_transaction(
    database: Database,
    origin: str,
    txn_id: str,
    pdus: Sequence[tuple[str, str, bytes]],
    response: dict[str, Any],
    now_ms: int,
) -> dict[str, int]:
    """Write a transaction's PDUs, ``(room ID, event ID, JSON)``, and the answer given to it.

    Returns event ID -> inbox ID.  When this returns, all of it is on disk.  Where there are no
    PDUs nothing is: to take the transaction once more would change nothing.
    """
    if not pdus:
        return {}
    async with database.transaction() as connection:
        rows = await connection.fetch(
            INSERT_INBOX, origin, *map(list, zip(*pdus, strict=True)), now_ms
        )
        await connection.execute(INSERT_TRANSACTION, origin, txn_id, response, now_ms)
    return {row["event_id"]: row["inbox_id"] for row in rows}


async def get_response(db: Queryable, origin: str, txn_id: str) -> dict[str, Any] | None:
    """The answer given to a transaction that was seen before."""
    response: dict[str, Any] | None = await db.fetchval(SELECT_TRANSACTION, origin, txn_id)
    return response


async def rooms_waiting(db: Queryable) -> list[str]:
    """Rooms for which PDUs wait."""
    return [row["room_id"] for row in await db.fetch(SELECT_ROOMS)]


async def get_waiting(
    db: Queryable, room_id: str, *, after: int = 0, limit: int = PAGE
) -> list[InboxRow]:
    """A room's waiting PDUs in the order of their arrival."""
    return [InboxRow(**row) for row in await db.fetch(SELECT_ROOM, room_id, after, limit)]


async def delete(db: Queryable, inbox_id: int) -> None:
    """Drop a PDU that has been handled, or that is no event."""
    await db.execute(DELETE, inbox_id)


async def has_backlog(db: Queryable, origin: str, most: int) -> bool:
    """Whether more than so many PDUs of an instance wait."""
    return bool(await db.fetchval(SELECT_BACKLOG, origin, most))


async def delete_old_transactions(db: Queryable, before_ms: int, limit: int) -> int:
    """Forget answers that no peer will ask for again; how many."""
    status = await db.execute(DELETE_OLD_TRANSACTIONS, before_ms, limit)
    return int(status.rpartition(" ")[2])
