"""OAuth 2.0 clients that have registered themselves."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from asyncpg.exceptions import ForeignKeyViolationError
from msgspec import Struct

from homeserver.storage.database import Queryable

# The same metadata are the same client; the date is that of the last registration.
UPSERT_CLIENT = """
INSERT INTO oauth_clients (client_id, metadata, metadata_hash, created_at)
VALUES ($1, $2::jsonb, $3, $4)
ON CONFLICT (metadata_hash) DO UPDATE SET created_at = EXCLUDED.created_at
RETURNING client_id
"""
SELECT_CLIENT = "SELECT client_id, metadata FROM oauth_clients WHERE client_id = $1"
DELETE_UNUSED = """
DELETE FROM oauth_clients c
WHERE c.created_at < $1
    AND NOT EXISTS (SELECT 1 FROM oauth_sessions WHERE client_id = c.client_id)
    AND NOT EXISTS (SELECT 1 FROM oauth_authorizations WHERE client_id = c.client_id)
    AND NOT EXISTS (SELECT 1 FROM oauth_device_codes WHERE client_id = c.client_id)
"""


COUNT_NEW = "SELECT count(*) FROM (SELECT 1 FROM oauth_clients WHERE created_at >= $1 LIMIT $2) new"


class ClientRow(Struct, frozen=True):
    """A registered client."""

    client_id: str
    metadata: dict[str, Any]


async def put_client(
    db: Queryable, client_id: str, metadata: dict[str, Any], metadata_hash: bytes, now: int
) -> str:
    """Store a client; the ID of the one that has these metadata, this or an earlier one."""
    stored: str = await db.fetchval(UPSERT_CLIENT, client_id, metadata, metadata_hash, now)
    return stored


async def get_client(db: Queryable, client_id: str) -> ClientRow | None:
    """A client, by its ID."""
    row = await db.fetchrow(SELECT_CLIENT, client_id)
    return ClientRow(**row) if row is not None else None


async def count_new(db: Queryable, since: int, most: int) -> int:
    """How many clients were registered since a time (ms), counted up to so many."""
    count: int = await db.fetchval(COUNT_NEW, since, most)
    return count


async def delete_unused(db: Queryable, before: int) -> None:
    """Forget clients registered before a time (ms) that nobody is logged in with."""
    # Somebody may begin to log in with one at this moment: then the next time.
    with suppress(ForeignKeyViolationError):
        await db.execute(DELETE_UNUSED, before)
