"""The device lists of other instances' users, cached here and kept in step.

A list is fetched when it is first needed, then moved by ``m.device_list_update`` EDUs.  An EDU
that does not follow what is cached makes the list stale: it is fetched again, as often as it
takes.  That it is stale is on disk before the EDU is acknowledged.

Spec: server-server API, device management.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from homeserver.errors import MatrixError, PeerFailed
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.key_checks import is_cross_signing_key, is_device_keys
from homeserver.services.values import is_compliant_user_id, is_integer, is_text
from homeserver.storage import device_lists as storage
from homeserver.storage import end_to_end_keys as key_storage
from homeserver.storage.database import Database
from homeserver.storage.device_lists import DeviceListRecord, RemoteDeviceListRecord, TrackedList
from homeserver.storage.log import Log
from homeserver.storage.shared_rooms import get_joined_rooms, sharing_with_us

logger = structlog.get_logger(__name__)

FETCH_TIMEOUT_SECONDS = 15.0
FIRST_RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 3600.0
SERVERS_AT_ONCE = 10
MAX_DEVICES = 10_000


class RemoteKeys(Protocol):
    """Keys of other instances' users, asked of their instances.  Raises :class:`PeerFailed`."""

    async def user_devices(
        self, server_name: str, user_id: str, timeout_seconds: float
    ) -> JsonObject:
        """``GET /user/devices/{userId}``."""

    async def query_keys(
        self, server_name: str, device_keys: dict[str, list[str]], timeout_seconds: float
    ) -> JsonObject:
        """``POST /user/keys/query``."""

    async def claim_keys(
        self,
        server_name: str,
        one_time_keys: dict[str, dict[str, str]],
        timeout_seconds: float,
    ) -> JsonObject:
        """``POST /user/keys/claim``."""


