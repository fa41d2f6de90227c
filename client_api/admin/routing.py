"""Routes of the admin API, and who may call them."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from client_api.auth import access_token, require_user
from homeserver.app_keys import ADMIN_TOKENS
from homeserver.errors import Forbidden
from homeserver.web import Handler

PREFIX = "/_comity/admin/v1"
COMMAND_LINE = "command line"


class AdminRoutes:
    """Collects handlers as ``@routes.get("/policy/queue")``."""

    def __init__(self) -> None:
        self.definitions: list[web.RouteDef] = []

    def _add(self, method: str, path: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.definitions.append(web.route(method, PREFIX + path, handler))
            return handler

        return register

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Answer GET (and HEAD) on ``path``, which follows ``/_comity/admin/v1``."""
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


async def require_admin(request: web.Request) -> str:
    """Who acts, for the audit trail: an admin's user ID, or the command line of this machine.

    Raises: :class:`Forbidden`, and what :func:`client_api.auth.require_user` raises.
    """
    token = access_token(request)
    if token is not None and request.app[ADMIN_TOKENS].check(token):
        return COMMAND_LINE
    requester = await require_user(request)
    if not requester.admin:
        raise Forbidden("This is for admins of this server")
    return requester.user_id
