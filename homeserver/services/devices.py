"""Devices of local users.  Spec: client-server API, device management."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from homeserver.errors import NotFound
from homeserver.services.sessions import SessionService
from homeserver.storage import devices as storage
from homeserver.storage.database import Database
from homeserver.storage.devices import Device


class DeviceLists(Protocol):
    """Who is told when devices change and go."""

    async def changed(self, user_id: str, device_id: str) -> None:
        """A device's name changed."""

    async def deleted(self, user_id: str, device_ids: Iterable[str]) -> None:
        """Devices are gone, and their keys and waiting messages with them."""


class DeviceService:
    """Lists, renames and removes devices."""

    def __init__(
        self, *, database: Database, sessions: SessionService, device_lists: DeviceLists
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._device_lists = device_lists
        self.on_removed: list[Callable[[str], Awaitable[None]]] = []
        """Told of a user some of whose devices are gone."""

    async def list_devices(self, user_id: str) -> list[Device]:
        """All devices of a user."""
        return await storage.get_devices(self._database, user_id)

    async def get(self, user_id: str, device_id: str) -> Device:
        """One device.  Raises: :class:`NotFound`."""
        device = await self.find(user_id, device_id)
        if device is None:
            raise NotFound("You have no device with that ID")
        return device

    async def find(self, user_id: str, device_id: str) -> Device | None:
        """One device, if there is one of that ID."""
        return await storage.get_device(self._database, user_id, device_id)

    async def rename(self, user_id: str, device_id: str, display_name: str) -> None:
        """Give a device another name, and tell those who see it.  Raises: :class:`NotFound`."""
        if not await storage.set_display_name(self._database, user_id, device_id, display_name):
            raise NotFound("You have no device with that ID")
        await self._device_lists.changed(user_id, device_id)

    async def remove(self, user_id: str, device_ids: Sequence[str]) -> None:
        """Log devices out and delete them, with their keys and what waits for them.

        Tokens go first and the device last, so that what a crash interrupts can be repeated.
        """
        known = {device.device_id for device in await self.list_devices(user_id)}
        gone = sorted(known.intersection(device_ids))
        if not gone:
            return
        await self._sessions.revoke(user_id, gone)
        await self._device_lists.deleted(user_id, gone)
        await storage.delete_devices(self._database, user_id, gone)
        for listener in self.on_removed:
            await listener(user_id)

    async def remove_all(self, user_id: str, *, keep: str | None = None) -> None:
        """Remove every device but one."""
        devices = await self.list_devices(user_id)
        await self.remove(user_id, [d.device_id for d in devices if d.device_id != keep])
