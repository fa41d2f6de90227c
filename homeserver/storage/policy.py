"""The audit trail of the gate: every verdict other than "accepted"."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from homeserver.storage.database import Queryable

INSERT_VERDICT = """
INSERT INTO policy_verdicts (created_at, stage, rule, action, direction, origin, room_id, event_id,
    event_type, sender, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
SELECT_VERDICTS = """
SELECT created_at, stage, rule, action, direction, origin, room_id, event_id, event_type, sender,
    reason FROM policy_verdicts ORDER BY verdict_id DESC LIMIT $1
"""


@dataclass(frozen=True, slots=True)
class VerdictRow:
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


async def insert_verdict(db: Queryable, verdict: VerdictRow) -> None:
    """Write one row of the audit trail."""
    await db.execute(INSERT_VERDICT, *astuple(verdict))


async def get_verdicts(db: Queryable, limit: int = 100) -> list[VerdictRow]:
    """The latest rows of the audit trail, the newest first."""
    return [VerdictRow(**row) for row in await db.fetch(SELECT_VERDICTS, limit)]
