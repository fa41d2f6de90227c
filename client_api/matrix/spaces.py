"""Spaces, room summaries, mutual rooms.

Spec: client-server API, discovering rooms within spaces; room summary; mutual rooms.
"""

from __future__ import annotations

from aiohttp import web

from client_api.auth import find_user, require_user
from client_api.matrix.parsing import path_room_id, room_servers
from client_api.routing import UNSTABLE, V1, ClientRoutes
from homeserver.app_keys import (
    CONFIG,
    DIRECTORY,
    HIERARCHIES,
    MUTUAL_ROOMS,
    RATE_LIMITS,
    ROOM_SUMMARIES,
)
from homeserver.callers import caller_address
from homeserver.errors import InvalidParam, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.spaces.hierarchy import (
    DEEPEST,
    DEFAULT_LIMIT,
    LARGEST_LIMIT,
    HierarchyQuery,
)
from homeserver.web import json_response, query_bool, query_int

routes = ClientRoutes()

SUMMARY = "im.nheko.summary"
OLDER_NAMES = (
    ("room_version", "room_version"),
    ("version", "room_version"),
    ("encryption", "encryption"),
)


@routes.get("/org.matrix.msc2946/rooms/{room_id}/hierarchy", versions=UNSTABLE)
@routes.get("/rooms/{room_id}/hierarchy", versions=V1)
async def get_space_hierarchy(request: web.Request) -> web.Response:
    """A page of the rooms of a space."""
    requester = await require_user(request)
    room_id = path_room_id(request)
    query = HierarchyQuery(
        suggested_only=query_bool(request, "suggested_only"),
        limit=query_int(request, "limit", DEFAULT_LIMIT, least=1, most=LARGEST_LIMIT),
        max_depth=query_int(request, "max_depth", DEEPEST, most=DEEPEST),
    )
    request.app[RATE_LIMITS].check("hierarchy", requester.user_id)

    page = await request.app[HIERARCHIES].page(
        requester.user_id, room_id, query, request.query.get("from")
    )
    return json_response(page)


async def _summary(request: web.Request) -> JsonObject:
    requester = await find_user(request)
    limits, summaries = request.app[RATE_LIMITS], request.app[ROOM_SUMMARIES]
    named, here = request.match_info["room_id_or_alias"], request.app[CONFIG].server_name
    if requester is not None:
        limits.check("room_summary", requester.user_id)
    elif named.startswith("#") and not named.endswith(f":{here}"):
        limits.check("remote_summary", caller_address(request))
    room_id, servers = await request.app[DIRECTORY].resolve(named, room_servers(request))
    if requester is None and not await summaries.is_known(room_id):
        limits.check("remote_summary", caller_address(request))
    user_id = requester.user_id if requester is not None else None
    return await summaries.summary(user_id, room_id, servers)


@routes.get("/room_summary/{room_id_or_alias}", versions=V1)
async def get_room_summary(request: web.Request) -> web.Response:
    """What a room is like, for who thinks of joining it; no access token is needed."""
    return json_response(await _summary(request))


@routes.get(f"/{SUMMARY}/rooms/{{room_id_or_alias}}/summary", versions=UNSTABLE)
@routes.get(f"/{SUMMARY}/summary/{{room_id_or_alias}}", versions=UNSTABLE)
async def get_room_summary_unstable(request: web.Request) -> web.Response:
    """The same as clients asked for it before it was in the spec (MSC3266)."""
    summary = await _summary(request)
    older = {f"{SUMMARY}.{name}": summary[key] for name, key in OLDER_NAMES if key in summary}
    return json_response({**summary, **older})


async def _mutual_rooms(request: web.Request, token: str | None) -> JsonObject:
    requester = await require_user(request)
    text = request.query.get("user_id")
    if text is None:
        raise MissingParam("'user_id' is required")
    try:
        other = UserId.parse(text)
    except InvalidIdentifier as error:
        raise InvalidParam("'user_id' must be a user ID") from error
    if not other.is_compliant:
        raise InvalidParam("'user_id' is not compliant")
    if other == requester.user_id:
        raise InvalidParam("'user_id' is your own")
    return await request.app[MUTUAL_ROOMS].page(requester.user_id, other, token)


@routes.get("/mutual_rooms", versions=V1)
async def get_mutual_rooms(request: web.Request) -> web.Response:
    """The rooms that the caller and another user are in."""
    return json_response(await _mutual_rooms(request, request.query.get("from")))


@routes.get("/uk.half-shot.msc2666/user/mutual_rooms", versions=UNSTABLE)
async def get_mutual_rooms_unstable(request: web.Request) -> web.Response:
    """The same as clients asked for it before it was in the spec (MSC2666)."""
    token = request.query.get("from") or request.query.get("batch_token")
    page = await _mutual_rooms(request, token)
    if "next_batch" in page:
        page = {**page, "next_batch_token": page["next_batch"]}
    return json_response(page)
