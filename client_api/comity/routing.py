"""Routes of Comity's own API for users."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from homeserver.web import Handler

PREFIX = "/_comity/client/v1"


class ComityRoutes:
    """Collects handlers as ``@routes.get("/invitations")``."""

    def __init__(self) -> None:
        self.definitions: list[web.RouteDef] = []

    def _add(self, method: str, path: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.definitions.append(web.route(method, PREFIX + path, handler))
            return handler

        return register

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Answer GET (and HEAD) on ``path``, which follows ``/_comity/client/v1``."""
        return self._add("GET", path)

    def post(self, path: str) -> Callable[[Handler], Handler]:
        """Answer POST on ``path``."""
        return self._add("POST", path)

    def put(self, path: str) -> Callable[[Handler], Handler]:
        """Answer PUT on ``path``."""
        return self._add("PUT", path)

    def delete(self, path: str) -> Callable[[Handler], Handler]:
        """Answer DELETE on ``path``."""
        return self._add("DELETE", path)
