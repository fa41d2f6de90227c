"""Keys for end-to-end encryption: device keys, one-time and fallback keys, cross-signing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Connection, Queryable

SELECT_DEVICE_KEYS = """
SELECT k.user_id, k.device_id, k.keys, d.display_name
FROM device_keys k LEFT JOIN devices d USING (user_id, device_id)
WHERE k.user_id = ANY($1::text[])
"""
# An upload that its device's end overtook leaves nothing behind; other instances' users have no
# account here.
UPSERT_DEVICE_KEYS = """
INSERT INTO device_keys (user_id, device_id, keys, position)
SELECT $1::text, $2::text, $3::json, $4::bigint
WHERE NOT EXISTS (SELECT 1 FROM accounts WHERE user_id = $1) OR EXISTS (
    SELECT 1 FROM devices WHERE user_id = $1 AND device_id = $2 FOR KEY SHARE)
ON CONFLICT (user_id, device_id) DO UPDATE SET keys = EXCLUDED.keys, position = EXCLUDED.position
"""
# What was signed was another key.
DELETE_SIGNATURES_OF_OTHER_KEYS = """
DELETE FROM key_signatures s USING device_keys k
WHERE s.signer = $1 AND s.target_user_id = $1 AND s.target_key = $2
    AND k.user_id = $1 AND k.device_id = $2
    AND k.keys::jsonb - 'signatures' - 'unsigned' <> $3::json::jsonb - 'signatures' - 'unsigned'
"""
DELETE_DEVICE = (
    "DELETE FROM device_keys WHERE user_id = $1 AND device_id = $2",
    "DELETE FROM one_time_keys WHERE user_id = $1 AND device_id = $2",
    "DELETE FROM claimed_keys WHERE user_id = $1 AND device_id = $2",
    "DELETE FROM fallback_keys WHERE user_id = $1 AND device_id = $2",
    "DELETE FROM to_device_messages WHERE user_id = $1 AND device_id = $2",
    "DELETE FROM key_signatures WHERE signer = $1 AND target_user_id = $1 AND target_key = $2",
)

INSERT_ONE_TIME_KEYS = """
INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key, uploaded)
SELECT $1, $2, algorithm, key_id, key, $6
FROM unnest($3::text[], $4::text[], $5::json[]) AS new (algorithm, key_id, key)
ON CONFLICT DO NOTHING
"""
SELECT_ONE_TIME_KEYS = """
SELECT algorithm, key_id, key FROM one_time_keys
JOIN unnest($3::text[], $4::text[]) AS wanted (algorithm, key_id) USING (algorithm, key_id)
WHERE user_id = $1 AND device_id = $2
"""
SELECT_CLAIMED_KEYS = """
SELECT algorithm, key_id, key FROM claimed_keys
JOIN unnest($3::text[], $4::text[]) AS wanted (algorithm, key_id) USING (algorithm, key_id)
WHERE user_id = $1 AND device_id = $2
"""
DELETE_LONG_CLAIMED = """
DELETE FROM claimed_keys
WHERE user_id = $1 AND device_id = $2 AND claimed_at < now() - interval '7 days'
"""
COUNT_ONE_TIME_KEYS = """
SELECT algorithm, count(*) AS keys FROM one_time_keys
WHERE user_id = $1 AND device_id = $2 GROUP BY algorithm
"""
# A key that another claim holds is passed over, so that none is given out twice and no claim
# waits.  The choice is materialised: it must be made once per device.
CLAIM_ONE_TIME_KEYS = """
WITH chosen AS MATERIALIZED (
    SELECT oldest.* FROM unnest($1::text[], $2::text[], $3::text[])
        AS wanted (user_id, device_id, algorithm)
    CROSS JOIN LATERAL (
        SELECT k.user_id, k.device_id, k.algorithm, k.key_id FROM one_time_keys k
        WHERE k.user_id = wanted.user_id AND k.device_id = wanted.device_id
            AND k.algorithm = wanted.algorithm
        ORDER BY k.uploaded, k.key_id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) oldest
), taken AS (
    DELETE FROM one_time_keys k USING chosen
    WHERE k.user_id = chosen.user_id AND k.device_id = chosen.device_id
        AND k.algorithm = chosen.algorithm AND k.key_id = chosen.key_id
    RETURNING k.user_id, k.device_id, k.algorithm, k.key_id, k.key
), remembered AS (
    INSERT INTO claimed_keys (user_id, device_id, algorithm, key_id, key)
    SELECT user_id, device_id, algorithm, key_id, key FROM taken
    ON CONFLICT (user_id, device_id, algorithm, key_id)
        DO UPDATE SET key = EXCLUDED.key, claimed_at = now()
)
SELECT user_id, device_id, algorithm, key_id, key FROM taken
"""
UPSERT_FALLBACK_KEYS = """
INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, key, used)
SELECT $1, $2, algorithm, key_id, key, false
FROM unnest($3::text[], $4::text[], $5::json[]) AS new (algorithm, key_id, key)
ON CONFLICT (user_id, device_id, algorithm) DO UPDATE SET key_id = EXCLUDED.key_id,
    key = EXCLUDED.key, used = false
