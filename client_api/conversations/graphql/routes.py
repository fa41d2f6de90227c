"""``/api/graphql``: over HTTP, and over WebSocket as graphql-transport-ws.

The library and the schema are loaded when somebody first asks, in a thread: they are a tenth of the
memory of an idle instance and a fifth of what it loads at its start, and many never serve a query.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import hdrs, web

from client_api.conversations.answers import tagged_bytes
from homeserver.errors import BadJson
from homeserver.web import parse_json, read_body

if TYPE_CHECKING:
    from client_api.conversations.graphql.view import View

T = TypeVar("T")

PATH = "/api/graphql"

routes = web.RouteTableDef()

_loading = threading.Lock()


@routes.post(PATH)
async def post_graphql(request: web.Request) -> web.StreamResponse:
    """Answer a query or a mutation."""
    body: Any = parse_json(await read_body(request))
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise BadJson("The body must be an object with a 'query', and perhaps 'variables'")
    return await (await _loaded(_view))(request)


@routes.get(PATH)
async def connect_graphql(request: web.Request) -> web.StreamResponse:
    """Open a WebSocket for queries, mutations and subscriptions; or read the schema."""
    if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
        return await (await _loaded(_view))(request)
    return tagged_bytes(request, await _loaded(_printed), "text/plain")


async def _loaded(make: functools._lru_cache_wrapper[T]) -> T:
    """What is made once, in a thread."""
    if not make.cache_info().currsize:
        await asyncio.to_thread(_once, make)
    return make()


def _once(make: Callable[[], T]) -> T:
    """What is made by whoever comes first; the others wait for it."""
    with _loading:
        return make()


@functools.cache
def _view() -> View:
    from client_api.conversations.graphql.view import make_view

    return make_view()


@functools.cache
def _printed() -> bytes:
    from client_api.conversations.graphql.view import printed_schema

    return printed_schema()
