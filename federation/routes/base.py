"""Routes of the Server-Server API: each request is verified before its handler sees it."""

from __future__ import annotations

import functools
from collections.abc import Callable

from aiohttp import web

from federation.server import authenticate_request, take_turn
from homeserver.web import Handler


class FederationRoutes:
    """Collects handlers as ``@routes.get("/v1/event/{event_id}")``; all need a signed request."""

    def __init__(self) -> None:
        self.definitions: list[web.RouteDef] = []

    def _add(self, method: str, path: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            @functools.wraps(handler)
            async def verified(request: web.Request) -> web.StreamResponse:
                await authenticate_request(request)
                async with take_turn(request):
                    return await handler(request)

            self.definitions.append(web.route(method, f"/_matrix/federation{path}", verified))
            return handler

        return register

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Answer a signed GET on ``path``, which follows ``/_matrix/federation``."""
        return self._add("GET", path)

    def put(self, path: str) -> Callable[[Handler], Handler]:
        """Answer a signed PUT on ``path``."""
        return self._add("PUT", path)

    def post(self, path: str) -> Callable[[Handler], Handler]:
        """Answer a signed POST on ``path``."""
        return self._add("POST", path)
