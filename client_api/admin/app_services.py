"""Application services and how they fare.  See ``docs/application-services.md``."""

from __future__ import annotations

import math
import time

from aiohttp import web

from client_api.admin.routing import AdminRoutes, require_admin
from homeserver.app_keys import APP_SERVICE_WORKERS, APP_SERVICES
from homeserver.errors import MatrixError, NotFound
from homeserver.services.appservices.client import NoAnswer
from homeserver.services.appservices.registration import AppService
from homeserver.web import json_response

routes = AdminRoutes()


@routes.get("/app_services")
async def list_app_services(request: web.Request) -> web.Response:
    """All application services, in the order of the configuration."""
    await require_admin(request)
    return json_response({"app_services": request.app[APP_SERVICE_WORKERS].states()})


@routes.post("/app_services/{appservice_id}/ping")
async def ping_app_service(request: web.Request) -> web.Response:
    """Whether one is reached; what waits for it is sent again at once."""
    await require_admin(request)
    service = _service(request)
    began = time.monotonic()
    try:
        answer = await request.app[APP_SERVICE_WORKERS].ping(service)
    except NoAnswer as failure:
        raise MatrixError(f"{service.id}: {failure.text}", status=502) from failure
    if not answer.ok:
        raise MatrixError(f"{service.id} answered {answer.status}", status=502)
    return json_response({"duration_ms": math.ceil((time.monotonic() - began) * 1000)})


@routes.post("/app_services/{appservice_id}/skip")
async def skip_app_service(request: web.Request) -> web.Response:
    """Leave out all that waits for one, be it that it can never take it."""
    await require_admin(request)
    await request.app[APP_SERVICE_WORKERS].skip(_service(request))
    return json_response({})


def _service(request: web.Request) -> AppService:
    service = request.app[APP_SERVICES].get(request.match_info["appservice_id"])
    if service is None:
        raise NotFound("There is no application service of that ID")
    return service
