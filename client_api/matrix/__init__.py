"""The Client-Server API, one module per module of the Matrix spec."""

from __future__ import annotations

from aiohttp import web

from client_api.matrix import (
    account,
    account_data,
    auth_fallback,
    capabilities,
    delayed_events,
    devices,
    directory,
    filters,
    keys,
    login,
    media,
    membership,
    openid,
    presence,
    profiles,
    push_rules,
    receipts,
    registration,
    relations,
    reporting,
    retention,
    room_creation,
    room_reading,
    sending,
    sync,
    to_device,
    typing,
    user_directory,
    versions,
    wellknown,
)

MODULES = (
    account,
    account_data,
    auth_fallback,
    capabilities,
    delayed_events,
    devices,
    directory,
    filters,
    keys,
    login,
    media,
    membership,
    openid,
    presence,
    profiles,
    push_rules,
    receipts,
    registration,
    relations,
    reporting,
    retention,
    room_creation,
    room_reading,
    sending,
    sync,
    to_device,
    typing,
    user_directory,
    versions,
    wellknown,
)
ALL_ROUTES: list[web.RouteDef] = [
    definition for module in MODULES for definition in module.routes.definitions
]
