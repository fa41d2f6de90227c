"""Filters that clients have uploaded, numbered by user; the same definition has one number."""

from __future__ import annotations

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Queryable

SELECT_BY_HASH = "SELECT filter_id FROM filters WHERE user_id = $1 AND definition_hash = $2"
# None is inserted where another request takes the number first: the caller tries again.
INSERT_FILTER = """
INSERT INTO filters (user_id, filter_id, definition, definition_hash)
SELECT $1, coalesce(max(filter_id), -1) + 1, $2, $3 FROM filters WHERE user_id = $1
ON CONFLICT DO NOTHING RETURNING filter_id
"""
SELECT_FILTER = "SELECT definition FROM filters WHERE user_id = $1 AND filter_id = $2"
COUNT_FILTERS = "SELECT count(*) FROM filters WHERE user_id = $1"


async def find_filter(db: Queryable, user_id: str, definition_hash: bytes) -> int | None:
    """The number of a definition that the user has uploaded before."""
    filter_id: int | None = await db.fetchval(SELECT_BY_HASH, user_id, definition_hash)
    return filter_id


async def insert_filter(
    db: Queryable, user_id: str, definition: JsonObject, definition_hash: bytes
) -> int | None:
    """Store a definition; its number, or None if another request came between."""
    filter_id: int | None = await db.fetchval(INSERT_FILTER, user_id, definition, definition_hash)
    return filter_id


async def get_filter(db: Queryable, user_id: str, filter_id: int) -> JsonObject | None:
    """A definition by its number."""
    definition: JsonObject | None = await db.fetchval(SELECT_FILTER, user_id, filter_id)
    return definition


async def count_filters(db: Queryable, user_id: str) -> int:
    """How many definitions a user has uploaded."""
    count: int = await db.fetchval(COUNT_FILTERS, user_id)
    return count
