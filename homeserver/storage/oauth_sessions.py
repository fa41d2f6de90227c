"""Devices that were logged in by the OAuth 2.0 API."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

SESSION = "user_id, device_id, client_id, grant_id, scope, family, generation, created_at"
INSERT_SESSION = f"""
INSERT INTO oauth_sessions ({SESSION}, as_admin)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, (SELECT admin FROM accounts WHERE user_id = $1))
"""
SELECT_SESSION = f"SELECT {SESSION} FROM oauth_sessions WHERE user_id = $1 AND device_id = $2"
SELECT_BY_FAMILY = f"SELECT {SESSION} FROM oauth_sessions WHERE family = $1 FOR UPDATE"
SELECT_BY_GRANT = f"SELECT {SESSION} FROM oauth_sessions WHERE grant_id = $1"
OF_TOKEN = ", ".join(f"s.{column}" for column in SESSION.split(", "))
SELECT_BY_ACCESS_TOKEN = f"""
SELECT {OF_TOKEN}
FROM access_tokens t JOIN oauth_sessions s USING (user_id, device_id) WHERE t.token_hash = $1
"""
SELECT_BY_REFRESH_TOKEN = f"""
SELECT {OF_TOKEN}
FROM refresh_tokens t JOIN oauth_sessions s USING (user_id, device_id) WHERE t.token_hash = $1
FOR UPDATE OF s
"""
# A session that is younger than that cannot have lapsed.
SELECT_LAPSED = """
SELECT s.user_id, s.device_id FROM oauth_sessions s
WHERE s.created_at <= $1 AND NOT EXISTS (SELECT 1 FROM refresh_tokens t
    WHERE t.user_id = s.user_id AND t.device_id = s.device_id AND t.created_at > $1)
LIMIT $2
"""
SET_GENERATION = "UPDATE oauth_sessions SET generation = $3 WHERE user_id = $1 AND device_id = $2"

APPROVE = """
INSERT INTO oauth_approvals (user_id, device_id, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (user_id, device_id) DO UPDATE SET expires_at = EXCLUDED.expires_at
"""
DELETE_LAPSED_APPROVALS = "DELETE FROM oauth_approvals WHERE expires_at <= $1"
# Used up, with those that are for any device.
TAKE_APPROVAL = """
DELETE FROM oauth_approvals WHERE user_id = $1 AND device_id IN ($2, '') RETURNING expires_at
"""


class OAuthSession(Struct, frozen=True):
    """A device of a user, and the client that has it.  ``created_at``: ms."""

    user_id: str
    device_id: str
    client_id: str
    grant_id: str
    scope: str
    family: bytes
    generation: int
    created_at: int


async def insert_session(db: Queryable, session: OAuthSession) -> None:
    """Store a session; its device is there already."""
    await db.execute(
        INSERT_SESSION,
        session.user_id,
        session.device_id,
        session.client_id,
        session.grant_id,
        session.scope,
        session.family,
        session.generation,
        session.created_at,
    )


async def get_session(db: Queryable, user_id: str, device_id: str) -> OAuthSession | None:
    """The session of a device, if it has one."""
    row = await db.fetchrow(SELECT_SESSION, user_id, device_id)
    return OAuthSession(**row) if row is not None else None


async def get_by_family(db: Queryable, family: bytes) -> OAuthSession | None:
    """The session that a refresh token was made for, locked until the transaction ends."""
    row = await db.fetchrow(SELECT_BY_FAMILY, family)
    return OAuthSession(**row) if row is not None else None


async def get_by_grant(db: Queryable, grant_id: str) -> OAuthSession | None:
    """The session that was made with a code."""
    row = await db.fetchrow(SELECT_BY_GRANT, grant_id)
    return OAuthSession(**row) if row is not None else None


async def get_by_access_token(db: Queryable, token_hash: bytes) -> OAuthSession | None:
    """The session that an access token, expired or not, belongs to."""
    row = await db.fetchrow(SELECT_BY_ACCESS_TOKEN, token_hash)
    return OAuthSession(**row) if row is not None else None


async def get_by_refresh_token(db: Queryable, token_hash: bytes) -> OAuthSession | None:
    """The session of a refresh token that is good, locked until the transaction ends."""
    row = await db.fetchrow(SELECT_BY_REFRESH_TOKEN, token_hash)
    return OAuthSession(**row) if row is not None else None


async def get_lapsed(db: Queryable, before: int, most: int) -> list[tuple[str, str]]:
    """User and device ID of sessions that were last refreshed before a time (ms)."""
    rows = await db.fetch(SELECT_LAPSED, before, most)
    return [(row["user_id"], row["device_id"]) for row in rows]


async def set_generation(db: Queryable, user_id: str, device_id: str, generation: int) -> None:
    """Note how often a session was refreshed."""
    await db.execute(SET_GENERATION, user_id, device_id, generation)


async def approve(
    db: Queryable, user_id: str, device_id: str | None, expires_at: int, now: int
) -> None:
    """Let a device, or any, reset its user's cross-signing keys until a time (ms)."""
    await db.execute(DELETE_LAPSED_APPROVALS, now)
    await db.execute(APPROVE, user_id, device_id or "", expires_at)


async def take_approval(db: Queryable, user_id: str, device_id: str, now: int) -> bool:
    """Whether a device may reset them; used up by this."""
    rows = await db.fetch(TAKE_APPROVAL, user_id, device_id)
    return any(row["expires_at"] > now for row in rows)