WHERE fallback_keys.key_id <> EXCLUDED.key_id OR fallback_keys.key::text <> EXCLUDED.key::text
"""
CLAIM_FALLBACK_KEYS = """
UPDATE fallback_keys k SET used = true
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (user_id, device_id, algorithm)
WHERE k.user_id = wanted.user_id AND k.device_id = wanted.device_id
    AND k.algorithm = wanted.algorithm
RETURNING k.user_id, k.device_id, k.algorithm, k.key_id, k.key
"""
SELECT_FALLBACK_KEYS = """
SELECT user_id, device_id, algorithm, key_id, key FROM fallback_keys
WHERE user_id = ANY($1::text[]) AND algorithm = $2
"""
SELECT_UNUSED_FALLBACK = """
SELECT algorithm FROM fallback_keys WHERE user_id = $1 AND device_id = $2 AND NOT used
ORDER BY algorithm
"""

SELECT_CROSS_SIGNING = """
SELECT user_id, usage, key FROM cross_signing_keys WHERE user_id = ANY($1::text[])
"""
UPSERT_CROSS_SIGNING = """
INSERT INTO cross_signing_keys (user_id, usage, key, position) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, usage) DO UPDATE SET key = EXCLUDED.key, position = EXCLUDED.position
"""
DELETE_CROSS_SIGNING = "DELETE FROM cross_signing_keys WHERE user_id = $1"
DELETE_OWN_SIGNATURES = "DELETE FROM key_signatures WHERE signer = $1"

UPSERT_SIGNATURES = """
INSERT INTO key_signatures (signer, target_user_id, target_key, signatures)
VALUES ($1, $2, $3, $4)
ON CONFLICT (signer, target_user_id, target_key) DO UPDATE SET
    signatures = (key_signatures.signatures::jsonb || EXCLUDED.signatures::jsonb)::json
"""
# Signatures that everybody may see: a user's own, on their own keys.
SELECT_OWN_SIGNATURES = """
SELECT signer, target_user_id, target_key, signatures
FROM unnest($1::text[]) AS wanted (user_id)
JOIN key_signatures ON signer = wanted.user_id AND target_user_id = wanted.user_id
"""
# Signatures that only their signer may see: on others' keys.
SELECT_SIGNATURES_BY = """
SELECT signer, target_user_id, target_key, signatures FROM key_signatures
WHERE signer = $2 AND target_user_id = ANY($1::text[]) AND target_user_id <> $2
"""


class DeviceKeys(Struct, frozen=True):
    """A device's identity keys as uploaded, and its name, if the device is ours and has one."""

    user_id: str
    device_id: str
    keys: JsonObject
    display_name: str | None


class Key(Struct, frozen=True):
    """A one-time or fallback key."""

    algorithm: str
    key_id: str
    key: object  # a string, or an object with a signature

    @property
    def name(self) -> str:
        """Its name on the wire: ``<algorithm>:<key_id>``."""
        return f"{self.algorithm}:{self.key_id}"


