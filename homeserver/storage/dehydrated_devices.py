"""Dehydrated devices: rows beside those of ``devices``, which they go with."""

from __future__ import annotations

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.storage.database import Connection, Queryable

# Of a device with an access token nobody makes a dehydrated one.
INSERT_DEVICE = """
INSERT INTO devices (user_id, device_id, display_name, created_at)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
IS_LOGGED_IN = """
SELECT EXISTS (SELECT 1 FROM devices d LEFT JOIN dehydrated_devices h USING (user_id, device_id)
    WHERE d.user_id = $1 AND d.device_id = $2 AND h.device_id IS NULL)
"""
UPSERT = """
INSERT INTO dehydrated_devices (user_id, device_id, device_data, created_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, device_id) DO UPDATE SET device_data = EXCLUDED.device_data,
    created_at = EXCLUDED.created_at
"""
SELECT_READY = """
SELECT device_id, device_data FROM dehydrated_devices WHERE user_id = $1 AND ready
"""
# The one before first: two that are ready there can never be.
LOCK_ALL = (
    "SELECT device_id FROM dehydrated_devices WHERE user_id = $1 ORDER BY device_id FOR UPDATE"
)
UNSET_READY = "UPDATE dehydrated_devices SET ready = false WHERE user_id = $1 AND ready"
SET_READY = "UPDATE dehydrated_devices SET ready = true WHERE user_id = $1 AND device_id = $2"


class DehydratedDevice(Struct, frozen=True):
    """A user's dehydrated device, with what the client needs to rehydrate it."""

    device_id: str
    device_data: JsonObject


async def is_logged_in(db: Queryable, user_id: str, device_id: str) -> bool:
    """Whether there is an ordinary device of that ID."""
    return bool(await db.fetchval(IS_LOGGED_IN, user_id, device_id))


async def put(
    connection: Connection,
    user_id: str,
    device: DehydratedDevice,
    display_name: str | None,
    created_at: int,
) -> None:
    """Add a dehydrated device, which is not ready yet."""
    await connection.execute(INSERT_DEVICE, user_id, device.device_id, display_name, created_at)
    await connection.execute(UPSERT, user_id, device.device_id, device.device_data, created_at)


async def set_ready(connection: Connection, user_id: str, device_id: str) -> list[str] | None:
    """Have a device be the user's only one that is ready; the others, which are to be deleted.

    None if the device is gone, since another has replaced it meanwhile.
    """
    found = [row["device_id"] for row in await connection.fetch(LOCK_ALL, user_id)]
    if device_id not in found:
        return None
    await connection.execute(UNSET_READY, user_id)
    await connection.execute(SET_READY, user_id, device_id)
    return [other for other in found if other != device_id]


async def get_ready(db: Queryable, user_id: str) -> DehydratedDevice | None:
    """A user's dehydrated device."""
    row = await db.fetchrow(SELECT_READY, user_id)
    return DehydratedDevice(**row) if row is not None else None
