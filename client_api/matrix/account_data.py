"""Account data.  Spec: client-server API, client config."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_self, require_user
from client_api.matrix.parsing import path_room_id, path_user_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import ACCOUNT_DATA
from homeserver.errors import NotFound
from homeserver.storage.account_data import GLOBAL
from homeserver.web import json_response, read_json

routes = ClientRoutes()


async def _get(request: web.Request, room_id: str) -> web.Response:
    requester = await require_user(request)
    require_self(requester, path_user_id(request))
    type_ = request.match_info["type"]
    content = None
    if "\0" not in type_:
        content = await request.app[ACCOUNT_DATA].get(requester.user_id, type_, room_id=room_id)
    if content is None:
        raise NotFound("There is no account data of that type")
    return json_response(content)


async def _put(request: web.Request, room_id: str) -> web.Response:
    requester = await require_user(request)
    require_self(requester, path_user_id(request))
    content = await read_json(request)

    await request.app[ACCOUNT_DATA].put(
        requester.user_id, request.match_info["type"], content, room_id=room_id
    )
    return json_response({})


@routes.get("/user/{user_id}/account_data/{type}")
async def get_account_data(request: web.Request) -> web.Response:
    """What the account keeps under a type."""
    return await _get(request, GLOBAL)


@routes.put("/user/{user_id}/account_data/{type}")
async def set_account_data(request: web.Request) -> web.Response:
    """Keep something for the account."""
    return await _put(request, GLOBAL)


@routes.get("/user/{user_id}/rooms/{room_id}/account_data/{type}")
async def get_account_data_per_room(request: web.Request) -> web.Response:
    """What the account keeps under a type for a room."""
    return await _get(request, path_room_id(request))


@routes.put("/user/{user_id}/rooms/{room_id}/account_data/{type}")
async def set_account_data_per_room(request: web.Request) -> web.Response:
    """Keep something for a room."""
    return await _put(request, path_room_id(request))
