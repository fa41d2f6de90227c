"""Previews of what links lead to.  Spec: client-server API, content repository."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.matrix.media import LEGACY_VERSIONS, MEDIA_PREFIX
from client_api.routing import V1, ClientRoutes
from homeserver.app_keys import URL_PREVIEWS
from homeserver.errors import MissingParam, Unrecognized
from homeserver.web import json_response, query_int

routes = ClientRoutes()


@routes.get("/media/preview_url", versions=V1)
async def get_url_preview(request: web.Request) -> web.Response:
    """What a page says of itself.  Spec: ``GET /client/v1/media/preview_url``."""
    requester = await require_user(request)
    previews = request.app[URL_PREVIEWS]
    if not previews.enabled:
        raise Unrecognized("This server gives no previews of web pages")
    if "url" not in request.query:
        raise MissingParam("'url' is missing")
    ts = query_int(request, "ts", 0) if "ts" in request.query else None
    return json_response(
        await previews.preview(requester.user_id, request.query["url"].strip(), ts)
    )


for version in LEGACY_VERSIONS:
    path = f"{MEDIA_PREFIX}/{version}/preview_url"
    routes.definitions.append(web.route("GET", path, get_url_preview))
