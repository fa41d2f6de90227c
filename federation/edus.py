"""Incoming EDUs, each given to the service that it concerns.

What must not be lost (to-device messages, device lists) is on disk when :meth:`Edus.handle`
returns; a failure to write it is raised, so that the transaction is not acknowledged.
Spec: server-server API, EDUs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from homeserver.protocol.events import JsonObject
from homeserver.services.consent.notices import CONSENT_EDU, REPORT_EDU, ConsentNotices
from homeserver.services.delivery.notices import DELIVERED_EDU, DeliveryNotices
from homeserver.services.presence import PresenceService
from homeserver.services.receipts import ReceiptService
from homeserver.services.remote_devices import RemoteDevices
from homeserver.services.to_device import ToDeviceService
from homeserver.services.typing import TypingService
from homeserver.services.values import is_text

MAX_ROOMS = 100  # of one m.receipt EDU


class RoomAcls(Protocol):
    """Server ACLs of the rooms that we are in."""

    async def is_server_allowed(self, room_id: str, server_name: str) -> bool:
        """Whether the room's ``m.room.server_acl`` lets an instance in; false if unknown."""


class Edus:
    """Dispatches EDUs by their type; unknown types are ignored."""

    def __init__(
        self,
        *,
        typing: TypingService,
        receipts: ReceiptService,
        presence: PresenceService,
        to_device: ToDeviceService,
        remote_devices: RemoteDevices,
        acls: RoomAcls,
        notices: ConsentNotices,
        deliveries: DeliveryNotices,
        hears: Callable[[str], bool] = lambda _sender: True,
    ) -> None:
        """``hears``: whether device messages of a sender are taken."""
        self._hears = hears
        self._to_device = to_device
        self._typing = typing
        self._receipts = receipts
        self._acls = acls
        self._deliveries = deliveries
        self._handlers: dict[str, Callable[[str, JsonObject], Awaitable[None]]] = {
            "m.typing": self._receive_typing,
            "m.receipt": self._receive_receipts,
            "m.presence": presence.receive,
            "m.direct_to_device": self._receive_to_device,
            "m.device_list_update": remote_devices.receive_update,
            "m.signing_key_update": remote_devices.receive_signing_keys,
            CONSENT_EDU: notices.receive_consent,
            REPORT_EDU: notices.receive_report,
            DELIVERED_EDU: self._receive_delivered,
        }

    async def handle(self, origin: str, edu: dict[str, Any]) -> None:
        """Take one EDU of a transaction."""
        handler = self._handlers.get(str(edu.get("edu_type")))
        content = edu.get("content")
        if handler is not None and isinstance(content, dict):
            await handler(origin, content)

    async def _receive_typing(self, origin: str, content: JsonObject) -> None:
        room_id = content.get("room_id")
        if is_text(room_id) and await self._acls.is_server_allowed(room_id, origin):
            await self._typing.receive(origin, content)

    async def _receive_receipts(self, origin: str, content: JsonObject) -> None:
        for room_id, receipts in list(content.items())[:MAX_ROOMS]:
            if not isinstance(receipts, dict) or not is_text(room_id):
                continue
            if await self._acls.is_server_allowed(room_id, origin):
                await self._receipts.receive(origin, room_id, receipts)

    async def _receive_delivered(self, origin: str, content: JsonObject) -> None:
        rooms = content.get("rooms")
        if not isinstance(rooms, dict):
            return
        allowed = {
            room_id: users
            for room_id, users in list(rooms.items())[:MAX_ROOMS]
            if is_text(room_id) and await self._acls.is_server_allowed(room_id, origin)
        }
        await self._deliveries.receive(origin, {"rooms": allowed})

    async def _receive_to_device(self, origin: str, content: JsonObject) -> None:
        if self._hears(str(content.get("sender"))):
            await self._to_device.receive(origin, content)
