"""The Server-Server API, one module per module of the spec."""

from __future__ import annotations

from aiohttp.web import RouteDef, RouteTableDef

from federation.routes import (
    comity,
    events,
    handshakes,
    keys,
    media,
    policy_server,
    queries,
    spaces,
    third_party,
    user_devices,
    user_keys,
    version,
)

SIGNED_ROUTES: list[RouteDef] = [
    definition
    for module in (
        comity,
        events,
        handshakes,
        media,
        queries,
        spaces,
        third_party,
        user_devices,
        user_keys,
    )
    for definition in module.routes.definitions
]
OPEN_ROUTES: tuple[RouteTableDef, ...] = (
    keys.routes,
    policy_server.routes,  # verifies its requests itself
    third_party.open_routes,  # verifies what it is told
    version.routes,
)
