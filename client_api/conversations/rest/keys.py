"""Keys of devices for end-to-end encryption, and messages from device to device."""

from __future__ import annotations

from typing import Any

from client_api.conversations import people_keys as keys
from client_api.conversations.api import Api, Call
from homeserver.app_keys import RATE_LIMITS
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.shapes.base import Shape
from homeserver.services.conversations.shapes.keys import (
    Acknowledgement,
    BundleRequest,
    Bundles,
    DeviceMessageShown,
    KeysUpload,
    NewDeviceMessages,
    OwnKeys,
)
from homeserver.services.conversations.shapes.pages import Page, parse_cursor
from homeserver.services.conversations.shapes.people import ListQuery, parse_person

api = Api("Keys", "Public keys of devices, and messages from device to device.")


class Addressed(Shape, frozen=True, kw_only=True):
    """To how many addressees messages went."""

    addressed: int


@api.get("/keys", scope="keys")
async def get_own_keys(call: Call) -> OwnKeys:
    """Show what the caller's device has published, and how many one-time pre-keys are left."""
    return await call.app[keys.API_KEYS].own(call.user_id, _device(call))


@api.put("/keys", scope="keys")
async def upload_keys(call: Call[KeysUpload]) -> OwnKeys:
    """Publish keys of the caller's device: its identity key, its signed pre-key, one-time pre-keys.

    What is not named stays. A new signed pre-key takes the place of the old one; one-time pre-keys
    are added to those that are left, each under an `id` that was never used.
    """
    return await call.app[keys.API_KEYS].upload(call.user_id, _device(call), call.body)


@api.post("/keys/bundles", scope="keys")
async def claim_bundles(call: Call[BundleRequest]) -> Bundles:
    """Get what it takes to begin encrypted sessions with people's devices, here and elsewhere.

    Each device gives out one of its one-time pre-keys, which is used up; where none is left there
    is the signed pre-key alone. With `pre_keys` false only identity keys are read.
    """
    people = list(dict.fromkeys(parse_person(text, "people") for text in call.body.people))
    call.app[RATE_LIMITS].check("key_bundles", call.user_id, len(people))
    return await call.app[keys.API_KEYS].bundles(
        call.user_id, people, device_ids=call.body.device_ids, pre_keys=call.body.pre_keys
    )


@api.post("/device-messages", scope="keys")
async def send_device_messages(call: Call[NewDeviceMessages]) -> Addressed:
    """Send messages to devices, such as keys of encrypted conversations. They are passed on
    untouched.

    Each waits until its device acknowledges it, and is an update of its feed.
    """
    sent = await call.app[keys.DEVICE_MESSAGES].send(
        call.user_id, call.requester.device_id, call.body, call.idempotency_key
    )
    return Addressed(addressed=sent)


@api.get("/device-messages", scope="keys")
async def list_device_messages(call: Call[None, ListQuery]) -> Page[DeviceMessageShown]:
    """List the messages that wait for the caller's device, the oldest first."""
    query = call.query
    after = parse_cursor(query.cursor, int)[0] if query.cursor is not None else 0
    return await call.app[keys.DEVICE_MESSAGES].waiting(
        call.user_id, _device(call), after=after, limit=query.limit
    )


@api.post("/device-messages/acknowledge", scope="keys", idempotent=False)
async def acknowledge_device_messages(call: Call[Acknowledgement]) -> None:
    """Say up to where the caller's device has its messages: they are deleted."""
    await call.app[keys.DEVICE_MESSAGES].acknowledge(
        call.user_id, _device(call), call.body.position
    )


def _device(call: Call[Any, Any]) -> str:
    device_id = call.requester.device_id
    if device_id is None:
        raise Problem("device_required", "This takes the token of a device: sign in", status=403)
    return device_id
