"""Comity's own API for users, ``/_comity/client/v1``: JSON, with the same access tokens and errors
as the Client-Server API."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from client_api.comity import (
    consent,
    exports,
    hidden,
    invitations,
    message_requests,
    servers,
    terms,
)
from client_api.comity.routing import ComityRoutes


class ComityModule(Protocol):
    """A module with routes of this API."""

    routes: ComityRoutes


MODULES: tuple[ComityModule, ...] = (
    consent,
    exports,
    hidden,
    invitations,
    message_requests,
    servers,
    terms,
)
ALL_ROUTES: list[web.RouteDef] = [
    definition for module in MODULES for definition in module.routes.definitions
]
