"""``/api/graphql``: over HTTP, and over WebSocket as graphql-transport-ws."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import msgspec
import orjson
from aiohttp import hdrs, web
from graphql import print_schema
from strawberry.aiohttp.views import GraphQLView
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

from client_api.conversations.answers import tagged_bytes
from client_api.conversations.graphql.context import Context
from client_api.conversations.graphql.schema import schema
from homeserver.errors import BadJson
from homeserver.web import parse_json, read_body

PATH = "/api/graphql"
MAX_SUBSCRIPTIONS = 20
INIT_SECONDS = 10
MAX_FRAME_BYTES = 1 << 20
HEARTBEAT_SECONDS = 30

routes = web.RouteTableDef()


class View(GraphQLView[Context, None]):
    """Strawberry's view, with our context, our JSON and our limits."""

    async def get_context(self, request: web.Request, response: web.StreamResponse) -> Context:
        """A context for the request or the connection."""
        return Context(request, response)

    async def create_websocket_response(
        self, request: web.Request, subprotocol: str | None
    ) -> web.WebSocketResponse:
        """A socket with a limit for frames, and a heartbeat."""
        socket = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [],
            max_msg_size=MAX_FRAME_BYTES,
            heartbeat=HEARTBEAT_SECONDS,
        )
        await socket.prepare(request)
        return socket

    def encode_json(self, data: object) -> str:
        """Faster than the library's own; maps have shapes as their values."""
        options = orjson.OPT_NON_STR_KEYS
        return orjson.dumps(data, default=msgspec.to_builtins, option=options).decode()


@functools.cache
def _view() -> View:
    return View(
        schema(),
        graphql_ide=None,
        allow_queries_via_get=False,
        subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
        connection_init_wait_timeout=timedelta(seconds=INIT_SECONDS),
        max_subscriptions_per_connection=MAX_SUBSCRIPTIONS,
        # Tokens, never cookies, say who calls: a page of another origin gains nothing.
        allowed_origins=("*",),
    )


@routes.post(PATH)
async def post_graphql(request: web.Request) -> web.StreamResponse:
    """Answer a query or a mutation."""
    body: Any = parse_json(await read_body(request))
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise BadJson("The body must be an object with a 'query', and perhaps 'variables'")
    return await _view()(request)


@routes.get(PATH)
async def connect_graphql(request: web.Request) -> web.StreamResponse:
    """Open a WebSocket for queries, mutations and subscriptions; or read the schema."""
    if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
        return await _view()(request)
    return tagged_bytes(request, _printed(), "text/plain")


@functools.cache
def _printed() -> bytes:
    return print_schema(schema()._schema).encode()
