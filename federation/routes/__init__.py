"""The Server-Server API, one module per module of the spec."""

from __future__ import annotations

from aiohttp import web

from federation.routes import (
    events,
    handshakes,
    keys,
    media,
    queries,
    user_devices,
    user_keys,
    version,
)

ALL_ROUTES: list[web.AbstractRouteDef] = [
    *keys.routes,
    *version.routes,
    *(
        definition
        for module in (events, handshakes, media, queries, user_devices, user_keys)
        for definition in module.routes.definitions
    ),
]
