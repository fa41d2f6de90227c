"""Devices.  Spec: client-server API, device management."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.auth import authenticate_interactively, require_user
from client_api.matrix import parsing
from client_api.routing import ClientRoutes
from homeserver.app_keys import APP_SERVICES, DEVICES, RATE_LIMITS
from homeserver.errors import NotFound
from homeserver.storage.devices import Device
from homeserver.web import json_response, read_json, required, string_list

routes = ClientRoutes()


def _encode(device: Device) -> dict[str, Any]:
    fields = {
        "device_id": device.device_id,
        "display_name": device.display_name,
        "last_seen_ip": device.last_seen_ip,
        "last_seen_ts": device.last_seen_at,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _path_device_id(request: web.Request) -> str:
    device_id = request.match_info["device_id"]
    if "\0" in device_id:
        raise NotFound("You have no device with that ID")
    return device_id


@routes.get("/devices")
async def get_devices(request: web.Request) -> web.Response:
    """All devices of the user."""
    requester = await require_user(request)
    devices = await request.app[DEVICES].list_devices(requester.user_id)
    return json_response({"devices": [_encode(device) for device in devices]})


@routes.get("/devices/{device_id}")
async def get_device(request: web.Request) -> web.Response:
    """One device."""
    requester = await require_user(request)
    device = await request.app[DEVICES].get(requester.user_id, _path_device_id(request))
    return json_response(_encode(device))


@routes.put("/devices/{device_id}")
async def update_device(request: web.Request) -> web.Response:
    """Name a device; application services make theirs so."""
    requester = await require_user(request)
    body = await read_json(request)
    name = parsing.device_name(body, "display_name")
    device_id = _path_device_id(request)
    if requester.app_service is not None:
        request.app[RATE_LIMITS].check("device", requester.user_id)
        parsing.check_device_id(device_id)
        if await request.app[APP_SERVICES].put_device(requester.user_id, device_id, name):
            return json_response({}, status=201)

    if name is None:
        await request.app[DEVICES].get(requester.user_id, device_id)
    else:
        await request.app[DEVICES].rename(requester.user_id, device_id, name)
    return json_response({})


@routes.delete("/devices/{device_id}")
async def delete_device(request: web.Request) -> web.Response:
    """Log a device out and forget it."""
    requester = await require_user(request)
    body = await read_json(request, optional=True)
    await authenticate_interactively(request, body, requester)

    await request.app[DEVICES].remove(requester.user_id, [_path_device_id(request)])
    return json_response({})


@routes.post("/delete_devices")
async def delete_devices(request: web.Request) -> web.Response:
    """Log several devices out and forget them."""
    requester = await require_user(request)
    body = await read_json(request)
    required(body, "devices", list)
    device_ids = string_list(body, "devices")
    await authenticate_interactively(request, body, requester)

    await request.app[DEVICES].remove(requester.user_id, device_ids)
    return json_response({})
