"""The OAuth 2.0 API's endpoints and pages."""

from __future__ import annotations

import functools

from aiohttp import web

from client_api.oauth import (
    access,
    account,
    authorize,
    contacts,
    devices,
    endpoints,
    profile,
    recover,
    sign_in,
    sign_up,
    sso,
)
from homeserver.app_keys import CONFIG
from homeserver.errors import Unrecognized
from homeserver.web import Handler

MODULES = (
    access,
    account,
    authorize,
    contacts,
    devices,
    endpoints,
    profile,
    recover,
    sign_in,
    sign_up,
    sso,
)


def _where_enabled(handler: Handler) -> Handler:
    """Answer only where the admin has not switched the API off.  Spec: API discovery."""

    @functools.wraps(handler)
    async def wrapped(request: web.Request) -> web.StreamResponse:
        if not request.app[CONFIG].oauth.enabled:
            raise Unrecognized("This server has no OAuth 2.0 API: log in by the legacy API")
        return await handler(request)

    return wrapped


ALL_ROUTES: list[web.RouteDef] = [
    web.route(route.method, route.path, _where_enabled(route.handler))
    for module in MODULES
    for route in module.routes
    if isinstance(route, web.RouteDef)
]