class RemoteDevices:
    """Keeps remote device lists, and fetches stale ones until their instance answers."""

    def __init__(
        self, *, database: Database, log: Log, remote: RemoteKeys, clock_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._log = log
        self._remote = remote
        self._clock_ms = clock_ms
        self._fetches: dict[str, asyncio.Task[None]] = {}
        self._overtaken: set[str] = set()  # an EDU came while the list was being fetched
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._stale: dict[str, dict[str, None]] = {}  # server -> users, in order
        self._alive: dict[str, asyncio.Event] = {}
        self._at_once = asyncio.Semaphore(SERVERS_AT_ONCE)

    async def start(self) -> None:
        """Take up the lists that were stale when the server stopped."""
        after = ""
        while batch := await storage.get_stale(self._database, after):
            self._refetch(batch)
            after = batch[-1]

    async def close(self) -> None:
        """Stop fetching."""
        tasks = [*self._workers.values(), *self._fetches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def peer_alive(self, server_name: str) -> None:
        """An instance was heard from: fetch what it owes us without waiting further."""
        if server_name in self._alive:
            self._alive[server_name].set()

    async def room_joined(self, room_id: str) -> None:
        """This instance has come into a room, and missed what its members announced before."""
        await storage.untrack_room(self._database, room_id)

    # ------------------------------------------------------------ EDUs

    async def receive_update(self, origin: str, content: JsonObject) -> None:
        """Apply an ``m.device_list_update`` EDU, or mark the list stale; durable on return."""
        user_id, device_id = content.get("user_id"), content.get("device_id")
        stream_id, prev_ids = content.get("stream_id"), content.get("prev_id") or []
        if not is_compliant_user_id(user_id) or not is_text(device_id):
            return
        if not is_integer(stream_id):
            return
        if server_name_of(user_id) != origin or not isinstance(prev_ids, list):
            return
        async with self._locks.setdefault(user_id, asyncio.Lock()):
            if user_id in self._fetches:
                self._overtaken.add(user_id)
            tracked = (await storage.get_tracked(self._database, [user_id])).get(user_id)
            if tracked is None:
                if await sharing_with_us(self._database, [user_id]):
                    await self._note_change(user_id, device_id)
            elif tracked.stream_id != stream_id or tracked.stale:
                await self._apply(tracked, content)

    async def _apply(self, tracked: TrackedList, content: JsonObject) -> None:
        user_id, device_id = tracked.user_id, content["device_id"]
        keys = content.get("keys")
        deleted = content.get("deleted") is True
        follows = content.get("prev_id") == [tracked.stream_id] and not tracked.stale
        if not follows or not (deleted or keys is None or is_device_keys(keys, user_id, device_id)):
            await storage.mark_stale(self._database, [user_id])
            self._refetch([user_id])
            if not deleted:
                await self._note_change(user_id, device_id)
                return
        if isinstance(keys, dict):
            keys = _named(keys, content.get("device_display_name"))
        await self._log.append(
            DeviceListRecord(
                user_id,
                device_id,
                rooms=await get_joined_rooms(self._database, user_id),
                keys=keys,
                deleted=deleted,
                stream=(tracked.stream_id, content["stream_id"]) if follows else None,
            )
        )

    async def receive_signing_keys(self, origin: str, content: JsonObject) -> None:
        """Apply an ``m.signing_key_update`` EDU; durable on return."""
        user_id = content.get("user_id")
        if not is_compliant_user_id(user_id) or server_name_of(user_id) != origin:
            return
        if not await sharing_with_us(self._database, [user_id]):
            return
        keys = {
            usage: content[field]
            for usage, field in (("master", "master_key"), ("self_signing", "self_signing_key"))
            if is_cross_signing_key(content.get(field), user_id, usage)
        }
        await self._log.append(
            DeviceListRecord(
                user_id,
                rooms=await get_joined_rooms(self._database, user_id),
                cross_signing=keys,
            )
        )

    async def _note_change(self, user_id: str, device_id: str) -> None:
        rooms = await get_joined_rooms(self._database, user_id)
        await self._log.append(DeviceListRecord(user_id, device_id, rooms=rooms))

    # ------------------------------------------------------------ fetching

    async def fetch(self, user_id: str) -> None:
        """Fetch a user's whole list; one fetch serves all who ask.  Raises :class:`PeerFailed`."""
        task = self._fetches.get(user_id)
        if task is None:
            task = asyncio.create_task(self._fetch(user_id), name="device list fetch")
            self._fetches[user_id] = task
            task.add_done_callback(lambda done: self._fetched(user_id, done))
        await asyncio.shield(task)

    def _fetched(self, user_id: str, task: asyncio.Task[None]) -> None:
        del self._fetches[user_id]
        if task.cancelled():
            return
        failed = task.exception() is not None  # whoever still waits is told; nobody need
        if not failed and user_id in self._overtaken:
            self._refetch([user_id])

    async def _fetch(self, user_id: str) -> None:
        self._overtaken.discard(user_id)
        server_name = server_name_of(user_id)
        answer = await self._remote.user_devices(server_name, user_id, FETCH_TIMEOUT_SECONDS)
        async with self._locks.setdefault(user_id, asyncio.Lock()):
            record = await self._record(user_id, answer)
            record.stale = user_id in self._overtaken  # the answer may be older than the EDU
            await self._log.append(record)

    async def _record(self, user_id: str, answer: JsonObject) -> RemoteDeviceListRecord:
        stream_id, listed = answer.get("stream_id"), answer.get("devices")
        if not is_integer(stream_id) or not isinstance(listed, list):
            raise PeerFailed("The other server sent a malformed device list")
        devices = {}
        for device in listed[:MAX_DEVICES]:
            if not isinstance(device, dict) or not is_text(device.get("device_id")):
                continue
            if is_device_keys(device.get("keys"), user_id, device["device_id"]):
                name = device.get("device_display_name")
                devices[device["device_id"]] = _named(device["keys"], name)
        cross_signing = {
            usage: answer[name]
            for usage, name in (("master", "master_key"), ("self_signing", "self_signing_key"))
            if is_cross_signing_key(answer.get(name), user_id, usage)
        }
        tracked = await storage.get_tracked(self._database, [user_id])
        changed = bool(tracked) and not await self._is_cached(user_id, devices, cross_signing)
        return RemoteDeviceListRecord(
            user_id,
            stream_id,
            devices,
            cross_signing,
            self._clock_ms(),
            changed,
            await get_joined_rooms(self._database, user_id) if changed else (),
        )

    async def _is_cached(
        self, user_id: str, devices: dict[str, JsonObject], cross_signing: dict[str, JsonObject]
    ) -> bool:
        rows = await key_storage.get_device_keys(self._database, [user_id])
        keys = await key_storage.get_cross_signing_keys(self._database, [user_id])
        return (
            devices == {row.device_id: row.keys for row in rows}
            and keys.get(user_id, {}) == cross_signing
        )

    # ------------------------------------------------------------ fetching again

    def _refetch(self, user_ids: Iterable[str]) -> None:
        for user_id in user_ids:
            server_name = server_name_of(user_id)
            self._stale.setdefault(server_name, {})[user_id] = None
            if server_name not in self._workers:
                self._alive[server_name] = asyncio.Event()
                self._workers[server_name] = asyncio.create_task(
                    self._work(server_name), name="device list worker"
                )

    async def _work(self, server_name: str) -> None:
        """Fetch an instance's stale lists until there are none; back off while it fails."""
        users, alive = self._stale[server_name], self._alive[server_name]
        pause = FIRST_RETRY_SECONDS
        while users:
            user_id = next(iter(users))
            del users[user_id]
            alive.clear()  # who is heard from while this fails is asked again at once
            try:
                async with self._at_once:
                    await self.fetch(user_id)
                pause = FIRST_RETRY_SECONDS
            except asyncio.CancelledError:
                raise
            except Exception as error:
                users[user_id] = None
                if isinstance(error, MatrixError):
                    logger.info("device list fetch failed", server_name=server_name)
                else:
                    logger.exception("device list fetch failed", server_name=server_name)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await alive.wait()
                pause = min(pause * 2, LONGEST_RETRY_SECONDS)
        del self._workers[server_name], self._stale[server_name], self._alive[server_name]


def _named(keys: JsonObject, display_name: object) -> JsonObject:
    """Device keys with the device's name, as ``/keys/query`` shows it."""
    named = {key: value for key, value in keys.items() if key != "unsigned"}
    if isinstance(display_name, str) and display_name:
        named["unsigned"] = {"device_display_name": display_name}
    return named
