"""What happened after a position that a user may be told, read again a page at a time.

Each function gives the oldest first, up to a limit, as what the log carried.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.database import Queryable
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.message_requests import RequestRecord, request_of
from homeserver.storage.receipts import ReceiptRecord
from homeserver.storage.rooms import MembershipRow

# Of a receipt, an account's data or a request only the last state is there.
SELECT_RECEIPTS = """
SELECT found.* FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS span (room_id, since, upto)
CROSS JOIN LATERAL (
    SELECT room_id, receipt_type, user_id, thread_id, event_id, event_order, ts, position
    FROM receipts r WHERE r.room_id = span.room_id AND r.position > span.since
        AND r.position <= span.upto
        AND (receipt_type = 'm.read' OR receipt_type = 'm.read.private' AND user_id = $4)
    ORDER BY position LIMIT $5
) found ORDER BY position LIMIT $5
"""
SELECT_ERASURES = """
SELECT found.*, (SELECT erased FROM events e WHERE e.event_id = found.event_ids[1]) AS why
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS span (room_id, since, upto)
CROSS JOIN LATERAL (
    SELECT room_id, event_ids, erased_at, position FROM erasures x
    WHERE x.room_id = span.room_id AND x.position > span.since AND x.position <= span.upto
    ORDER BY position LIMIT $4
) found ORDER BY position LIMIT $4
"""
SELECT_ACCOUNT_DATA = """
SELECT room_id, type, content, position FROM account_data
WHERE user_id = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4
"""
SELECT_CONSENT = """
SELECT position, owner, peer, scope, state, how, created_at, expires_at, actor FROM consent
WHERE owner = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4
"""
SELECT_REQUESTS = """
SELECT owner, sender, server, scope, room_id, state, attempts, created_at, updated_at, expires_at,
    reported, position FROM message_requests
WHERE owner = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4
"""
SELECT_MOVES = """
SELECT c.position, c.room_id, c.membership, c.event_id, coalesce(e.sender, m.sender) AS sender,
    m.stripped_state, (SELECT p.membership FROM membership_changes p
        WHERE p.room_id = c.room_id AND p.user_id = c.user_id AND p.position < c.position
        ORDER BY p.position DESC LIMIT 1) AS before
FROM membership_changes c LEFT JOIN events e USING (event_id)
LEFT JOIN memberships m ON m.room_id = c.room_id AND m.user_id = c.user_id
    AND m.event_id = c.event_id
WHERE c.user_id = $1 AND c.position > $2 AND c.position <= $3 ORDER BY c.position LIMIT $4
"""

# One look at an index for each; of rooms, for each room.
SELECT_CHANGES = """
SELECT EXISTS (SELECT 1 FROM membership_changes WHERE user_id = $1 AND position > $2) AS moves,
    EXISTS (SELECT 1 FROM account_data WHERE user_id = $1 AND position > $2) AS account_data,
    EXISTS (SELECT 1 FROM consent WHERE owner = $1 AND position > $2) AS consent,
    EXISTS (SELECT 1 FROM message_requests WHERE owner = $1 AND position > $2) AS requests,
    EXISTS (SELECT 1 FROM unnest($3::text[]) AS room (room_id)
        JOIN receipts r ON r.room_id = room.room_id AND r.position > $2) AS receipts,
    EXISTS (SELECT 1 FROM unnest($3::text[]) AS room (room_id)
        JOIN erasures x ON x.room_id = room.room_id AND x.position > $2) AS erasures
"""


class Changed(Struct, frozen=True):
    """What kinds of things are new for a user since a position."""

    moves: bool
    account_data: bool
    consent: bool
    requests: bool
    receipts: bool
    erasures: bool


class Span(Struct, frozen=True):
    """A stay in a room: what happened at ``since < position <= upto``."""

    room_id: str
    since: int
    upto: int


class Move(Struct, frozen=True):
    """A change of a user's membership, and what it was before."""

    row: MembershipRow
    before: str


def columns(spans: Sequence[Span]) -> tuple[list[str], list[int], list[int]]:
    """Spans as arrays."""
    return [s.room_id for s in spans], [s.since for s in spans], [s.upto for s in spans]


async def get_changed(
    db: Queryable, user_id: str, since: int, room_ids: Collection[str]
) -> Changed:
    """What is new for a user since a position, events aside.  ``room_ids``: where they are."""
    row = await db.fetchrow(SELECT_CHANGES, user_id, since, list(room_ids))
    assert row is not None
    return Changed(**row)


async def get_receipts(
    db: Queryable, spans: Sequence[Span], reader: str, limit: int
) -> list[tuple[int, ReceiptRecord]]:
    """Receipts as they now stand; of private ones the reader's own."""
    rows = await db.fetch(SELECT_RECEIPTS, *columns(spans), reader, limit)
    return [
        (
            row["position"],
            ReceiptRecord(
                row["room_id"],
                row["receipt_type"],
                row["user_id"],
                row["thread_id"],
                row["event_id"],
                row["event_order"],
                row["ts"],
                moved=True,
            ),
        )
        for row in rows
    ]


async def get_erasures(
    db: Queryable, spans: Sequence[Span], limit: int
) -> list[tuple[int, ErasureRecord]]:
    """What ended by itself, as far as clients are told."""
    rows = await db.fetch(SELECT_ERASURES, *columns(spans), limit)
    return [
        (
            row["position"],
            ErasureRecord(
                row["room_id"], (), row["why"] or "", row["erased_at"], tuple(row["event_ids"])
            ),
        )
        for row in rows
    ]


async def get_account_data(
    db: Queryable, user_id: str, since: int, upto: int, limit: int
) -> list[tuple[int, AccountDataRecord]]:
    """Account data as it now stands."""
    rows = await db.fetch(SELECT_ACCOUNT_DATA, user_id, since, upto, limit)
    return [
        (row["position"], AccountDataRecord(user_id, row["room_id"], row["type"], row["content"]))
        for row in rows
    ]


async def get_consent(
    db: Queryable, user_id: str, since: int, upto: int, limit: int
) -> list[tuple[int, ConsentRecord]]:
    """The user's changes of consent."""
    found = []
    for row in await db.fetch(SELECT_CONSENT, user_id, since, upto, limit):
        fields = dict(row)
        found.append((fields.pop("position"), ConsentRecord(**fields)))
    return found


async def get_requests(
    db: Queryable, user_id: str, since: int, upto: int, limit: int
) -> list[tuple[int, RequestRecord]]:
    """Requests to the user as they now stand."""
    rows = await db.fetch(SELECT_REQUESTS, user_id, since, upto, limit)
    return [(row["position"], RequestRecord(request_of(row))) for row in rows]


async def get_moves(
    db: Queryable, user_id: str, since: int, upto: int, limit: int
) -> list[tuple[int, Move]]:
    """The user's comings and goings."""
    return [
        (
            row["position"],
            Move(
                MembershipRow(
                    row["room_id"],
                    row["membership"],
                    row["event_id"],
                    row["sender"] or "",
                    row["position"],
                    False,
                    row["stripped_state"],
                ),
                row["before"] or "leave",
            ),
        )
        for row in await db.fetch(SELECT_MOVES, user_id, since, upto, limit)
    ]
