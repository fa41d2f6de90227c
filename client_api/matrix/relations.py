"""What relates to an event; threads.  Spec: client-server API, relationships API, threading."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.matrix.parsing import path_room_id
from client_api.matrix.room_reading import no_difference, token
from client_api.routing import V1, ClientRoutes
from homeserver.app_keys import RELATIONS
from homeserver.errors import InvalidParam
from homeserver.services.relations import ChildrenRequest
from homeserver.web import json_response, query_bool, query_int

routes = ClientRoutes()

DEFAULT_LIMIT = 20
LARGEST_LIMIT = 100


def _limit(request: web.Request) -> int:
    return query_int(request, "limit", DEFAULT_LIMIT, least=1, most=LARGEST_LIMIT)


@routes.get("/rooms/{room_id}/relations/{event_id}/{relation_type}/{event_type}", versions=V1)
@routes.get("/rooms/{room_id}/relations/{event_id}/{relation_type}", versions=V1)
@routes.get("/rooms/{room_id}/relations/{event_id}", versions=V1)
async def get_relating_events(request: web.Request) -> web.Response:
    """What relates to an event, by relation and type if they are named."""
    requester = await require_user(request)
    direction = request.query.get("dir", "b")
    if direction not in ("f", "b"):
        raise InvalidParam("'dir' must be f or b")
    wanted = ChildrenRequest(
        relation_type=request.match_info.get("relation_type"),
        event_type=request.match_info.get("event_type"),
        start=token(request, "from"),
        stop=token(request, "to"),
        limit=_limit(request),
        backwards=direction == "b",
        recurse=query_bool(request, "recurse") if "recurse" in request.query else None,
    )
    with no_difference():
        children = await request.app[RELATIONS].children(
            requester, path_room_id(request), request.match_info["event_id"], wanted
        )
    return json_response(children)


@routes.get("/rooms/{room_id}/threads", versions=V1)
async def get_thread_roots(request: web.Request) -> web.Response:
    """The threads of a room."""
    requester = await require_user(request)
    include = request.query.get("include", "all")
    if include not in ("all", "participated"):
        raise InvalidParam("'include' must be all or participated")
    return json_response(
        await request.app[RELATIONS].threads(
            requester,
            path_room_id(request),
            start=token(request, "from"),
            only_participated=include == "participated",
            limit=_limit(request),
        )
    )
