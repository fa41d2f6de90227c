"""User-interactive authentication under way."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT_SESSION = """
INSERT INTO uia_sessions (session_id, operation, request_hash, user_id, created_at)
VALUES ($1, $2, $3, $4, $5)
"""
SELECT_SESSION = """
SELECT session_id, operation, request_hash, user_id, completed, created_at
FROM uia_sessions WHERE session_id = $1
"""
# What was completed for one request does not count for another.
SET_REQUEST = """
UPDATE uia_sessions SET request_hash = $2, completed = '{}' WHERE session_id = $1
"""
COMPLETE_STAGE = """
UPDATE uia_sessions SET completed = completed || jsonb_build_object($2::text, $3::jsonb)
WHERE session_id = $1
"""
DELETE_SESSION = "DELETE FROM uia_sessions WHERE session_id = $1 RETURNING session_id"
DELETE_EXPIRED = "DELETE FROM uia_sessions WHERE created_at < $1"


class UiaSession(Struct, frozen=True):
    """Which stages were completed for which request; ``completed``: stage -> what it yielded."""

    session_id: str
    operation: str
    request_hash: bytes | None
    user_id: str | None
    completed: dict[str, Any]
    created_at: int


async def insert_session(db: Queryable, session: UiaSession) -> None:
    """Begin a session in which nothing is completed."""
    await db.execute(
        INSERT_SESSION,
        session.session_id,
        session.operation,
        session.request_hash,
        session.user_id,
        session.created_at,
    )


async def get_session(db: Queryable, session_id: str) -> UiaSession | None:
    """A session by its ID."""
    row = await db.fetchrow(SELECT_SESSION, session_id)
    return UiaSession(**row) if row is not None else None


async def set_request(db: Queryable, session_id: str, request_hash: bytes) -> None:
    """Turn a session to another request, for which nothing is completed yet."""
    await db.execute(SET_REQUEST, session_id, request_hash)


async def complete_stage(db: Queryable, session_id: str, stage: str, result: object) -> None:
    """Note that a stage was completed, and what it yielded."""
    await db.execute(COMPLETE_STAGE, session_id, stage, result)


async def delete_session(db: Queryable, session_id: str) -> bool:
    """End a session.  False if it has ended before."""
    return await db.fetchval(DELETE_SESSION, session_id) is not None


async def delete_expired(db: Queryable, before: int) -> None:
    """Remove sessions begun before a time."""
    await db.execute(DELETE_EXPIRED, before)
