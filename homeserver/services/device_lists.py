"""Device lists: telling clients and other instances whose devices changed.

Spec: client-server API, tracking the device list for a user; server-server API, device
management.  What comes from other instances is in :mod:`homeserver.services.remote_devices`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.services.outgoing import EduQueue
from homeserver.services.published_keys import published_keys
from homeserver.storage import device_lists as storage
from homeserver.storage import shared_rooms
from homeserver.storage.database import Connection, Database
from homeserver.storage.device_lists import DeviceListRecord
from homeserver.storage.end_to_end_keys import Signatures
from homeserver.storage.log import Log
from homeserver.storage.rooms import servers_sharing_rooms

DEVICE_LIST_UPDATE = "m.device_list_update"
SIGNING_KEY_UPDATE = "m.signing_key_update"


class DeviceListChanges(Struct, frozen=True):
    """Whose keys a client must fetch again, and whose it may forget."""

    changed: list[str]
    left: list[str]


class DeviceListService:
    """Records changes to our users' devices and keys, and announces them."""

    def __init__(self, *, database: Database, log: Log, edus: EduQueue) -> None:
        self._database = database
        self._log = log
        self._edus = edus

    # ------------------------------------------------------------ changes of ours

    async def changed(self, user_id: str, device_id: str) -> None:
        """A local user's device is new, or its name or keys changed."""
        await self._append(user_id, [device_id])

    async def deleted(self, user_id: str, device_ids: Iterable[str]) -> None:
        """Local devices are gone: their keys and waiting messages go with them."""
        await self._append(user_id, device_ids, deleted=True)

    async def keys_uploaded(self, user_id: str, device_id: str, keys: JsonObject) -> None:
        """Store a device's identity keys, and announce them."""
        await self._append(user_id, [device_id], keys=keys)

    async def cross_signing_uploaded(self, user_id: str, keys: Mapping[str, JsonObject]) -> None:
        """Store cross-signing keys, by usage, and announce those that others may see."""
        servers: Collection[str] = ()
        if "master" in keys or "self_signing" in keys:
            servers = await servers_sharing_rooms(self._database, user_id)
        await self._log.append(
            DeviceListRecord(
                user_id,
                rooms=await shared_rooms.get_joined_rooms(self._database, user_id),
                cross_signing=keys,
                announce=self._signing_key_update(user_id, servers),
            )
        )

    async def signatures_uploaded(self, user_id: str, signatures: Sequence[Signatures]) -> None:
        """Store a user's signatures.  On their own keys all see them, on others' only they do."""
        rooms = await shared_rooms.get_joined_rooms(self._database, user_id)
        servers = await servers_sharing_rooms(self._database, user_id)
        devices = await storage.get_device_ids(self._database, user_id)
        records = []
        for entry in signatures:
            if entry.target_user_id != user_id:
                record = DeviceListRecord(entry.target_user_id, visible_to=user_id)
            elif entry.target_key in devices:
                record = self._device_record(user_id, entry.target_key, rooms, servers)
            else:
                announce = self._signing_key_update(user_id, servers)
                record = DeviceListRecord(user_id, rooms=rooms, announce=announce)
            record.signatures = (entry,)
            records.append(record)
        await self._log.append(*records)

    async def announce_to(self, user_id: str, servers: Collection[str]) -> None:
        """Tell instances that come to share a room with a user of all the user's devices.

        Spec: server-server API, device management: "when that user joins a room which contains
        servers which are not already receiving updates for that user's device list".
        """
        if not servers:
            return
        device_ids = await storage.get_device_ids(self._database, user_id)
        records = [self._device_record(user_id, device_id, (), servers) for device_id in device_ids]
        if records:
            await self._log.append(*records)

    async def _append(
        self,
        user_id: str,
        device_ids: Iterable[str],
        *,
        keys: JsonObject | None = None,
        deleted: bool = False,
    ) -> None:
        rooms = await shared_rooms.get_joined_rooms(self._database, user_id)
        servers = await servers_sharing_rooms(self._database, user_id)
        records = [
            self._device_record(user_id, device_id, rooms, servers, keys=keys, deleted=deleted)
            for device_id in device_ids
        ]
        if records:
            await self._log.append(*records)

    def _device_record(
        self,
        user_id: str,
        device_id: str,
        rooms: Sequence[str],
        servers: Collection[str],
        *,
        keys: JsonObject | None = None,
        deleted: bool = False,
    ) -> DeviceListRecord:
        async def announce(connection: Connection, position: int) -> None:
            content = await device_list_update(connection, user_id, device_id, position)
            if deleted:
                content = {**content, "deleted": True}
            await self._edus.queue_edu(servers, DEVICE_LIST_UPDATE, content, connection=connection)

        return DeviceListRecord(
            user_id,
            device_id,
            rooms=rooms,
            keys=keys,
            deleted=deleted,
            announce=announce if servers else None,
        )

    def _signing_key_update(
        self, user_id: str, servers: Collection[str]
    ) -> storage.Announcement | None:
        async def announce(connection: Connection, _: int) -> None:
            keys = await published_keys(connection, [user_id], None)
            content: JsonObject = {"user_id": user_id}
            if user_id in keys.master_keys:
                content["master_key"] = keys.master_keys[user_id]
            if user_id in keys.self_signing_keys:
                content["self_signing_key"] = keys.self_signing_keys[user_id]
            await self._edus.queue_edu(servers, SIGNING_KEY_UPDATE, content, connection=connection)

        return announce if servers else None

    # ------------------------------------------------------------ for clients

    async def changes_since(self, user_id: str, since: int, upto: int) -> DeviceListChanges:
        """What changed for a reader at ``since < position <= upto``.

        Spec: client-server API, extensions to /sync (``device_lists``), and ``/keys/changes``.
        """
        changed = await storage.get_changed(self._database, user_id, since, upto)
        rooms_joined, rooms_left, rooms_before = await shared_rooms.get_rooms_moved(
            self._database, user_id, since, upto
        )
        joined, left = await shared_rooms.get_members_moved(
            self._database, user_id, since, upto, besides=rooms_joined
        )
        if rooms_joined:
            joined |= await shared_rooms.get_joined_members(self._database, rooms_joined)
        if rooms_left:
            left |= await shared_rooms.get_joined_members(self._database, rooms_left)
        if rooms_before:  # who left them, too, while the reader was not there to see it
            left |= await shared_rooms.get_members_left(self._database, rooms_before, since, upto)
        left -= {user_id}
        if left:
            left -= await shared_rooms.sharing_rooms(self._database, user_id, left)
        return DeviceListChanges(sorted((changed | joined) - left), sorted(left))

    async def stream_id(self, user_id: str) -> int:
        """The version of a local user's device list, as other instances know it."""
        return await storage.get_stream_id(self._database, user_id)


async def device_list_update(
    connection: Connection, user_id: str, device_id: str, position: int
) -> JsonObject:
    """The content of an ``m.device_list_update`` EDU.  Spec: server-server API."""
    content: JsonObject = {"user_id": user_id, "device_id": device_id, "stream_id": position}
    previous = await storage.get_previous_stream_id(connection, user_id, position)
    content["prev_id"] = [previous] if previous is not None else []
    device = await storage.get_device(connection, user_id, device_id)
    if not device.present:
        content["deleted"] = True
        return content
    if device.display_name:
        content["device_display_name"] = device.display_name
    published = await published_keys(connection, [user_id], None)
    keys = published.device_keys[user_id].get(device_id)
    if keys is not None:
        content["keys"] = keys
    return content