class Wanted(Struct, frozen=True):
    """A claim for one key of a device."""

    user_id: str
    device_id: str
    algorithm: str


class Signatures(Struct, frozen=True):
    """Signatures by one user on a device (by its ID) or a cross-signing key (by its value)."""

    signer: str
    target_user_id: str
    target_key: str
    signatures: dict[str, str]  # key ID -> signature


# ---------------------------------------------------------------- device keys


async def get_device_keys(db: Queryable, user_ids: Iterable[str]) -> list[DeviceKeys]:
    """The identity keys of all devices of these users."""
    rows = await db.fetch(SELECT_DEVICE_KEYS, list(user_ids))
    return [DeviceKeys(**row) for row in rows]


async def put_device_keys(
    connection: Connection, user_id: str, device_id: str, keys: JsonObject, position: int
) -> None:
    """Set a device's identity keys, unless it is ours and was deleted."""
    await connection.execute(UPSERT_DEVICE_KEYS, user_id, device_id, keys, position)


async def forget_signatures_of_other_keys(
    connection: Connection, user_id: str, device_id: str, keys: JsonObject
) -> None:
    """Forget a user's signatures on a device of theirs which is to have other keys than it has."""
    await connection.execute(DELETE_SIGNATURES_OF_OTHER_KEYS, user_id, device_id, keys)


async def delete_device(connection: Connection, user_id: str, device_id: str) -> None:
    """Remove all keys of a device, and the messages that wait for it."""
    for statement in DELETE_DEVICE:
        await connection.execute(statement, user_id, device_id)


# ---------------------------------------------------------------- one-time and fallback keys


async def insert_one_time_keys(
    db: Queryable, user_id: str, device_id: str, keys: Sequence[Key], uploaded: int
) -> None:
    """Add one-time keys; those whose ID is taken stay as they are."""
    await db.execute(
        INSERT_ONE_TIME_KEYS,
        user_id,
        device_id,
        [key.algorithm for key in keys],
        [key.key_id for key in keys],
        [key.key for key in keys],
        uploaded,
    )


async def get_one_time_keys(
    db: Queryable, user_id: str, device_id: str, keys: Sequence[Key]
) -> dict[str, Key]:
    """The stored keys that bear the names of ``keys``, by name."""
    return await _get_named(db, SELECT_ONE_TIME_KEYS, user_id, device_id, keys)


async def get_claimed_keys(
    db: Queryable, user_id: str, device_id: str, keys: Sequence[Key]
) -> dict[str, Key]:
    """The lately claimed keys that bear the names of ``keys``; what is older is forgotten."""
    await db.execute(DELETE_LONG_CLAIMED, user_id, device_id)
    return await _get_named(db, SELECT_CLAIMED_KEYS, user_id, device_id, keys)


async def _get_named(
    db: Queryable, statement: str, user_id: str, device_id: str, keys: Sequence[Key]
) -> dict[str, Key]:
    rows = await db.fetch(
        statement,
        user_id,
        device_id,
        [key.algorithm for key in keys],
        [key.key_id for key in keys],
    )
    found = [Key(**row) for row in rows]
    return {key.name: key for key in found}


async def count_one_time_keys(db: Queryable, user_id: str, device_id: str) -> dict[str, int]:
    """Unclaimed keys of a device, by algorithm."""
    rows = await db.fetch(COUNT_ONE_TIME_KEYS, user_id, device_id)
    return {row["algorithm"]: row["keys"] for row in rows}


async def claim_one_time_keys(db: Queryable, wanted: Sequence[Wanted]) -> dict[Wanted, Key]:
    """Take one key for each claim, the oldest first; a key is given out once."""
    return await _claim(db, CLAIM_ONE_TIME_KEYS, wanted)


async def claim_fallback_keys(db: Queryable, wanted: Sequence[Wanted]) -> dict[Wanted, Key]:
    """The fallback key for each claim, which is used from now on."""
    return await _claim(db, CLAIM_FALLBACK_KEYS, wanted)


