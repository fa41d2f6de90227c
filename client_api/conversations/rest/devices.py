"""The devices on which somebody is signed in."""

from __future__ import annotations

from typing import Any

from client_api.conversations import people_keys as keys
from client_api.conversations.api import Api, Call
from homeserver.app_keys import DEVICES, RATE_LIMITS
from homeserver.callers import caller_key
from homeserver.services.conversations.shapes.pages import Page
from homeserver.services.conversations.shapes.sessions import (
    Device,
    DeviceChange,
    Proof,
    SignedOut,
    SignOutOthers,
)
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.requester import Requester
from homeserver.storage.devices import Device as StoredDevice

api = Api("Devices", "Where somebody is signed in.")


def device_shown(device: StoredDevice, requester: Requester) -> Device:
    """A device as its user sees it."""
    return Device(
        id=device.device_id,
        name=device.display_name,
        last_seen_at=rfc3339(device.last_seen_at) if device.last_seen_at is not None else None,
        last_seen_ip=device.last_seen_ip,
        current=device.device_id == requester.device_id,
    )


@api.get("/devices", scope="devices")
async def list_devices(call: Call) -> Page[Device]:
    """List the devices on which the user is signed in."""
    devices = await call.app[DEVICES].list_devices(call.user_id)
    return Page(items=[device_shown(device, call.requester) for device in devices])


@api.get("/devices/{device_id}", scope="devices")
async def get_device(call: Call) -> Device:
    """Show one device."""
    device = await call.app[DEVICES].get(call.user_id, call.path("device_id"))
    return device_shown(device, call.requester)


@api.patch("/devices/{device_id}", scope="devices")
async def rename_device(call: Call[DeviceChange]) -> Device:
    """Give a device another name."""
    device_id = call.path("device_id")
    await call.app[DEVICES].rename(call.user_id, device_id, call.body.name)
    return device_shown(await call.app[DEVICES].get(call.user_id, device_id), call.requester)


@api.delete("/devices/{device_id}", scope="devices")
async def sign_out_device(call: Call[Proof]) -> None:
    """Sign a device out.

    For another device than the caller's this takes a proof in the body that it is really the user,
    unless they have signed in within ten minutes.
    """
    device_id = call.path("device_id")
    await call.app[DEVICES].get(call.user_id, device_id)
    if device_id != call.requester.device_id:
        await _require_proof(call, call.body)
    await call.app[DEVICES].remove(call.user_id, [device_id])


@api.post("/devices/sign-out", scope="devices")
async def sign_out_others(call: Call[SignOutOthers]) -> SignedOut:
    """Sign out all other devices, or those that are named.

    Takes a proof that it is really the user, unless they have signed in within ten minutes.
    """
    await _require_proof(call, call.body)
    devices = await call.app[DEVICES].list_devices(call.user_id)
    wanted = call.body.device_ids
    gone = [
        device.device_id
        for device in devices
        if (device.device_id in wanted if wanted is not None else True)
        and (wanted is not None or device.device_id != call.requester.device_id)
    ]
    await call.app[DEVICES].remove(call.user_id, gone)
    return SignedOut(signed_out=len(gone))


async def _require_proof(call: Call[Any], proof: Proof) -> None:
    """An application's token acts for the application's own users: its scope is proof enough."""
    if call.caller.application_id is None:
        call.app[RATE_LIMITS].check("login", caller_key(call.request))
        await call.app[keys.SIGN_IN].require_proof(call.requester, proof)
