"""Dehydrated devices: encrypted by a client and kept here, to receive keys for later devices.

MSC3814.  A dehydrated device is a device of its user like any other, but for access tokens: it is
in the device list with its keys, keys of it are claimed, and messages wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

import orjson
from msgspec import Struct

from homeserver.errors import Forbidden, InvalidParam, MatrixError, NotFound, TooLarge
from homeserver.protocol.events import JsonObject
from homeserver.services.devices import DeviceService
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.key_checks import check_device_keys, parse_fallback_keys, parse_keys
from homeserver.services.to_device import MESSAGES_PER_SYNC
from homeserver.services.values import MAX_INTEGER, is_text
from homeserver.storage import dehydrated_devices as storage
from homeserver.storage.database import Database
from homeserver.storage.dehydrated_devices import DehydratedDevice
from homeserver.storage.devices import is_cross_signing_key
from homeserver.storage.to_device import get_messages

MAX_DEVICE_DATA_BYTES = 262_144


class DeviceUpload(Struct, frozen=True):
    """A device as its client puts it here, with its keys."""

    device_id: str
    device_data: JsonObject
    device_keys: JsonObject
    one_time_keys: JsonObject
    fallback_keys: JsonObject
    display_name: str | None


class DeviceEvents(Struct, frozen=True):
    """Messages, and how far they reach; ``more`` if others may follow."""

    events: list[JsonObject]
    next_batch: str
    more: bool


class DehydratedDevices:
    """Keeps for each user at most one dehydrated device."""

    def __init__(
        self,
        *,
        database: Database,
        devices: DeviceService,
        keys: EndToEndKeyService,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._devices = devices
        self._keys = keys
        self._clock_ms = clock_ms
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def put(self, user_id: str, upload: DeviceUpload) -> None:
        """Keep a device, in place of the one before.

        Nobody finds it before its keys are stored; the one before is there until then.
        Raises :class:`InvalidParam`, :class:`BadJson`, :class:`TooLarge`.
        """
        device_id = upload.device_id
        if not is_text(device_id):
            raise InvalidParam("'device_id' has between 1 and 255 characters")
        if len(orjson.dumps(upload.device_data)) > MAX_DEVICE_DATA_BYTES:
            raise TooLarge(f"'device_data' may have at most {MAX_DEVICE_DATA_BYTES} bytes")
        check_device_keys(upload.device_keys, user_id, device_id)
        parse_keys(upload.one_time_keys)
        parse_fallback_keys(upload.fallback_keys)
        async with self._lock(user_id):
            if await is_cross_signing_key(self._database, user_id, device_id):
                raise InvalidParam("That device ID is the ID of one of your cross-signing keys")
            if await storage.is_logged_in(self._database, user_id, device_id):
                raise InvalidParam("You have a device with that ID, which is not dehydrated")
            async with self._database.transaction() as connection:
                device = DehydratedDevice(device_id, upload.device_data)
                await storage.put(
                    connection, user_id, device, upload.display_name, self._clock_ms()
                )
            await self._keys.upload(
                user_id,
                device_id,
                device_keys=upload.device_keys,
                one_time_keys=upload.one_time_keys,
                fallback_keys=upload.fallback_keys,
            )
            async with self._database.transaction() as connection:
                others = await storage.set_ready(connection, user_id, device_id)
            if others is None:
                raise MatrixError("Another dehydrated device has replaced this one", status=409)
            await self._devices.remove(user_id, others)

    async def get(self, user_id: str) -> DehydratedDevice:
        """The user's dehydrated device.  Raises :class:`NotFound`."""
        device = await storage.get_ready(self._database, user_id)
        if device is None:
            raise NotFound("You have no dehydrated device")
        return device

    async def delete(self, user_id: str) -> str:
        """Delete the device, with its keys and messages; its ID.  Raises :class:`NotFound`."""
        async with self._lock(user_id):
            device = await self.get(user_id)
            await self._devices.remove(user_id, [device.device_id])
            return device.device_id

    async def events(self, user_id: str, device_id: str, since: str | None) -> DeviceEvents:
        """Messages that wait for the device; they stay, so that another may begin anew.

        Raises :class:`Forbidden` if it is not the user's dehydrated device, :class:`InvalidParam`.
        """
        device = await storage.get_ready(self._database, user_id)
        if device is None or device.device_id != device_id:
            raise Forbidden("That is not your dehydrated device")
        after = _parse_batch(since)
        found = await get_messages(
            self._database,
            user_id,
            device_id,
            after=after,
            upto=MAX_INTEGER,
            limit=MESSAGES_PER_SYNC + 1,
        )
        batch = found[:MESSAGES_PER_SYNC]
        reached = batch[-1].position if batch else after
        return DeviceEvents(
            [message.to_json() for message in batch], str(reached), len(found) > len(batch)
        )

    def _lock(self, user_id: str) -> asyncio.Lock:
        return self._locks.setdefault(user_id, asyncio.Lock())


def _parse_batch(token: str | None) -> int:
    if token is None:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) <= len(str(MAX_INTEGER)) - 1):
        raise InvalidParam("That is not a token of this server")
    return int(token)
