"""Devices: what a user logged in with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

# A known device keeps its name.
INSERT_DEVICE = """
INSERT INTO devices (user_id, device_id, display_name, created_at, last_seen_at, last_seen_ip,
    user_agent, authenticated_at)
VALUES ($1, $2, $3, $4, $4, $5, $6, CASE WHEN $7 THEN $4::bigint END)
ON CONFLICT (user_id, device_id) DO UPDATE SET last_seen_at = EXCLUDED.last_seen_at,
    last_seen_ip = EXCLUDED.last_seen_ip, user_agent = EXCLUDED.user_agent,
    authenticated_at = EXCLUDED.authenticated_at
"""
SELECT_DEVICES = """
SELECT device_id, display_name, last_seen_at, last_seen_ip, user_agent FROM devices
WHERE user_id = $1 ORDER BY device_id
"""
SELECT_DEVICE = """
SELECT device_id, display_name, last_seen_at, last_seen_ip, user_agent FROM devices
WHERE user_id = $1 AND device_id = $2
"""
SET_DISPLAY_NAME = """
UPDATE devices SET display_name = $3 WHERE user_id = $1 AND device_id = $2 RETURNING device_id
"""
# The device first: whoever uploads keys for it holds its row, and is done when it is deleted.
DELETE_DEVICES = tuple(
    f"DELETE FROM {table} WHERE user_id = $1 AND device_id = ANY($2::text[])"
    for table in ("devices", "device_keys", "one_time_keys", "claimed_keys", "fallback_keys")
)
SET_LAST_SEEN = """
UPDATE devices d SET last_seen_at = seen.at, last_seen_ip = seen.ip, user_agent = seen.agent
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
    AS seen (user_id, device_id, at, ip, agent)
WHERE d.user_id = seen.user_id AND d.device_id = seen.device_id
"""
SELECT_AUTHENTICATED_AT = """
SELECT authenticated_at FROM devices d WHERE user_id = $1 AND device_id = $2 AND NOT EXISTS (
    SELECT 1 FROM oauth_sessions s WHERE s.user_id = d.user_id AND s.device_id = d.device_id)
"""
IS_CROSS_SIGNING_KEY = """
SELECT EXISTS (
    SELECT 1 FROM cross_signing_keys
    WHERE user_id = $1 AND (key -> 'keys')::jsonb ? ('ed25519:' || $2))
"""


class Device(Struct, frozen=True):
    """A device as its owner sees it."""

    device_id: str
    display_name: str | None
    last_seen_at: int | None
    last_seen_ip: str | None
    user_agent: str | None = None

    @property
    def shown_name(self) -> str:
        """What it is called, or its ID."""
        return self.display_name or self.device_id


class Sighting(Struct, frozen=True):
    """When and from where a device was last used."""

    user_id: str
    device_id: str
    at: int
    ip: str | None
    user_agent: str | None


async def put_device(
    db: Queryable, sighting: Sighting, display_name: str | None, *, proved: bool = True
) -> None:
    """Add a device that logs in, or note that a known one did.

    ``proved``: by its user to the device itself, and not to a page that let the device in.
    """
    await db.execute(
        INSERT_DEVICE,
        sighting.user_id,
        sighting.device_id,
        display_name,
        sighting.at,
        sighting.ip,
        sighting.user_agent,
        proved,
    )


async def get_devices(db: Queryable, user_id: str) -> list[Device]:
    """All devices of a user."""
    return [Device(**row) for row in await db.fetch(SELECT_DEVICES, user_id)]


async def get_device(db: Queryable, user_id: str, device_id: str) -> Device | None:
    """One device of a user."""
    row = await db.fetchrow(SELECT_DEVICE, user_id, device_id)
    return Device(**row) if row is not None else None


async def set_display_name(db: Queryable, user_id: str, device_id: str, name: str) -> bool:
    """Rename a device.  False if there is none of that ID."""
    return await db.fetchval(SET_DISPLAY_NAME, user_id, device_id, name) is not None


async def delete_devices(db: Queryable, user_id: str, device_ids: Iterable[str]) -> None:
    """Remove devices, and what was uploaded for them while they went."""
    for statement in DELETE_DEVICES:
        await db.execute(statement, user_id, list(device_ids))


async def set_last_seen(db: Queryable, sightings: Sequence[Sighting]) -> None:
    """Note when many devices were last used."""
    await db.execute(
        SET_LAST_SEEN,
        [sighting.user_id for sighting in sightings],
        [sighting.device_id for sighting in sightings],
        [sighting.at for sighting in sightings],
        [sighting.ip for sighting in sightings],
        [sighting.user_agent for sighting in sightings],
    )


async def is_cross_signing_key(db: Queryable, user_id: str, device_id: str) -> bool:
    """Whether a device ID is the ID of one of the user's cross-signing keys."""
    return bool(await db.fetchval(IS_CROSS_SIGNING_KEY, user_id, device_id))


async def get_authenticated_at(db: Queryable, user_id: str, device_id: str) -> int | None:
    """When a user last logged in with a device (ms).

    None where that is not known, and for a device of the OAuth 2.0 API: a browser that was signed
    in long ago lets such a device in.
    """
    at: int | None = await db.fetchval(SELECT_AUTHENTICATED_AT, user_id, device_id)
    return at