async def get_fallback_keys(
    db: Queryable, user_ids: Iterable[str], algorithm: str
) -> dict[tuple[str, str], Key]:
    """``(user, device)`` -> the device's fallback key; that it was looked at does not use it."""
    rows = await db.fetch(SELECT_FALLBACK_KEYS, list(user_ids), algorithm)
    return {
        (row["user_id"], row["device_id"]): Key(row["algorithm"], row["key_id"], row["key"])
        for row in rows
    }


async def _claim(db: Queryable, statement: str, wanted: Sequence[Wanted]) -> dict[Wanted, Key]:
    rows = await db.fetch(
        statement,
        [want.user_id for want in wanted],
        [want.device_id for want in wanted],
        [want.algorithm for want in wanted],
    )
    return {
        Wanted(row["user_id"], row["device_id"], row["algorithm"]): Key(
            row["algorithm"], row["key_id"], row["key"]
        )
        for row in rows
    }


async def put_fallback_keys(
    db: Queryable, user_id: str, device_id: str, keys: Sequence[Key]
) -> None:
    """Set fallback keys, one per algorithm; the same key again does not become unused."""
    await db.execute(
        UPSERT_FALLBACK_KEYS,
        user_id,
        device_id,
        [key.algorithm for key in keys],
        [key.key_id for key in keys],
        [key.key for key in keys],
    )


async def get_unused_fallback_algorithms(db: Queryable, user_id: str, device_id: str) -> list[str]:
    """The algorithms for which a device has a fallback key that was not used yet."""
    rows = await db.fetch(SELECT_UNUSED_FALLBACK, user_id, device_id)
    return [row["algorithm"] for row in rows]


# ---------------------------------------------------------------- cross-signing


async def get_cross_signing_keys(
    db: Queryable, user_ids: Iterable[str]
) -> dict[str, dict[str, JsonObject]]:
    """User ID -> usage (``master``, ``self_signing``, ``user_signing``) -> key."""
    found: dict[str, dict[str, JsonObject]] = {}
    for row in await db.fetch(SELECT_CROSS_SIGNING, list(user_ids)):
        found.setdefault(row["user_id"], {})[row["usage"]] = row["key"]
    return found


async def put_cross_signing_keys(
    connection: Connection, user_id: str, keys: Mapping[str, JsonObject], position: int
) -> None:
    """Set cross-signing keys by usage.  A new master key voids all that hung on the old one."""
    stored = (await get_cross_signing_keys(connection, [user_id])).get(user_id, {})
    old, new = stored.get("master"), keys.get("master")
    if old is not None and new is not None and old["keys"] != new["keys"]:
        await connection.execute(DELETE_CROSS_SIGNING, user_id)
        await connection.execute(DELETE_OWN_SIGNATURES, user_id)
    for usage, key in keys.items():
        await connection.execute(UPSERT_CROSS_SIGNING, user_id, usage, key, position)


async def replace_cross_signing_keys(
    connection: Connection, user_id: str, keys: Mapping[str, JsonObject], position: int
) -> None:
    """Set a remote user's cross-signing keys to these and no others."""
    await connection.execute(DELETE_CROSS_SIGNING, user_id)
    for usage, key in keys.items():
        await connection.execute(UPSERT_CROSS_SIGNING, user_id, usage, key, position)


async def add_signatures(connection: Connection, signatures: Iterable[Signatures]) -> None:
    """Add signatures to those the signer has made before."""
    for entry in signatures:
        await connection.execute(
            UPSERT_SIGNATURES,
            entry.signer,
            entry.target_user_id,
            entry.target_key,
            entry.signatures,
        )


async def get_signatures(
    db: Queryable, target_user_ids: Iterable[str], viewer: str | None
) -> list[Signatures]:
    """The signatures on these users' keys that ``viewer`` may see (None: another instance).

    Spec: client-server API, key and signature security.
    """
    targets = list(target_user_ids)
    rows = await db.fetch(SELECT_OWN_SIGNATURES, targets)
    if viewer is not None:
        rows += await db.fetch(SELECT_SIGNATURES_BY, targets, viewer)
    return [Signatures(**row) for row in rows]
