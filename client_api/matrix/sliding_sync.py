"""Sliding sync.  Spec: MSC4186, at its own address and at the one that clients of before call."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.long_polls import Waiting
from client_api.routing import ClientRoutes
from homeserver.app_keys import SLIDING_SYNC
from homeserver.services.sliding.request import parse_request
from homeserver.web import read_json

routes = ClientRoutes()

ACCEPTED = ("v4", "unstable/org.matrix.msc4186")
LEGACY = ("unstable/org.matrix.simplified_msc3575",)


@routes.post("/sync", versions=ACCEPTED)
async def sliding_sync(request: web.Request) -> web.Response:
    """What is new in the rooms that a client looks at.  Spec: ``POST /_matrix/client/v4/sync``."""
    return await _answer(request, legacy=False)


@routes.post("/sync", versions=LEGACY)
async def simplified_sliding_sync(request: web.Request) -> web.Response:
    """The same as Element X, matrix-rust-sdk and matrix-js-sdk call it today."""
    return await _answer(request, legacy=True)


async def _answer(request: web.Request, *, legacy: bool) -> web.Response:
    requester = await require_user(request)
    body = await read_json(request, optional=True)
    with Waiting(request, requester) as poll:
        wanted = parse_request(requester, body, request.query, legacy=legacy, is_gone=poll.is_over)
        answer = await request.app[SLIDING_SYNC].sync(wanted)
    return web.Response(body=answer, content_type="application/json")
