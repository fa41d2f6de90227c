"""Device lists: what changed in them, our users' and, cached, those of other instances' users.

A change's position doubles as the ``stream_id`` of its ``m.device_list_update`` EDU.  Only the
latest change of each device is kept: a reader asks who changed since a position, not how often.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from msgspec import Struct, field

from homeserver.protocol.events import JsonObject
from homeserver.storage import end_to_end_keys as key_storage
from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

INSERT_CHANGES = """
INSERT INTO device_list_changes (position, user_id, device_id, visible_to)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[])
"""
DELETE_OLDER_CHANGES = """
DELETE FROM device_list_changes old
USING unnest($1::bigint[], $2::text[], $3::text[], $4::text[])
    AS new (position, user_id, device_id, visible_to)
WHERE old.user_id = new.user_id AND old.position < new.position
    AND old.device_id IS NOT DISTINCT FROM new.device_id
    AND old.visible_to IS NOT DISTINCT FROM new.visible_to
"""
SELECT_PREVIOUS = """
SELECT position FROM device_list_changes
WHERE user_id = $1 AND position < $2 AND device_id IS NOT NULL ORDER BY position DESC LIMIT 1
"""
SELECT_STREAM_ID = """
SELECT position FROM device_list_changes
WHERE user_id = $1 AND device_id IS NOT NULL ORDER BY position DESC LIMIT 1
"""
# The driving set is what changed since the token; each change costs one look at shared rooms.
SELECT_CHANGED = """
SELECT DISTINCT c.user_id FROM device_list_changes c
WHERE c.position > $2 AND c.position <= $3 AND (
    c.visible_to = $1
    OR c.visible_to IS NULL AND (c.user_id = $1 OR EXISTS (
        SELECT 1 FROM memberships theirs JOIN memberships mine USING (room_id)
        WHERE theirs.user_id = c.user_id AND theirs.membership = 'join'
            AND mine.user_id = $1 AND mine.membership = 'join')))
"""
SELECT_DEVICE = """
SELECT d.display_name, d.device_id IS NOT NULL AS present, k.keys
FROM (SELECT $1::text AS user_id, $2::text AS device_id) wanted
LEFT JOIN devices d USING (user_id, device_id)
LEFT JOIN device_keys k USING (user_id, device_id)
"""
SELECT_DEVICE_IDS = "SELECT device_id FROM devices WHERE user_id = $1 ORDER BY device_id"

SELECT_TRACKED = """
SELECT user_id, stream_id, stale FROM remote_device_lists WHERE user_id = ANY($1::text[])
"""
UPSERT_TRACKED = """
INSERT INTO remote_device_lists (user_id, stream_id, stale, fetched_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO UPDATE SET stream_id = EXCLUDED.stream_id, stale = EXCLUDED.stale,
    fetched_at = EXCLUDED.fetched_at
"""
ADVANCE_TRACKED = """
UPDATE remote_device_lists SET stream_id = $2
WHERE user_id = $1 AND NOT stale AND stream_id = $3
"""
MARK_STALE = """
UPDATE remote_device_lists SET stale = true WHERE user_id = ANY($1::text[]) AND NOT stale
"""
SELECT_STALE = """
SELECT user_id FROM remote_device_lists WHERE stale AND user_id > $1 ORDER BY user_id LIMIT $2
"""
UNTRACK_ROOM = """
DELETE FROM remote_device_lists r USING memberships m
WHERE m.room_id = $1 AND m.membership = 'join' AND NOT m.local AND r.user_id = m.user_id
"""
DELETE_DEVICES_EXCEPT = """
DELETE FROM device_keys WHERE user_id = $1 AND NOT device_id = ANY($2::text[])
"""


Announcement = Callable[[Connection, int], Awaitable[None]]


class DeviceRow(Struct, frozen=True):
    """What may be told of a device.  ``present`` is false once it is deleted."""

    display_name: str | None
    present: bool
    keys: JsonObject | None


class TrackedList(Struct, frozen=True):
    """A remote user's device list as cached here.  A stale one must be fetched again."""

    user_id: str
    stream_id: int | None
    stale: bool


class DeviceListRecord(Record, eq=False):
    """A change to the devices or cross-signing keys of a user, ours or another instance's.

    ``announce`` queues what other instances are told, in the same transaction.
    """

    user_id: str
    device_id: str | None = None  # None: the cross-signing keys
    rooms: Sequence[str] = ()
    keys: JsonObject | None = None
    deleted: bool = False
    cross_signing: Mapping[str, JsonObject] = field(default_factory=dict)
    signatures: Sequence[key_storage.Signatures] = ()
    visible_to: str | None = None
    stream: tuple[int | None, int] | None = None  # a remote list's stream_id: from, to
    announce: Announcement | None = None

    def touched_rooms(self) -> Sequence[str]:
        """Every room the user is in: its members have a list to fetch again."""
        return self.rooms

    def touched_users(self) -> Sequence[str]:
        """The user's own devices, or the one user who may see the change."""
        return (self.visible_to or self.user_id,)

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, DeviceListRecord]]
    ) -> None:
        """Write the changes in their order, and queue what is announced of each."""
        for position, record in batch:
            await _write_keys(connection, position, record)
        await write_changes(
            connection,
            [(position, r.user_id, r.device_id, r.visible_to) for position, r in batch],
        )
        for position, record in batch:
            if record.announce is not None:
                await record.announce(connection, position)
        await _forget_older(connection, batch)


