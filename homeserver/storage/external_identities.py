"""Which account is whose at an issuer or provider.  What they call the person is kept as a hash."""

from __future__ import annotations

from msgspec import Struct

from homeserver.storage.database import Queryable

SELECT_IDENTITY = """
SELECT i.user_id, a.deactivated_at IS NOT NULL AS ended
FROM external_identities i JOIN accounts a USING (user_id)
WHERE i.provider = $1 AND i.subject_hash = $2
"""
# Whoever comes second finds the first one's row.
INSERT_IDENTITY = """
INSERT INTO external_identities (provider, subject_hash, user_id, created_at)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING user_id
"""
SELECT_PROVIDERS = "SELECT provider FROM external_identities WHERE user_id = $1 ORDER BY provider"


class Identity(Struct, frozen=True):
    """The account that somebody of a provider has, and whether it has ended."""

    user_id: str
    ended: bool


async def get_identity(db: Queryable, provider: str, subject_hash: bytes) -> Identity | None:
    """Whose account belongs to a subject of a provider."""
    row = await db.fetchrow(SELECT_IDENTITY, provider, subject_hash)
    return Identity(**row) if row is not None else None


async def insert_identity(
    db: Queryable, provider: str, subject_hash: bytes, user_id: str, created_at: int
) -> bool:
    """Note whose account it is.  False if the subject, or the account, belongs to another."""
    return (
        await db.fetchval(INSERT_IDENTITY, provider, subject_hash, user_id, created_at) is not None
    )


async def get_providers(db: Queryable, user_id: str) -> list[str]:
    """The providers through which a user may sign in."""
    return [row["provider"] for row in await db.fetch(SELECT_PROVIDERS, user_id)]
