"""The OAuth 2.0 API's endpoints and pages."""

from __future__ import annotations

from aiohttp import web

from client_api.oauth import authorize, endpoints, sign_in

ALL_ROUTES: list[web.AbstractRouteDef] = [
    definition for module in (authorize, endpoints, sign_in) for definition in module.routes
]
