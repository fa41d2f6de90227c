"""Third-party networks.  Spec: client-server API, third-party networks."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import RATE_LIMITS, THIRD_PARTY_NETWORKS
from homeserver.errors import MissingParam
from homeserver.services.appservices.third_party import LOCATION, NAMES_OF, USER
from homeserver.web import json_response

routes = ClientRoutes()

NOT_FIELDS = frozenset({"access_token"})
OF_SERVICES = frozenset({"user_id", "device_id", "org.matrix.msc3202.device_id"})
MAX_FIELDS = 20


async def _fields(request: web.Request) -> dict[str, str]:
    """What of the query is meant for the network."""
    requester = await require_user(request)
    request.app[RATE_LIMITS].check("third_party_lookup", requester.user_id)
    ours = NOT_FIELDS | (OF_SERVICES if requester.app_service is not None else frozenset())
    found = {key: value for key, value in request.query.items() if key not in ours}
    return dict(list(found.items())[:MAX_FIELDS])


@routes.get("/thirdparty/protocols")
async def get_protocols(request: web.Request) -> web.Response:
    """All networks."""
    await _fields(request)
    return json_response(await request.app[THIRD_PARTY_NETWORKS].protocols())


@routes.get("/thirdparty/protocol/{protocol}")
async def get_protocol_metadata(request: web.Request) -> web.Response:
    """One network."""
    await _fields(request)
    name = request.match_info["protocol"]
    return json_response(await request.app[THIRD_PARTY_NETWORKS].protocol(name))


async def _look_up(request: web.Request, kind: str) -> web.Response:
    fields, name = await _fields(request), request.match_info["protocol"]
    return json_response(await request.app[THIRD_PARTY_NETWORKS].look_up(kind, name, fields))


async def _look_back(request: web.Request, kind: str) -> web.Response:
    name = (await _fields(request)).get(NAMES_OF[kind])
    if not name:
        raise MissingParam(f"'{NAMES_OF[kind]}' is required")
    return json_response(await request.app[THIRD_PARTY_NETWORKS].look_back(kind, name))


@routes.get("/thirdparty/location/{protocol}")
async def query_location_by_protocol(request: web.Request) -> web.Response:
    """Rooms that lead to a place in a network."""
    return await _look_up(request, LOCATION)


@routes.get("/thirdparty/user/{protocol}")
async def query_user_by_protocol(request: web.Request) -> web.Response:
    """Users who stand for somebody in a network."""
    return await _look_up(request, USER)


@routes.get("/thirdparty/location")
async def query_location_by_alias(request: web.Request) -> web.Response:
    """Where a room alias leads."""
    return await _look_back(request, LOCATION)


@routes.get("/thirdparty/user")
async def query_user_by_id(request: web.Request) -> web.Response:
    """For whom a user stands."""
    return await _look_back(request, USER)