class RemoteDeviceListRecord(Record, eq=False):
    """A remote user's whole device list, as fetched from their instance.

    ``changed`` is false if nobody need be told: the list was not known before, or is the same.
    """

    user_id: str
    stream_id: int
    devices: Mapping[str, JsonObject]
    cross_signing: Mapping[str, JsonObject]
    fetched_at: int
    changed: bool
    rooms: Sequence[str] = ()
    stale: bool = False  # it must be fetched again all the same

    def touched_rooms(self) -> Sequence[str]:
        """Every room the user is in, if there is something to fetch again."""
        return self.rooms if self.changed else ()

    @classmethod
    async def write(
        cls, connection: Connection, batch: Sequence[tuple[int, RemoteDeviceListRecord]]
    ) -> None:
        """Replace the cached lists."""
        for position, record in batch:
            user_id = record.user_id
            await connection.execute(DELETE_DEVICES_EXCEPT, user_id, list(record.devices))
            for device_id, keys in record.devices.items():
                await key_storage.put_device_keys(connection, user_id, device_id, keys, position)
            await key_storage.replace_cross_signing_keys(
                connection, user_id, record.cross_signing, position
            )
            await connection.execute(
                UPSERT_TRACKED, user_id, record.stream_id, record.stale, record.fetched_at
            )
        changes = [(position, r.user_id, None, None) for position, r in batch if r.changed]
        if changes:
            await write_changes(connection, changes)


async def _write_keys(connection: Connection, position: int, record: DeviceListRecord) -> None:
    user_id, device_id = record.user_id, record.device_id
    if device_id is not None and record.deleted:
        await key_storage.delete_device(connection, user_id, device_id)
    elif device_id is not None and record.keys is not None:
        keys = record.keys
        await key_storage.forget_signatures_of_other_keys(connection, user_id, device_id, keys)
        await key_storage.put_device_keys(connection, user_id, device_id, keys, position)
    if record.cross_signing:
        await key_storage.put_cross_signing_keys(
            connection, user_id, record.cross_signing, position
        )
    if record.signatures:
        await key_storage.add_signatures(connection, record.signatures)
    if record.stream is not None:
        before, after = record.stream
        await connection.execute(ADVANCE_TRACKED, user_id, after, before)


async def write_changes(
    connection: Connection, rows: Sequence[tuple[int, str, str | None, str | None]]
) -> None:
    """Note changes: ``(position, user ID, device ID, visible to)``."""
    await connection.execute(INSERT_CHANGES, *map(list, zip(*rows, strict=True)))


async def _forget_older(
    connection: Connection, batch: Sequence[tuple[int, DeviceListRecord]]
) -> None:
    latest: dict[tuple[str, str | None, str | None], int] = {}
    for position, record in batch:
        latest[(record.user_id, record.device_id, record.visible_to)] = position
    await connection.execute(
        DELETE_OLDER_CHANGES,
        list(latest.values()),
        [key[0] for key in latest],
        [key[1] for key in latest],
        [key[2] for key in latest],
    )


# ---------------------------------------------------------------- our users' lists


async def get_previous_stream_id(db: Queryable, user_id: str, position: int) -> int | None:
    """The ``stream_id`` of the device change before the one at ``position``."""
    previous: int | None = await db.fetchval(SELECT_PREVIOUS, user_id, position)
    return previous


async def get_stream_id(db: Queryable, user_id: str) -> int:
    """The ``stream_id`` of a local user's latest device change; 0 if there was none."""
    stream_id: int | None = await db.fetchval(SELECT_STREAM_ID, user_id)
    return stream_id or 0


async def get_device(db: Queryable, user_id: str, device_id: str) -> DeviceRow:
    """What may be told of a local user's device."""
    row = await db.fetchrow(SELECT_DEVICE, user_id, device_id)
    assert row is not None
    return DeviceRow(row["display_name"], row["present"], row["keys"])


async def get_device_ids(db: Queryable, user_id: str) -> list[str]:
    """A local user's devices."""
    return [row["device_id"] for row in await db.fetch(SELECT_DEVICE_IDS, user_id)]


# ---------------------------------------------------------------- remote users' lists


async def get_tracked(db: Queryable, user_ids: Iterable[str]) -> dict[str, TrackedList]:
    """Those of ``user_ids`` whose device lists are cached here."""
    rows = await db.fetch(SELECT_TRACKED, list(user_ids))
    return {row["user_id"]: TrackedList(**row) for row in rows}


async def mark_stale(db: Queryable, user_ids: Iterable[str]) -> None:
    """Have cached lists fetched again before they are used."""
    await db.execute(MARK_STALE, list(user_ids))


async def get_stale(db: Queryable, after: str = "", limit: int = 1_000) -> list[str]:
    """Users whose cached lists must be fetched again, in their order, following ``after``."""
    return [row["user_id"] for row in await db.fetch(SELECT_STALE, after, limit)]


async def untrack_room(db: Queryable, room_id: str) -> None:
    """Forget the cached lists of a room's remote members."""
    await db.execute(UNTRACK_ROOM, room_id)


# ---------------------------------------------------------------- what a reader must fetch again


async def get_changed(db: Queryable, reader: str, since: int, upto: int) -> set[str]:
    """Users the reader shares a room with, whose lists changed at ``since < position <= upto``."""
    rows = await db.fetch(SELECT_CHANGED, reader, since, upto)
    return {row["user_id"] for row in rows}
