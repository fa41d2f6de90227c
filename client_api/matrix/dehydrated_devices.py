"""Dehydrated devices.  MSC3814, under the names that it has before it is part of the spec."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.matrix import parsing
from client_api.routing import ClientRoutes
from homeserver.app_keys import DEHYDRATED_DEVICES
from homeserver.services.dehydrated_devices import DeviceEvents, DeviceUpload
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()
UNSTABLE = ("unstable/org.matrix.msc3814.v1",)


@routes.put("/dehydrated_device", versions=UNSTABLE)
async def put_dehydrated_device(request: web.Request) -> web.Response:
    """Keep a dehydrated device, in place of the one before."""
    requester = await require_user(request)
    body = await read_json(request)
    upload = DeviceUpload(
        device_id=required(body, "device_id", str),
        device_data=required(body, "device_data", dict),
        device_keys=required(body, "device_keys", dict),
        one_time_keys=optional(body, "one_time_keys", dict) or {},
        fallback_keys=optional(body, "fallback_keys", dict) or {},
        display_name=parsing.device_name(body, "initial_device_display_name"),
    )

    await request.app[DEHYDRATED_DEVICES].put(requester.user_id, upload)
    return json_response({"device_id": upload.device_id})


@routes.get("/dehydrated_device", versions=UNSTABLE)
async def get_dehydrated_device(request: web.Request) -> web.Response:
    """The dehydrated device, as it was put here."""
    requester = await require_user(request)
    device = await request.app[DEHYDRATED_DEVICES].get(requester.user_id)
    return json_response({"device_id": device.device_id, "device_data": device.device_data})


@routes.delete("/dehydrated_device", versions=UNSTABLE)
async def delete_dehydrated_device(request: web.Request) -> web.Response:
    """Delete the dehydrated device."""
    requester = await require_user(request)
    device_id = await request.app[DEHYDRATED_DEVICES].delete(requester.user_id)
    return json_response({"device_id": device_id})


async def _events(request: web.Request, user_id: str, since: str | None) -> DeviceEvents:
    device_id = request.match_info["device_id"]
    return await request.app[DEHYDRATED_DEVICES].events(user_id, device_id, since)


@routes.get("/dehydrated_device/{device_id}/events", versions=UNSTABLE)
async def get_dehydrated_device_events(request: web.Request) -> web.Response:
    """Messages for the device; no ``next_batch`` says that these are the last."""
    requester = await require_user(request)
    batch = await _events(request, requester.user_id, request.query.get("from"))
    more = {"next_batch": batch.next_batch} if batch.more else {}
    return json_response({"events": batch.events, **more})


@routes.post("/dehydrated_device/{device_id}/events", versions=UNSTABLE)
async def post_dehydrated_device_events(request: web.Request) -> web.Response:
    """The same as an earlier text had it: a ``next_batch`` each time, until no events come."""
    requester = await require_user(request)
    body = await read_json(request, optional=True)
    batch = await _events(request, requester.user_id, optional(body, "next_batch", str))
    return json_response({"events": batch.events, "next_batch": batch.next_batch})
