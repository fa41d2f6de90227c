"""What leaves the index of messages, and the history of calls, with what is redacted or erased."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.storage.database import Connection, Queryable

DELETE = "DELETE FROM message_index WHERE event_id = ANY($1::text[])"
# What the message says without that edit is found out later.
EMPTY = """
UPDATE message_index SET words = '', source_id = NULL, stale = true
WHERE source_id = ANY($1::text[])
"""
DELETE_CALLS = "DELETE FROM calls WHERE event_id = ANY($1::text[])"


async def forget(connection: Connection | Queryable, event_ids: Collection[str]) -> None:
    """What was redacted or erased is not found any more, nor what it made of another message.

    After the events themselves have been changed: so nobody indexes them again meanwhile.
    """
    ids = list(event_ids)
    await connection.execute(DELETE, ids)
    await connection.execute(EMPTY, ids)
    await connection.execute(DELETE_CALLS, ids)
