"""The audit trail of the gate: every verdict other than "accepted"; what dry runs read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from msgspec import Struct
from msgspec.structs import astuple

from homeserver.storage.database import Queryable

_COLUMNS = """created_at, stage, rule, action, direction, origin, room_id, event_id, event_type,
    sender, reason, mode"""
INSERT_VERDICTS = f"""
INSERT INTO policy_verdicts ({_COLUMNS})
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
"""
SELECT_VERDICTS = f"""
SELECT {_COLUMNS} FROM policy_verdicts ORDER BY verdict_id DESC LIMIT $1
"""
_PAGE = f"""
SELECT verdict_id, {_COLUMNS} FROM policy_verdicts
WHERE {{}} created_at >= $1 AND (created_at, verdict_id) < ($2, $3)
ORDER BY created_at DESC, verdict_id DESC LIMIT $4
"""
# One statement for each combination of filters, so that each is planned with its own index.
SELECT_PAGE = _PAGE.format("")
SELECT_PAGE_BY_RULE = _PAGE.format("rule = $5 AND")
SELECT_PAGE_BY_ORIGIN = _PAGE.format("origin = $5 AND")
SELECT_PAGE_BY_BOTH = _PAGE.format("rule = $5 AND origin = $6 AND")

# Events that came or went live, in the order in which they did: those on the timeline, and those
# that were soft-failed.
SELECT_JUDGED = """
SELECT e.event_id, e.position, e.room_id, e.pdu FROM events e
WHERE e.position > $1 AND e.origin_server_ts >= $2 AND e.rejected IS NULL
    AND (e.timeline_order > 0 OR (e.timeline_order IS NULL AND e.soft_failed))
ORDER BY e.position LIMIT $3
"""
NO_END = 2**63 - 1


class VerdictRow(Struct, frozen=True):
    """Which rule did what to which event, when.  Never the event's content."""

    created_at: int  # ms
    stage: str
    rule: str
    action: str
    direction: str
    origin: str
    room_id: str | None
    event_id: str | None
    event_type: str | None
    sender: str | None
    reason: str | None
    mode: str = "enforce"


class VerdictPlace(NamedTuple):
    """Where a page of the trail ends: the next one begins below it."""

    created_at: int
    verdict_id: int


END_OF_TRAIL = VerdictPlace(NO_END, NO_END)


class JudgedEvent(Struct, frozen=True):
    """An event for a dry run."""

    event_id: str
    position: int
    room_id: str
    pdu: dict[str, Any]


async def insert_verdicts(db: Queryable, verdicts: Sequence[VerdictRow]) -> None:
    """Write rows of the audit trail, in one statement."""
    columns = zip(*map(astuple, verdicts), strict=True)
    await db.execute(INSERT_VERDICTS, *map(list, columns))


async def insert_verdict(db: Queryable, verdict: VerdictRow) -> None:
    """Write one row of the audit trail."""
    await insert_verdicts(db, (verdict,))


async def get_verdicts(db: Queryable, limit: int = 100) -> list[VerdictRow]:
    """The latest rows of the audit trail, the newest first."""
    return [VerdictRow(**row) for row in await db.fetch(SELECT_VERDICTS, limit)]


async def get_verdict_page(
    db: Queryable,
    *,
    rule: str | None = None,
    origin: str | None = None,
    since: int = 0,
    before: VerdictPlace = END_OF_TRAIL,
    limit: int = 100,
) -> list[tuple[VerdictPlace, VerdictRow]]:
    """Rows of a rule, of an origin or of all, from ``since`` (ms) on, the newest first."""
    filters = [value for value in (rule, origin) if value is not None]
    if rule is not None and origin is not None:
        query = SELECT_PAGE_BY_BOTH
    elif rule is not None:
        query = SELECT_PAGE_BY_RULE
    else:
        query = SELECT_PAGE_BY_ORIGIN if origin is not None else SELECT_PAGE
    rows = await db.fetch(query, since, before.created_at, before.verdict_id, limit, *filters)
    return [
        (
            VerdictPlace(row["created_at"], row["verdict_id"]),
            VerdictRow(**{key: value for key, value in row.items() if key != "verdict_id"}),
        )
        for row in rows
    ]


async def get_judged_events(
    db: Queryable, *, after: int, since: int, limit: int
) -> list[JudgedEvent]:
    """Up to ``limit`` events sent since then (ms), after a position, in the order of positions."""
    return [
        JudgedEvent(row["event_id"], row["position"], row["room_id"], orjson.loads(row["pdu"]))
        for row in await db.fetch(SELECT_JUDGED, after, since, limit)
    ]
