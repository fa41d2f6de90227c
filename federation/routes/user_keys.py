"""Keys of our users' devices.  Spec: server-server API, end-to-end encryption."""

from __future__ import annotations

from aiohttp import web

from federation.routes.base import FederationRoutes
from federation.server import CONTENT
from homeserver.app_keys import END_TO_END_KEYS
from homeserver.services.key_checks import parse_claims, parse_query
from homeserver.web import json_response

routes = FederationRoutes()


@routes.post("/v1/user/keys/query")
async def query_user_encryption_keys(request: web.Request) -> web.Response:
    """The identity keys of local users.  Spec: ``POST /user/keys/query``."""
    wanted = parse_query(request[CONTENT])
    keys = await request.app[END_TO_END_KEYS].query_local(wanted)
    return json_response(
        {
            "device_keys": keys.device_keys,
            "master_keys": keys.master_keys,
            "self_signing_keys": keys.self_signing_keys,
        }
    )


@routes.post("/v1/user/keys/claim")
async def claim_user_encryption_keys(request: web.Request) -> web.Response:
    """Take one-time keys of local devices.  Spec: ``POST /user/keys/claim``."""
    claims = parse_claims(request[CONTENT])
    claimed = await request.app[END_TO_END_KEYS].claim_local(claims)
    return json_response({"one_time_keys": claimed})
