"""Addresses to which messages are posted.  Of the secret in each only the SHA-256 is stored."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from homeserver.storage.database import Queryable

COLUMNS = """
incoming_id, prefix, room_id, user_id, application_id, label, created_at, last_used_at
"""
INSERT = """
INSERT INTO incoming_webhooks (incoming_id, secret_hash, prefix, room_id, user_id, application_id,
    label, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
FIND = f"SELECT {COLUMNS} FROM incoming_webhooks WHERE secret_hash = $1"
# `$2` null: everybody's.
SELECT_OF_ROOM = f"""
SELECT {COLUMNS} FROM incoming_webhooks WHERE room_id = $1 AND ($2::text IS NULL OR user_id = $2)
ORDER BY created_at, incoming_id
"""
COUNT = "SELECT count(*) FROM incoming_webhooks WHERE room_id = $1"
DELETE = """
DELETE FROM incoming_webhooks
WHERE incoming_id = $1 AND room_id = $2 AND ($3::text IS NULL OR user_id = $3)
RETURNING secret_hash
"""
DELETE_OF_USER = "DELETE FROM incoming_webhooks WHERE user_id = $1"
SET_LAST_USED = """
UPDATE incoming_webhooks i SET last_used_at = used.at
FROM unnest($1::text[], $2::bigint[]) AS used (incoming_id, at)
WHERE i.incoming_id = used.incoming_id
"""


class IncomingWebhook(Struct, frozen=True):
    """An address without its secret.  Times in ms."""

    incoming_id: str
    prefix: str
    room_id: str
    user_id: str
    application_id: str | None
    label: str
    created_at: int
    last_used_at: int | None = None


async def insert(db: Queryable, incoming: IncomingWebhook, secret_hash: bytes) -> None:
    """Store a new one."""
    await db.execute(
        INSERT,
        incoming.incoming_id,
        secret_hash,
        incoming.prefix,
        incoming.room_id,
        incoming.user_id,
        incoming.application_id,
        incoming.label,
        incoming.created_at,
    )


async def find(db: Queryable, secret_hash: bytes) -> IncomingWebhook | None:
    """The one of a secret."""
    row = await db.fetchrow(FIND, secret_hash)
    return IncomingWebhook(**row) if row is not None else None


async def get_of_room(db: Queryable, room_id: str, user_id: str | None) -> list[IncomingWebhook]:
    """Those of a room, made by one user, or with None by anybody; the oldest first."""
    rows = await db.fetch(SELECT_OF_ROOM, room_id, user_id)
    return [IncomingWebhook(**row) for row in rows]


async def count_of_room(db: Queryable, room_id: str) -> int:
    """How many a room has."""
    count: int = await db.fetchval(COUNT, room_id)
    return count


async def delete(
    db: Queryable, incoming_id: str, room_id: str, user_id: str | None
) -> bytes | None:
    """Delete one of a room's, made by one user, or with None by anybody; its secret's hash."""
    secret_hash: bytes | None = await db.fetchval(DELETE, incoming_id, room_id, user_id)
    return secret_hash


async def delete_of_user(db: Queryable, user_id: str) -> None:
    """Delete a user's."""
    await db.execute(DELETE_OF_USER, user_id)


async def set_last_used(db: Queryable, used: Mapping[str, int]) -> None:
    """Note when each, by its ID, was last used (ms)."""
    await db.execute(SET_LAST_USED, list(used), list(used.values()))
