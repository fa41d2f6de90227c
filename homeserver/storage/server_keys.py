"""Other instances' signing keys, as they published them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Queryable

# What the server itself says always counts; a notary's answer may come from its cache, and changes
# nothing if it is older than what we have.
UPSERT_KEYS = """
INSERT INTO server_keys AS k (server_name, key_id, verify_key, valid_until_ts, expired_ts,
    fetched_at, response)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[],
    $6::bigint[], $7::json[])
ON CONFLICT (server_name, key_id) DO UPDATE SET
    verify_key = EXCLUDED.verify_key, valid_until_ts = EXCLUDED.valid_until_ts,
    expired_ts = EXCLUDED.expired_ts, fetched_at = EXCLUDED.fetched_at,
    response = EXCLUDED.response
WHERE $8 OR k.valid_until_ts <= EXCLUDED.valid_until_ts
"""
SELECT_KEYS = """
SELECT server_name, key_id, verify_key, valid_until_ts, expired_ts, fetched_at
FROM server_keys WHERE server_name = $1
"""
SELECT_RESPONSES = """
SELECT key_id, response, valid_until_ts, expired_ts, fetched_at FROM server_keys
WHERE server_name = $1 AND response IS NOT NULL AND ($2::text[] = '{}' OR key_id = ANY($2))
ORDER BY fetched_at DESC
"""
EXPIRE_KEYS = """
UPDATE server_keys SET expired_ts = $3
WHERE server_name = $1 AND expired_ts IS NULL AND NOT key_id = ANY($2::text[])
"""


class ServerKey(Struct, frozen=True):
    """A key of a server.  ``expired_ts``: it is an old one, and good for what is older."""

    server_name: str
    key_id: str
    verify_key: bytes
    valid_until_ts: int
    expired_ts: int | None
    fetched_at: int


class KeyResponse(Struct, frozen=True):
    """The signed answer in which a key was published."""

    key_id: str
    response: JsonObject
    valid_until_ts: int
    expired_ts: int | None
    fetched_at: int


async def save_keys(
    db: Queryable, keys: Sequence[ServerKey], response: JsonObject | None, *, direct: bool
) -> None:
    """Keep the keys of one answer, and the answer for a notary to pass on.

    ``direct``: the server itself gave it.
    """
    if not keys:
        return
    rows = [
        (
            key.server_name,
            key.key_id,
            key.verify_key,
            key.valid_until_ts,
            key.expired_ts,
            key.fetched_at,
            response,
        )
        for key in keys
    ]
    await db.execute(UPSERT_KEYS, *map(list, zip(*rows, strict=True)), direct)


async def get_keys(db: Queryable, server_name: str) -> list[ServerKey]:
    """All keys that are known of a server."""
    return [ServerKey(**row) for row in await db.fetch(SELECT_KEYS, server_name)]


async def get_responses(
    db: Queryable, server_name: str, key_ids: Collection[str]
) -> list[KeyResponse]:
    """The answers that hold these keys, or all keys if none are named; the newest first."""
    rows = await db.fetch(SELECT_RESPONSES, server_name, list(key_ids))
    return [KeyResponse(**row) for row in rows]


async def expire_other_keys(
    db: Queryable, server_name: str, current: Collection[str], expired_ts: int
) -> None:
    """Note that a server has stopped using all keys but these."""
    await db.execute(EXPIRE_KEYS, server_name, list(current), expired_ts)
