"""Profiles.  Spec: client-server API, profiles."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import caller_key, require_self, require_user
from client_api.matrix.parsing import path_user_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import PROFILES, RATE_LIMITS
from homeserver.errors import MissingParam
from homeserver.services.profiles import check_key
from homeserver.web import json_response, read_json

routes = ClientRoutes()


@routes.get("/profile/{user_id}")
async def get_user_profile(request: web.Request) -> web.Response:
    """The whole profile of any user."""
    request.app[RATE_LIMITS].check("profile", caller_key(request))
    return json_response(await request.app[PROFILES].get(path_user_id(request)))


@routes.get("/profile/{user_id}/{key_name}")
async def get_profile_field(request: web.Request) -> web.Response:
    """One field of any user's profile."""
    request.app[RATE_LIMITS].check("profile", caller_key(request))
    key = request.match_info["key_name"]
    check_key(key)
    value = await request.app[PROFILES].get_field(path_user_id(request), key)
    return json_response({key: value})


@routes.put("/profile/{user_id}/{key_name}")
async def set_profile_field(request: web.Request) -> web.Response:
    """Set a field of one's own profile."""
    requester = await require_user(request)
    key = request.match_info["key_name"]
    body = await read_json(request)
    require_self(requester, path_user_id(request))
    check_key(key)
    if key not in body:
        raise MissingParam(f"'{key}' is required")

    await request.app[PROFILES].set_field(requester.user_id, key, body[key])
    return json_response({})


@routes.delete("/profile/{user_id}/{key_name}")
async def delete_profile_field(request: web.Request) -> web.Response:
    """Remove a field from one's own profile."""
    requester = await require_user(request)
    require_self(requester, path_user_id(request))

    await request.app[PROFILES].delete_field(requester.user_id, request.match_info["key_name"])
    return json_response({})
