"""Routes of the Client-Server API, each under the versions of the spec that spell it; our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from homeserver.web import Handler

V3 = ("r0", "v3")
V1 = ("v1",)
ALL = ("r0", "v1", "v3")
UNSTABLE = ("unstable",)  # the MSC's prefix is part of the path


class ClientRoutes:
    """Collects handlers as ``@routes.get("/account/whoami")``; by default under r0 and v3."""

    def __init__(self) -> None:
        self.definitions: list[web.RouteDef] = []

    def _add(self, method: str, path: str, versions: Sequence[str]) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            for version in versions:
                self.definitions.append(
                    web.route(method, f"/_matrix/client/{version}{path}", handler)
                )
            return handler

        return register

    def get(self, path: str, *, versions: Sequence[str] = V3) -> Callable[[Handler], Handler]:
        """Answer GET (and HEAD) on ``path``, which follows ``/_matrix/client/{version}``."""
        return self._add("GET", path, versions)

    def put(self, path: str, *, versions: Sequence[str] = V3) -> Callable[[Handler], Handler]:
        """Answer PUT on ``path``."""
        return self._add("PUT", path, versions)

    def post(self, path: str, *, versions: Sequence[str] = V3) -> Callable[[Handler], Handler]:
        """Answer POST on ``path``."""
        return self._add("POST", path, versions)

    def delete(self, path: str, *, versions: Sequence[str] = V3) -> Callable[[Handler], Handler]:
        """Answer DELETE on ``path``."""
        return self._add("DELETE", path, versions)


class PrefixRoutes:
    """Collects handlers beneath a prefix, in one spelling."""

    def __init__(self, prefix: str) -> None:
        self.definitions: list[web.RouteDef] = []
        self._prefix = prefix

    def _add(self, method: str, path: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.definitions.append(web.route(method, self._prefix + path, handler))
            return handler

        return register

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Answer GET (and HEAD) on ``path``, which follows the prefix."""
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
