"""What a local user's join means for device lists.

The instances that come to share a room with the user are told of the user's devices; and where
the user is the first of ours in the room, what is cached of its other members is not trusted, for
they announced nothing to us while we were not in it.
Spec: server-server API, device management.
"""

from __future__ import annotations

import asyncio
from collections import deque

import structlog
from msgspec import Struct

from homeserver.services.device_lists import DeviceListService
from homeserver.services.remote_devices import RemoteDevices
from homeserver.storage import shared_rooms as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice

logger = structlog.get_logger(__name__)


class _Join(Struct, frozen=True):
    room_id: str
    user_id: str
    position: int


class DeviceSharing:
    """Watches the log for joins of local users."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        device_lists: DeviceListService,
        remote_devices: RemoteDevices,
    ) -> None:
        self._database = database
        self._device_lists = device_lists
        self._remote_devices = remote_devices
        self._joins: deque[_Join] = deque()
        self._task: asyncio.Task[None] | None = None
        log.subscribe(self._on_notice)

    async def close(self) -> None:
        """Finish what is in hand.  To be called before the log is closed."""
        if self._task is not None:
            await self._task

    def _on_notice(self, notice: Notice) -> None:
        for position, record in notice.records:
            if not isinstance(record, EventRecord):
                continue
            for change in record.memberships:
                if change.local and change.membership == "join":
                    self._joins.append(_Join(change.room_id, change.user_id, position))
        if self._joins and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._work(), name="device sharing")

    async def _work(self) -> None:
        while self._joins:
            join = self._joins.popleft()
            try:
                await self._joined(join)
            except Exception:
                logger.exception("device lists not shared", room_id=join.room_id)

    async def _joined(self, join: _Join) -> None:
        if not await storage.is_new_join(self._database, join.room_id, join.user_id, join.position):
            return
        if await storage.is_first_of_ours(self._database, join.room_id, join.user_id):
            await self._remote_devices.room_joined(join.room_id)
        servers = await storage.get_new_servers(self._database, join.room_id, join.user_id)
        await self._device_lists.announce_to(join.user_id, servers)
