"""The Server-Server API, one module per module of the spec."""

from __future__ import annotations

from aiohttp import web

from federation.routes import events, handshakes, media, queries, user_devices, user_keys

ALL_ROUTES: list[web.RouteDef] = [
    definition
    for module in (events, handshakes, media, queries, user_devices, user_keys)
    for definition in module.routes.definitions
]
