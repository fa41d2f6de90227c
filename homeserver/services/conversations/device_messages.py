"""Messages from device to device, which the server passes on untouched.

They wait until the device says that it has them; each is also an update of the feed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from typing import Protocol

from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import UserId
from homeserver.services.consent import Consent
from homeserver.services.conversations.shapes.keys import (
    DeviceMessageShown,
    NewDeviceMessages,
)
from homeserver.services.conversations.shapes.pages import Page, make_cursor
from homeserver.services.conversations.shapes.people import address, parse_person
from homeserver.services.to_device import ToDeviceService
from homeserver.storage import to_device as storage
from homeserver.storage.database import Database

ENCRYPTED = "encrypted"
ENCRYPTED_TYPE = "m.room.encrypted"
FOREVER = 2**62


class LookUps(Protocol):
    """Who may look somebody up."""

    async def hidden_from(self, owners: Collection[str], reader: str) -> set[str]:
        """Those of some local users whom a reader may not look up."""


def kind_of(event_type: str) -> str:
    """How the API names a type of message to devices."""
    return ENCRYPTED if event_type == ENCRYPTED_TYPE else event_type


def event_type_of(kind: str) -> str:
    """The type of a kind of message to devices."""
    return ENCRYPTED_TYPE if kind == ENCRYPTED else kind


def _transaction_id(key: str | None) -> str:
    if key is None:
        return secrets.token_urlsafe(18)
    return f"api-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


class DeviceMessages:
    """Sends and hands out messages to devices."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        to_device: ToDeviceService,
        consent: Consent,
        look_ups: LookUps,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._to_device = to_device
        self._consent = consent
        self._look_ups = look_ups

    async def send(
        self, sender: UserId, device_id: str | None, given: NewDeviceMessages, key: str | None
    ) -> int:
        """Send messages; to how many addressees they went.

        To who takes no messages from the sender nothing goes, as if they had no devices.
        Raises :class:`InvalidParam`, :class:`~homeserver.errors.TooLarge`,
        :class:`~homeserver.errors.ConsentNotGiven`.
        """
        people = {text: parse_person(text, "to") for text in {m.to for m in given.messages}}
        messages: dict[str, dict[str, dict[str, object]]] = {}
        for message in given.messages:
            by_device = messages.setdefault(str(people[message.to]), {})
            if message.device_id in by_device:
                raise InvalidParam(f"There are two messages to one device of {message.to}")
            by_device[message.device_id] = message.content
        elsewhere = {p.server_name for p in people.values() if p.server_name != self._server_name}
        if elsewhere:
            await self._consent.require_federation(sender, elsewhere)
        local = {p for p in people.values() if p.server_name == self._server_name}
        for hidden in await self._look_ups.hidden_from(local, sender):
            del messages[hidden]
        if messages:
            await self._to_device.send(
                sender,
                device_id or "",
                event_type_of(given.kind),
                _transaction_id(key),
                messages,
            )
        return sum(map(len, messages.values()))

    async def waiting(
        self, user_id: str, device_id: str, *, after: int, limit: int
    ) -> Page[DeviceMessageShown]:
        """What waits for a device, the oldest first."""
        found = await storage.get_messages(
            self._database, user_id, device_id, after=after, upto=FOREVER, limit=limit + 1
        )
        items = [
            DeviceMessageShown(
                position=message.position,
                sender=address(message.sender),
                kind=kind_of(message.type),
                content=message.content,
            )
            for message in found[:limit]
        ]
        return Page(items=items, next=make_cursor(items[-1].position) if found[limit:] else None)

    async def acknowledge(self, user_id: str, device_id: str, position: int) -> None:
        """The device has all up to a position."""
        await self._to_device.delete_upto(user_id, device_id, position)
