"""Browsers that are signed in to the account pages."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage.database import Queryable

INSERT = """
INSERT INTO account_sessions (token_hash, user_id, created_at, authenticated_at)
VALUES ($1, $2, $3, $3)
"""
SELECT = """
SELECT s.user_id, s.created_at, s.authenticated_at
FROM account_sessions s JOIN accounts a USING (user_id)
WHERE s.token_hash = $1 AND s.created_at > $2 AND a.deactivated_at IS NULL
"""
DELETE = "DELETE FROM account_sessions WHERE token_hash = $1"
DELETE_OLD = "DELETE FROM account_sessions WHERE created_at < $1"


@dataclass(frozen=True, slots=True)
class AccountSession:
    """A browser that is signed in.  Times in ms."""

    user_id: str
    created_at: int
    authenticated_at: int


async def insert_session(db: Queryable, token_hash: bytes, user_id: str, now: int) -> None:
    """Note that a browser has signed in."""
    await db.execute(INSERT, token_hash, user_id, now)


async def get_session(db: Queryable, token_hash: bytes, since: int) -> AccountSession | None:
    """A browser's session of an active account, begun after a time (ms)."""
    row = await db.fetchrow(SELECT, token_hash, since)
    return AccountSession(**row) if row is not None else None


async def delete_session(db: Queryable, token_hash: bytes) -> None:
    """Sign a browser out."""
    await db.execute(DELETE, token_hash)


async def delete_old(db: Queryable, before: int) -> None:
    """Forget sessions begun before a time (ms)."""
    await db.execute(DELETE_OLD, before)
