"""Questions of other instances: profiles, aliases, the public directory.

Spec: server-server API, querying for information, published room directory.
"""

from __future__ import annotations

from aiohttp import web

from federation.routes.base import FederationRoutes
from federation.server import CONTENT, ORIGIN
from homeserver.app_keys import CONFIG, CONSENT_ACCESS, DIRECTORY, PROFILES, PUBLIC_ROOMS
from homeserver.errors import InvalidParam, MissingParam, NotFound, Unrecognized
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.directory import parse_alias
from homeserver.services.public_rooms import DEFAULT_PAGE, DirectoryQuery
from homeserver.web import json_response, query_bool, query_int

routes = FederationRoutes()


@routes.get("/v1/query/profile")
async def query_profile(request: web.Request) -> web.Response:
    """A local user's profile, or one field of it."""
    if "user_id" not in request.query:
        raise MissingParam("'user_id' is required")
    try:
        user_id = UserId.parse(request.query.get("user_id"))
    except InvalidIdentifier as error:
        raise InvalidParam("'user_id' must be a user ID") from error
    if user_id.server_name != request.app[CONFIG].server_name:
        raise NotFound("That user is not of this server")
    await request.app[CONSENT_ACCESS].check_look_up(user_id, by=request[ORIGIN])
    fields = await request.app[PROFILES].get(user_id)
    wanted = request.query.get("field")
    if wanted is not None:
        fields = {wanted: fields[wanted]} if wanted in fields else {}
    return json_response(fields)


@routes.get("/v1/query/directory")
async def query_room_directory(request: web.Request) -> web.Response:
    """One of our aliases."""
    text = request.query.get("room_alias")
    if text is None:
        raise MissingParam("'room_alias' is required")
    room_id, servers = await request.app[DIRECTORY].lookup_local(parse_alias(text))
    return json_response({"room_id": room_id, "servers": servers})


@routes.get("/v1/query/{query_type}")
async def query_info(request: web.Request) -> web.Response:
    """Any other query: there are none that this server knows."""
    raise Unrecognized("The queries that are answered here are directory and profile")


@routes.get("/v1/publicRooms")
async def get_public_rooms(request: web.Request) -> web.Response:
    """A page of our directory."""
    query = DirectoryQuery(
        limit=query_int(request, "limit", DEFAULT_PAGE),
        since=request.query.get("since"),
        all_networks=query_bool(request, "include_all_networks"),
        network_id=request.query.get("third_party_instance_id"),
    )
    return json_response(await request.app[PUBLIC_ROOMS].page(query))


@routes.post("/v1/publicRooms")
async def query_public_rooms(request: web.Request) -> web.Response:
    """Search our directory."""
    query = DirectoryQuery.from_json(request[CONTENT])
    return json_response(await request.app[PUBLIC_ROOMS].page(query))
