"""Registration tokens: what a newcomer must know where registration is by token."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT_TOKEN = """
INSERT INTO registration_tokens (token, uses_allowed, expires_at, created_at)
VALUES ($1, $2, $3, $4) ON CONFLICT (token) DO NOTHING RETURNING token
"""
SELECT_TOKEN = """
SELECT token, uses_allowed, uses_completed, expires_at, created_at
FROM registration_tokens WHERE token = $1
"""
SELECT_TOKENS = """
SELECT token, uses_allowed, uses_completed, expires_at, created_at
FROM registration_tokens ORDER BY created_at, token
"""
USE_TOKEN = """
UPDATE registration_tokens SET uses_completed = uses_completed + 1
WHERE token = $1 AND (uses_allowed IS NULL OR uses_completed < uses_allowed)
    AND (expires_at IS NULL OR expires_at > $2)
RETURNING token
"""
SET_LIMITS = """
UPDATE registration_tokens SET uses_allowed = $2, expires_at = $3 WHERE token = $1 RETURNING token
"""
DELETE_TOKEN = "DELETE FROM registration_tokens WHERE token = $1 RETURNING token"


class RegistrationToken(Struct, frozen=True):
    """A token, how often it may be used (None: any number) and how often it was."""

    token: str
    uses_allowed: int | None
    uses_completed: int
    expires_at: int | None
    created_at: int

    def is_valid(self, now: int) -> bool:
        """Whether it may be used once more."""
        if self.expires_at is not None and self.expires_at <= now:
            return False
        return self.uses_allowed is None or self.uses_completed < self.uses_allowed


async def insert_token(
    db: Queryable,
    token: str,
    *,
    created_at: int,
    uses_allowed: int | None = None,
    expires_at: int | None = None,
) -> bool:
    """Add a token.  False if there is one of that name."""
    return await db.fetchval(INSERT_TOKEN, token, uses_allowed, expires_at, created_at) is not None


async def get_token(db: Queryable, token: str) -> RegistrationToken | None:
    """A token, valid or not."""
    row = await db.fetchrow(SELECT_TOKEN, token)
    return RegistrationToken(**row) if row is not None else None


async def get_tokens(db: Queryable) -> list[RegistrationToken]:
    """All tokens, the oldest first."""
    return [RegistrationToken(**row) for row in await db.fetch(SELECT_TOKENS)]


async def use_token(db: Queryable, token: str, now: int) -> bool:
    """Use a token once.  False if it is unknown, expired or used up."""
    return await db.fetchval(USE_TOKEN, token, now) is not None


async def set_limits(
    db: Queryable, token: str, *, uses_allowed: int | None, expires_at: int | None
) -> bool:
    """Set how often and until when a token is good.  False if there is none of that name."""
    return await db.fetchval(SET_LIMITS, token, uses_allowed, expires_at) is not None


async def delete_token(db: Queryable, token: str) -> bool:
    """Remove a token.  False if there is none of that name."""
    return await db.fetchval(DELETE_TOKEN, token) is not None
