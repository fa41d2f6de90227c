"""Tokens of applications, and personal ones of users.  Only their SHA-256 is ever stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT = """
INSERT INTO api_tokens (token_id, token_hash, prefix, application_id, user_id, name, scopes,
    created_at, created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
COLUMNS = """
token_id, prefix, application_id, user_id, name, scopes, created_at, created_by, expires_at,
last_used_at
"""
FIND = f"""
SELECT {COLUMNS} FROM api_tokens t WHERE token_hash = $1 AND (user_id IS NULL OR EXISTS (
    SELECT 1 FROM accounts a WHERE a.user_id = t.user_id AND a.deactivated_at IS NULL))
"""
# Of the application `$1`, or of the user `$2`.
SELECT = f"""
SELECT {COLUMNS} FROM api_tokens WHERE application_id = $1 OR user_id = $2
ORDER BY created_at, token_id
"""
DELETE = """
DELETE FROM api_tokens WHERE token_id = $1 AND (application_id = $2 OR user_id = $3)
RETURNING token_hash
"""
DELETE_OF_USER = "DELETE FROM api_tokens WHERE user_id = $1"
COUNT = "SELECT count(*) FROM api_tokens WHERE application_id = $1 OR user_id = $2"
SET_LAST_USED = """
UPDATE api_tokens t SET last_used_at = used.at
FROM unnest($1::text[], $2::bigint[]) AS used (token_id, at) WHERE t.token_id = used.token_id
"""


class ApiToken(Struct, frozen=True):
    """A token, without its secret.  Either ``application_id`` or ``user_id``.  Times in ms."""

    token_id: str
    prefix: str
    application_id: str | None
    user_id: str | None
    name: str
    scopes: Sequence[str]
    created_at: int
    created_by: str
    expires_at: int | None
    last_used_at: int | None = None


async def insert(db: Queryable, token: ApiToken, token_hash: bytes) -> None:
    """Store a new token."""
    await db.execute(
        INSERT,
        token.token_id,
        token_hash,
        token.prefix,
        token.application_id,
        token.user_id,
        token.name,
        token.scopes,
        token.created_at,
        token.created_by,
        token.expires_at,
    )


async def find(db: Queryable, token_hash: bytes) -> ApiToken | None:
    """A token, be it expired, unless its user's account has ended."""
    row = await db.fetchrow(FIND, token_hash)
    return ApiToken(**row) if row is not None else None


async def get_of(
    db: Queryable, *, application_id: str | None = None, user_id: str | None = None
) -> list[ApiToken]:
    """The tokens of an application, or of a user, the oldest first."""
    return [ApiToken(**row) for row in await db.fetch(SELECT, application_id, user_id)]


async def count_of(
    db: Queryable, *, application_id: str | None = None, user_id: str | None = None
) -> int:
    """How many tokens an application has, or a user."""
    count: int = await db.fetchval(COUNT, application_id, user_id)
    return count


async def delete(
    db: Queryable, token_id: str, *, application_id: str | None = None, user_id: str | None = None
) -> bytes | None:
    """Delete a token of this application, or of this user; its hash, or None without such."""
    token_hash: bytes | None = await db.fetchval(DELETE, token_id, application_id, user_id)
    return token_hash


async def delete_of_user(db: Queryable, user_id: str) -> None:
    """Delete a user's personal tokens."""
    await db.execute(DELETE_OF_USER, user_id)


async def set_last_used(db: Queryable, used: Mapping[str, int]) -> None:
    """Note when tokens, by their ID, were last used (ms)."""
    await db.execute(SET_LAST_USED, list(used), list(used.values()))
