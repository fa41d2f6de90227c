"""Messages from device to device, as updates: each for one device alone, or for all but some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator

from homeserver.services.conversations.device_messages import kind_of
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.updates import DeviceMessage
from homeserver.storage.to_device import EVERY_DEVICE, StoredMessage, ToDeviceRecord


def route_device_messages(
    position: int, record: ToDeviceRecord, online: Container[str]
) -> Iterator[Routed]:
    """The updates that such a record is, as far as anybody is there to be told.

    What was sent before is not told again.  A message to a device goes before one to all.
    """
    if not record.is_new:
        return
    named: defaultdict[str, set[str]] = defaultdict(set)
    for message in record.messages:
        named[message.user_id].add(message.device_id)
    for message in record.messages:
        if message.user_id not in online:
            continue
        update = DeviceMessage(
            position=position,
            sender=address(record.sender),
            kind=kind_of(record.type),
            content=message.content,
        )
        to_all = message.device_id == EVERY_DEVICE
        yield Routed(
            Update(update),
            users=(message.user_id,),
            device_id=message.device_id,
            other_than=named[message.user_id] - {EVERY_DEVICE} if to_all else (),
        )


def routed_message(user_id: str, device_id: str, message: StoredMessage) -> Routed:
    """A message that waits for a device."""
    update = DeviceMessage(
        position=message.position,
        sender=address(message.sender),
        kind=kind_of(message.type),
        content=message.content,
    )
    return Routed(Update(update), users=(user_id,), device_id=device_id)
