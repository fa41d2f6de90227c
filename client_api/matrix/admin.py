"""What the spec gives to admins.  Spec: client-server API, server administration."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.admin.audit import audited_handler
from client_api.admin.routing import require_admin
from client_api.auth import require_user
from client_api.matrix.parsing import path_user_id
from client_api.routing import V1, ClientRoutes
from homeserver.app_keys import ACCOUNT_STANDING, DEVICES
from homeserver.errors import Forbidden
from homeserver.web import json_response, read_json, required

routes = ClientRoutes()


@routes.get("/admin/whois/{user_id}")
async def get_whois(request: web.Request) -> web.Response:
    """A user's devices and from where they were last seen; for the user, and for admins."""
    requester = await require_user(request)
    user_id = path_user_id(request)
    if not requester.admin and requester.user_id != user_id:
        raise Forbidden("This is for admins of this server")
    if requester.user_id != user_id:
        await request.app[ACCOUNT_STANDING].find(user_id)
    devices: dict[str, Any] = {}
    for device in await request.app[DEVICES].list_devices(user_id):
        connection: dict[str, Any] = {}
        if device.last_seen_at is not None:
            connection["last_seen"] = device.last_seen_at
        if device.last_seen_ip is not None:
            connection["ip"] = device.last_seen_ip
        if device.user_agent is not None:
            connection["user_agent"] = device.user_agent
        devices[device.device_id] = {"sessions": [{"connections": [connection]}]}
    return json_response({"user_id": user_id, "devices": devices})


@routes.get("/admin/lock/{user_id}", versions=V1)
async def get_admin_lock_user(request: web.Request) -> web.Response:
    """Whether an account is locked."""
    by = await require_admin(request)
    account = await request.app[ACCOUNT_STANDING].look(path_user_id(request), by=by)
    return json_response({"locked": account.locked_at is not None})


@routes.put("/admin/lock/{user_id}", versions=V1)
@audited_handler
async def put_admin_lock_user(request: web.Request) -> web.Response:
    """Lock an account, or unlock it."""
    by = await require_admin(request)
    user_id = path_user_id(request)
    locked = required(await read_json(request), "locked", bool)
    await request.app[ACCOUNT_STANDING].set_locked(user_id, locked, by=by)
    return json_response({"locked": locked})


@routes.get("/admin/suspend/{user_id}", versions=V1)
async def get_admin_suspend_user(request: web.Request) -> web.Response:
    """Whether an account is suspended."""
    by = await require_admin(request)
    account = await request.app[ACCOUNT_STANDING].look(path_user_id(request), by=by)
    return json_response({"suspended": account.suspended_at is not None})


@routes.put("/admin/suspend/{user_id}", versions=V1)
@audited_handler
async def put_admin_suspend_user(request: web.Request) -> web.Response:
    """Suspend an account, or no longer."""
    by = await require_admin(request)
    user_id = path_user_id(request)
    suspended = required(await read_json(request), "suspended", bool)
    await request.app[ACCOUNT_STANDING].set_suspended(user_id, suspended, by=by)
    return json_response({"suspended": suspended})
