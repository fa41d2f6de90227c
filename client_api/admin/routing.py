"""Routes of the admin API, and who may call them."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from client_api.admin.audit import audited_handler
from client_api.auth import access_token, require_user
from client_api.routing import PrefixRoutes
from homeserver.app_keys import ADMIN_TOKENS
from homeserver.errors import Forbidden
from homeserver.web import Handler

PREFIX = "/_comity/admin/v1"
COMMAND_LINE = "command line"


class AdminRoutes(PrefixRoutes):
    """Collects handlers as ``@routes.get("/policy/queue")``."""

    def __init__(self) -> None:
        super().__init__(PREFIX)

    def _add(self, method: str, path: str) -> Callable[[Handler], Handler]:
        register = super()._add(method, path)

        def register_audited(handler: Handler) -> Handler:
            register(handler if method == "GET" else audited_handler(handler))
            return handler

        return register_audited


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
