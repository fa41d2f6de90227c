"""What requests with an Idempotency-Key were answered."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable

# One statement claims a key, or leaves it as it is.  It is claimed if it is new, if it is older
# than keys are kept, or if whoever began with the same request does not finish.
CLAIM = """
INSERT INTO idempotency_keys AS known (owner, key, fingerprint, attempt, begun_at)
VALUES ($1, $2, $3, $7, $4)
ON CONFLICT (owner, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, attempt = excluded.attempt,
    begun_at = excluded.begun_at, status = NULL, headers = NULL, body = NULL
WHERE known.begun_at <= $5
    OR (known.status IS NULL AND known.begun_at <= $6 AND known.fingerprint = $3)
RETURNING true
"""
SELECT = """
SELECT fingerprint, begun_at, status, headers, body FROM idempotency_keys
WHERE owner = $1 AND key = $2
"""
FINISH = """
UPDATE idempotency_keys SET status = $4, headers = $5, body = $6
WHERE owner = $1 AND key = $2 AND attempt = $3 AND status IS NULL
"""
GIVE_UP = """
DELETE FROM idempotency_keys WHERE owner = $1 AND key = $2 AND attempt = $3 AND status IS NULL
"""
DELETE_OLD = """
DELETE FROM idempotency_keys WHERE ctid IN (
    SELECT ctid FROM idempotency_keys WHERE begun_at <= $1 ORDER BY begun_at LIMIT $2)
"""
SELECT_OLDEST = "SELECT min(begun_at) FROM idempotency_keys"


class StoredRequest(Struct, frozen=True):
    """A request under a key; ``status`` is None until it is finished."""

    fingerprint: bytes
    begun_at: int  # ms
    status: int | None
    headers: dict[str, str] | None
    body: bytes | None


async def claim(
    db: Queryable,
    owner: str,
    key: str,
    fingerprint: bytes,
    attempt: int,
    *,
    now: int,
    forgotten_before: int,
    abandoned_before: int,
) -> bool:
    """Take a key for a new attempt; False if the key is taken.  Times in ms."""
    taken: bool | None = await db.fetchval(
        CLAIM, owner, key, fingerprint, now, forgotten_before, abandoned_before, attempt
    )
    return taken is not None


async def get(db: Queryable, owner: str, key: str) -> StoredRequest | None:
    """What is known of a key."""
    row = await db.fetchrow(SELECT, owner, key)
    return StoredRequest(**row) if row is not None else None


async def finish(
    db: Queryable,
    owner: str,
    key: str,
    attempt: int,
    *,
    status: int,
    headers: dict[str, Any],
    body: bytes,
) -> None:
    """Keep an attempt's answer, unless a later attempt has begun."""
    await db.execute(FINISH, owner, key, attempt, status, headers, body)


async def give_up(db: Queryable, owner: str, key: str, attempt: int) -> None:
    """Forget an attempt that came to nothing: the key is free again."""
    await db.execute(GIVE_UP, owner, key, attempt)


async def delete_old(db: Queryable, before: int, limit: int) -> int:
    """Forget keys that were last used before a time (ms); how many were forgotten."""
    done = await db.execute(DELETE_OLD, before, limit)
    return int(done.rpartition(" ")[2])


async def oldest(db: Queryable) -> int | None:
    """When the oldest key was used (ms)."""
    begun_at: int | None = await db.fetchval(SELECT_OLDEST)
    return begun_at
