"""Browsers that are signed in to the account pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from homeserver.storage.database import Queryable

INSERT = """
INSERT INTO account_sessions (token_hash, user_id, created_at, authenticated_at, last_seen_at,
    last_seen_ip, user_agent) VALUES ($1, $2, $3, $6, $3, $4, $5)
"""
SESSION = """
s.token_hash, s.user_id, s.created_at, s.authenticated_at, s.last_seen_at, s.last_seen_ip,
s.user_agent
"""
SELECT = f"""
SELECT {SESSION} FROM account_sessions s JOIN accounts a USING (user_id)
WHERE s.token_hash = $1 AND s.created_at > $2 AND a.deactivated_at IS NULL
"""
SELECT_OF_USER = f"""
SELECT {SESSION} FROM account_sessions s WHERE s.user_id = $1 AND s.created_at > $2
ORDER BY s.last_seen_at DESC NULLS LAST, s.created_at DESC
"""
SET_SEEN = """
UPDATE account_sessions SET last_seen_at = $2, last_seen_ip = $3, user_agent = $4
WHERE token_hash = $1
"""
DELETE_OF_USER = "DELETE FROM account_sessions WHERE user_id = $1 AND token_hash = ANY($2::bytea[])"
DELETE = "DELETE FROM account_sessions WHERE token_hash = $1"
DELETE_OLD = "DELETE FROM account_sessions WHERE created_at < $1"


@dataclass(frozen=True, slots=True)
class AccountSession:
    """A browser that is signed in.  Times in ms; ``last_seen_at``: to within some minutes."""

    token_hash: bytes = field(repr=False)
    user_id: str
    created_at: int
    authenticated_at: int
    last_seen_at: int | None
    last_seen_ip: str | None
    user_agent: str | None


async def insert_session(
    db: Queryable,
    token_hash: bytes,
    user_id: str,
    now: int,
    ip: str | None,
    user_agent: str | None,
    authenticated_at: int,
) -> None:
    """Note that a browser has signed in."""
    await db.execute(INSERT, token_hash, user_id, now, ip, user_agent, authenticated_at)


async def get_sessions(db: Queryable, user_id: str, since: int) -> list[AccountSession]:
    """A user's browsers that have signed in after a time (ms), the last seen first."""
    return [AccountSession(**row) for row in await db.fetch(SELECT_OF_USER, user_id, since)]


async def set_seen(
    db: Queryable, token_hash: bytes, now: int, ip: str | None, user_agent: str | None
) -> None:
    """Note when and from where a browser was last used."""
    await db.execute(SET_SEEN, token_hash, now, ip, user_agent)


async def delete_sessions(db: Queryable, user_id: str, token_hashes: Sequence[bytes]) -> None:
    """Sign browsers of a user out."""
    await db.execute(DELETE_OF_USER, user_id, list(token_hashes))


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
