"""This instance as rooms' policy server.  Spec: server-server API, policy servers (v1.18)."""

from __future__ import annotations

from aiohttp import web

from federation.app_keys import POLICY_SIGNING
from federation.server import CONTENT, authenticate_request
from homeserver.app_keys import POLICY_SIGNER
from homeserver.errors import NotFound, Unrecognized
from homeserver.web import json_response

routes = web.RouteTableDef()

MAX_BODY_BYTES = 262_144  # an event of 64 KiB, spaces between, and what others put in `unsigned`


@routes.post("/_matrix/policy/v1/sign")
async def ask_policy_server_to_sign(request: web.Request) -> web.Response:
    """Sign an event that our rules allow; the request must be signed.

    Spec: ``POST /_matrix/policy/v1/sign``.
    """
    if not request.app[POLICY_SIGNER].enabled:
        raise Unrecognized("This server is not a policy server")
    bounded = request.clone(client_max_size=MAX_BODY_BYTES)
    origin = await authenticate_request(bounded)
    return json_response(await request.app[POLICY_SIGNING].sign(origin, bounded[CONTENT]))


@routes.get("/.well-known/matrix/policy_server")
async def get_wellknown_policy(request: web.Request) -> web.Response:
    """The key for rooms' ``m.room.policy``.  Spec: client-server API, policy servers."""
    content = request.app[POLICY_SIGNER].appointment_content
    if content is None:
        raise NotFound("This server is not a policy server")
    return json_response({"public_keys": content["public_keys"]})
