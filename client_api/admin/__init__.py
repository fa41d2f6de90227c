"""The admin API, ``/_comity/admin/v1``: JSON, for admins and for ``comity ...``.

Errors have the shape of the Client-Server API's.
"""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from client_api.admin import (
    app_services,
    applications,
    consent,
    destinations,
    held_media,
    jobs,
    media,
    media_limits,
    media_quarantine,
    moderation,
    policy,
    policy_lists,
    policy_server,
    registration_tokens,
    reports,
    room_acls,
    rooms,
    server,
    server_blocks,
    server_notices,
    url_previews,
    users,
)
from client_api.admin.api import AdminApi
from client_api.admin.routing import AdminRoutes


class AdminModule(Protocol):
    """A module with routes of the admin API."""

    routes: AdminRoutes


class AdminFamily(Protocol):
    """A module whose operations are declared."""

    api: AdminApi


FAMILIES: tuple[AdminFamily, ...] = (
    destinations,
    jobs,
    media,
    media_limits,
    media_quarantine,
    registration_tokens,
    reports,
    rooms,
    server,
    url_previews,
    users,
)
MODULES: tuple[AdminModule, ...] = (
    app_services,
    applications,
    consent,
    held_media,
    moderation,
    policy,
    policy_lists,
    policy_server,
    room_acls,
    server_blocks,
    server_notices,
)
ALL_ROUTES: list[web.RouteDef] = [
    *(definition for family in FAMILIES for definition in family.api.definitions),
    *(definition for module in MODULES for definition in module.routes.definitions),
]
