"""Strawberry's view, with our context, our JSON and our limits; what :mod:`.routes` leads to."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import orjson
from aiohttp import web
from graphql import print_schema
from strawberry.aiohttp.views import GraphQLView
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

from client_api.conversations.graphql.context import Context
from client_api.conversations.graphql.schema import schema

MAX_SUBSCRIPTIONS = 20
INIT_SECONDS = 10
MAX_FRAME_BYTES = 1 << 20
HEARTBEAT_SECONDS = 30


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


def make_view() -> View:
    """The view of the whole schema."""
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


def printed_schema() -> bytes:
    """The schema in GraphQL's schema language."""
    return print_schema(schema()._schema).encode()
