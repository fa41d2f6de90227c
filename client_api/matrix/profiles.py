"""Profiles.  Spec: client-server API, profiles."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import find_user, require_self, require_user
from client_api.matrix.parsing import path_user_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import CONFIG, CONSENT_ACCESS, MESSAGE_REQUESTS, PROFILES, RATE_LIMITS
from homeserver.callers import caller_key
from homeserver.errors import MissingParam, NotFound
from homeserver.services.profiles import DISPLAY_NAME, check_key
from homeserver.web import json_response, read_json

routes = ClientRoutes()


async def _reader(request: web.Request) -> str | None:
    """Who looks a user up, if they say.  Raises :class:`NotFound` if they may not."""
    request.app[RATE_LIMITS].check("profile", caller_key(request))
    user_id, requester = path_user_id(request), await find_user(request)
    reader = requester.user_id if requester is not None else None
    if user_id.server_name == request.app[CONFIG].server_name:
        await request.app[CONSENT_ACCESS].check_look_up(user_id, by=reader)
    return reader


async def _shows_only_name(request: web.Request, reader: str | None, user_id: str) -> bool:
    """Whether a profile is that of a stranger who waits for the reader's answer."""
    return reader is not None and await request.app[MESSAGE_REQUESTS].is_pending(reader, user_id)


@routes.get("/profile/{user_id}")
async def get_user_profile(request: web.Request) -> web.Response:
    """The whole profile of any user."""
    user_id, reader = path_user_id(request), await _reader(request)
    fields = await request.app[PROFILES].get(user_id)
    if await _shows_only_name(request, reader, user_id):
        fields = {key: value for key, value in fields.items() if key == DISPLAY_NAME}
    return json_response(fields)


@routes.get("/profile/{user_id}/{key_name}")
async def get_profile_field(request: web.Request) -> web.Response:
    """One field of any user's profile."""
    user_id, reader = path_user_id(request), await _reader(request)
    key = request.match_info["key_name"]
    check_key(key)
    value = await request.app[PROFILES].get_field(user_id, key)
    if key != DISPLAY_NAME and await _shows_only_name(request, reader, user_id):
        raise NotFound("The user's profile has no such field")
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
