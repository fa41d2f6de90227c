"""Invites by e-mail address or telephone number.

Spec: server-server API, third-party invites.
"""

from __future__ import annotations

from aiohttp import web

from federation.app_keys import THIRD_PARTY_BINDING
from federation.routes.base import FederationRoutes
from federation.server import CONTENT, ORIGIN
from homeserver.app_keys import RATE_LIMITS
from homeserver.callers import caller_key
from homeserver.web import json_response, read_json

routes = FederationRoutes()
open_routes = web.RouteTableDef()

MAX_BODY_BYTES = 256 * 1024


@routes.put("/v1/exchange_third_party_invite/{room_id}")
async def exchange_third_party_invite(request: web.Request) -> web.Response:
    """Make the invite of somebody whose address one of our users invited."""
    binding, origin = request.app[THIRD_PARTY_BINDING], request[ORIGIN]
    binding.check_enabled()
    request.app[RATE_LIMITS].check("third_party_invite", origin)
    await binding.exchange(origin, request.match_info["room_id"], request[CONTENT])
    return json_response({})


@open_routes.put("/_matrix/federation/v1/3pid/onbind")
@open_routes.post("/_matrix/federation/v1/3pid/onbind")
async def on_bind_third_party_identifier(request: web.Request) -> web.Response:
    """An identity server has bound an address to one of our users.

    The request is not signed, what is in it is.  The server-server API has it as PUT, the
    identity service API as POST (invitation storage), which is what identity servers send.
    """
    binding = request.app[THIRD_PARTY_BINDING]
    binding.check_enabled()
    request.app[RATE_LIMITS].check("third_party_binding", caller_key(request))
    body = await read_json(request.clone(client_max_size=MAX_BODY_BYTES))
    await binding.bound(body)
    return json_response({})
