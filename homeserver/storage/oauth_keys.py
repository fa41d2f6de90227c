"""Keys with which ID tokens are signed."""

from __future__ import annotations

from homeserver.storage.database import Queryable

INSERT_KEY = """
INSERT INTO oauth_signing_keys (key_id, sealed, created_at) VALUES ($1, $2, $3)
"""
SELECT_KEYS = "SELECT sealed FROM oauth_signing_keys ORDER BY created_at DESC, key_id"


async def insert_key(db: Queryable, key_id: str, sealed: bytes, now: int) -> None:
    """Store a key, encrypted."""
    await db.execute(INSERT_KEY, key_id, sealed, now)


async def get_keys(db: Queryable) -> list[bytes]:
    """All keys, encrypted; the newest first."""
    return [row["sealed"] for row in await db.fetch(SELECT_KEYS)]
