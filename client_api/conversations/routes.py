"""All routes under ``/api``."""

from __future__ import annotations

from aiohttp import web

from client_api.conversations.api import PREFIX, no_such_operation
from client_api.conversations.graphql import routes as graphql
from client_api.conversations.rest import ALL
from client_api.conversations.ws import routes as websocket

ROUTES: list[web.AbstractRouteDef] = [
    *(route for api in ALL for route in api.definitions),
    *graphql.routes,
    *websocket.ROUTES,
]
# After everything else under the prefix.
CATCH_ALL = web.route("*", PREFIX + "/{tail:.*}", no_such_operation)
