"""Instances that this one does not deal with, and exemptions from what lists block."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import astuple

from homeserver.storage.database import Queryable

SELECT_BLOCKS = """
SELECT server, source, exempt, reason, created_at, created_by, expires_at
FROM server_blocks ORDER BY created_at, server, source
"""
UPSERT_BLOCK = """
INSERT INTO server_blocks (server, source, exempt, reason, created_at, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (server, source) DO UPDATE SET exempt = EXCLUDED.exempt, reason = EXCLUDED.reason,
    created_at = EXCLUDED.created_at, created_by = EXCLUDED.created_by,
    expires_at = EXCLUDED.expires_at
"""
DELETE_BLOCKS = "DELETE FROM server_blocks WHERE server = $1 RETURNING source"
DELETE_EXPIRED = "DELETE FROM server_blocks WHERE expires_at <= $1"


class BlockRow(Struct, frozen=True):
    """One block, or with ``exempt`` the contrary.  Times in ms."""

    server: str
    source: str
    exempt: bool
    reason: str
    created_at: int
    created_by: str
    expires_at: int | None


async def get_blocks(db: Queryable) -> list[BlockRow]:
    """All blocks and exemptions, the oldest first."""
    return [BlockRow(**row) for row in await db.fetch(SELECT_BLOCKS)]


async def save_block(db: Queryable, block: BlockRow) -> None:
    """Add a block, or replace that of the same glob and source."""
    await db.execute(UPSERT_BLOCK, *astuple(block))


async def delete_blocks(db: Queryable, server: str) -> Sequence[str]:
    """Delete all blocks and exemptions of a glob; whose they were."""
    return [row["source"] for row in await db.fetch(DELETE_BLOCKS, server)]


async def delete_expired(db: Queryable, now_ms: int) -> None:
    """Delete what is over."""
    await db.execute(DELETE_EXPIRED, now_ms)
