"""What clients find under the server's name.  Spec: client-server API, well-known URIs."""

from __future__ import annotations

from aiohttp import web

from client_api.routing import ClientRoutes
from homeserver.app_keys import CONFIG
from homeserver.web import json_response

routes = ClientRoutes()


async def get_wellknown(request: web.Request) -> web.Response:
    """Where clients of this instance connect to."""
    return json_response({"m.homeserver": {"base_url": request.app[CONFIG].public_base_url}})


routes.definitions.append(web.get("/.well-known/matrix/client", get_wellknown))
