"""What this server is, and where its federation listener is.

Spec: server-server API, server discovery.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

from aiohttp import web

from homeserver.app_keys import CONFIG
from homeserver.web import json_response

routes = web.RouteTableDef()

NAME = "Comity"


@cache
def _version() -> str:
    return version("comity")


@routes.get("/_matrix/federation/v1/version")
async def get_version(request: web.Request) -> web.Response:
    """The implementation's name and version."""
    return json_response({"server": {"name": NAME, "version": _version()}})


@routes.get("/.well-known/matrix/server")
async def get_well_known(request: web.Request) -> web.Response:
    """Where this server name's federation requests go."""
    return json_response({"m.server": request.app[CONFIG].well_known_server})
