"""Room aliases and the directory.  Spec: client-server API, room aliases, listing rooms."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import find_user, require_active, require_user
from client_api.matrix import parsing
from client_api.matrix.parsing import path_room_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import (
    APP_SERVICES,
    CONFIG,
    DIRECTORY,
    PUBLIC_ROOMS,
    RATE_LIMITS,
    ROOMS,
)
from homeserver.callers import caller_address
from homeserver.protocol.events import JsonObject
from homeserver.services.public_rooms import DEFAULT_PAGE, DirectoryQuery
from homeserver.services.requester import Requester
from homeserver.web import json_response, optional, query_int, read_json, required

routes = ClientRoutes()

VISIBILITY = ("m.room.history_visibility", "")


@routes.get("/directory/room/{alias}")
async def get_room_id_by_alias(request: web.Request) -> web.Response:
    """Look an alias up; no access token is needed."""
    room_id, servers = await request.app[DIRECTORY].lookup(request.match_info["alias"])
    return json_response({"room_id": room_id, "servers": servers})


@routes.put("/directory/room/{alias}")
async def set_room_alias(request: web.Request) -> web.Response:
    """Give a room an alias."""
    requester = await require_active(request)
    body = await read_json(request)
    alias = request.match_info["alias"]

    request.app[APP_SERVICES].check_alias(alias, requester.app_service)
    await request.app[DIRECTORY].create_alias(
        requester.user_id, alias, parsing.room_id(required(body, "room_id", str))
    )
    return json_response({})


@routes.delete("/directory/room/{alias}")
async def delete_room_alias(request: web.Request) -> web.Response:
    """Remove an alias."""
    requester = await require_active(request)
    alias = request.match_info["alias"]

    service = requester.app_service
    request.app[APP_SERVICES].check_alias(alias, service)
    is_its = service is not None and service.has_alone("aliases", alias)
    await request.app[DIRECTORY].delete_alias(
        requester.user_id, alias, admin=requester.admin or is_its
    )
    return json_response({})


@routes.get("/rooms/{room_id}/aliases")
async def get_local_aliases(request: web.Request) -> web.Response:
    """A room's aliases on this instance."""
    requester = await require_user(request)
    room_id = path_room_id(request)
    room = await request.app[ROOMS].find(room_id)
    shown = room is not None and room.content(VISIBILITY).get("history_visibility")
    if shown != "world_readable":
        await request.app[ROOMS].get_joined(room_id, requester.user_id)

    return json_response({"aliases": await request.app[DIRECTORY].aliases(room_id)})


@routes.get("/directory/list/room/{room_id}")
async def get_room_visibility_on_directory(request: web.Request) -> web.Response:
    """Whether a room is listed."""
    published = await request.app[DIRECTORY].is_published(path_room_id(request))
    return json_response({"visibility": "public" if published else "private"})


@routes.put("/directory/list/room/{room_id}")
async def set_room_visibility_on_directory(request: web.Request) -> web.Response:
    """List a room, or take it out."""
    requester = await require_active(request)
    body = await read_json(request)

    await request.app[DIRECTORY].publish(
        requester.user_id,
        path_room_id(request),
        optional(body, "visibility", str) or "public",
        admin=requester.admin,
    )
    return json_response({})


@routes.get("/publicRooms")
async def get_public_rooms(request: web.Request) -> web.Response:
    """A page of the directory."""
    query = DirectoryQuery(
        limit=query_int(request, "limit", DEFAULT_PAGE), since=request.query.get("since")
    )
    return json_response(await _page(request, query, await find_user(request)))


@routes.post("/publicRooms")
async def query_public_rooms(request: web.Request) -> web.Response:
    """Search the directory."""
    requester = await require_user(request)
    query = DirectoryQuery.from_json(await read_json(request, optional=True))
    return json_response(await _page(request, query, requester))


async def _page(
    request: web.Request, query: DirectoryQuery, requester: Requester | None
) -> JsonObject:
    server = request.query.get("server")
    if server is not None and server != request.app[CONFIG].server_name:
        limits = request.app[RATE_LIMITS]
        if requester is None:
            limits.check("remote_summary", caller_address(request))
        else:
            limits.check("room_summary", requester.user_id)
    return await request.app[PUBLIC_ROOMS].page(query, server)
