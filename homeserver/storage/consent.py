"""Consent: who may contact whom.  Rows are never overwritten; the latest of its kind counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

INSERT_CONSENT = """
INSERT INTO consent (position, owner, peer, scope, state, how, created_at, expires_at)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::bigint[], $8::bigint[])
"""
SELECT_CONSENT = """
SELECT DISTINCT ON (scope, peer) scope, peer, state, expires_at FROM consent
WHERE owner = $1 ORDER BY scope, peer, position DESC
"""
SELECT_HISTORY = """
SELECT position, peer, scope, state, how, created_at, expires_at FROM consent
WHERE owner = $1 ORDER BY position DESC LIMIT $2
"""
SELECT_DEFAULTS = "SELECT scope, default_answer FROM consent_defaults WHERE owner = $1"
UPSERT_DEFAULT = """
INSERT INTO consent_defaults (owner, scope, default_answer) VALUES ($1, $2, $3)
ON CONFLICT (owner, scope) DO UPDATE SET default_answer = EXCLUDED.default_answer
"""


@dataclass(frozen=True, slots=True)
class ConsentRecord(Record):
    """One change of consent, on its way into the log."""

    owner: str
    peer: str
    scope: str
    state: str
    how: str
    created_at: int
    expires_at: int | None = None

    def touched_users(self) -> Sequence[str]:
        """Its owner: what they see may change."""
        return (self.owner,)

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, ConsentRecord]]
    ) -> None:
        """Add rows to the history."""
        rows = [
            (
                position,
                record.owner,
                record.peer,
                record.scope,
                record.state,
                record.how,
                record.created_at,
                record.expires_at,
            )
            for position, record in batch
        ]
        await connection.execute(INSERT_CONSENT, *map(list, zip(*rows, strict=True)))


@dataclass(frozen=True, slots=True)
class ConsentChange:
    """One row of a user's history of consent."""

    position: int
    peer: str
    scope: str
    state: str
    how: str
    created_at: int
    expires_at: int | None


async def get_consent(db: Queryable, owner: str) -> dict[tuple[str, str], tuple[str, int | None]]:
    """``(scope, peer)`` -> (state, expiry in ms), as it stands now."""
    rows = await db.fetch(SELECT_CONSENT, owner)
    return {(row["scope"], row["peer"]): (row["state"], row["expires_at"]) for row in rows}


async def get_history(db: Queryable, owner: str, limit: int = 1000) -> list[ConsentChange]:
    """A user's changes of consent, the newest first."""
    return [ConsentChange(**row) for row in await db.fetch(SELECT_HISTORY, owner, limit)]


async def get_defaults(db: Queryable, owner: str) -> dict[str, str]:
    """Scope -> the user's own default answer."""
    rows = await db.fetch(SELECT_DEFAULTS, owner)
    return {row["scope"]: row["default_answer"] for row in rows}


async def set_default(db: Queryable, owner: str, scope: str, answer: str) -> None:
    """Set a user's own default for a scope."""
    await db.execute(UPSERT_DEFAULT, owner, scope, answer)
