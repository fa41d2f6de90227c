"""What only application services may ask.  Spec: application service API, C-S API extensions."""

from __future__ import annotations

import math
import time

from aiohttp import web

from client_api.auth import access_token
from client_api.matrix.parsing import path_room_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import APP_SERVICE_ROOMS, APP_SERVICE_WORKERS, APP_SERVICES
from homeserver.errors import Forbidden, InvalidParam, MatrixError, MissingToken
from homeserver.services.appservices.client import NoAnswer
from homeserver.services.appservices.registration import AppService
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()

PING_VERSIONS = ("v1", "unstable/fi.mau.msc2659")
MAX_SHOWN_CHARACTERS = 10_000
MAX_NETWORK_LENGTH = 255


def _service(request: web.Request) -> AppService:
    """The application service that asks.  Raises :class:`Forbidden`, :class:`MissingToken`."""
    token = access_token(request)
    if token is None:
        raise MissingToken("This needs the token of an application service")
    service = request.app[APP_SERVICES].by_token(token)
    if service is None:
        raise Forbidden("Only an application service may do this")
    return service


@routes.post("/appservice/{appservice_id}/ping", versions=PING_VERSIONS)
async def ping_appservice(request: web.Request) -> web.Response:
    """Whether this server reaches the application service.  Spec: pinging."""
    service = _service(request)
    body = await read_json(request, optional=True)
    transaction_id = optional(body, "transaction_id", str)
    if request.match_info["appservice_id"] != service.id:
        raise Forbidden("That is the ID of another application service")
    if service.url is None:
        raise MatrixError(
            "The registration of this application service has no url", errcode="M_URL_NOT_SET"
        )
    began = time.monotonic()
    try:
        answer = await request.app[APP_SERVICE_WORKERS].ping(service, transaction_id)
    except NoAnswer as failure:
        code, status = (
            ("M_CONNECTION_TIMEOUT", 504) if failure.timed_out else ("M_CONNECTION_FAILED", 502)
        )
        raise MatrixError(f"The ping had {failure.text}", errcode=code, status=status) from failure
    if not answer.ok:
        body = {
            "errcode": "M_BAD_STATUS",
            "error": f"The ping was answered with {answer.status}",
            "status": answer.status,
            "body": answer.content.decode("utf-8", "replace")[:MAX_SHOWN_CHARACTERS],
        }
        return json_response(body, status=502)
    return json_response({"duration_ms": math.ceil((time.monotonic() - began) * 1000)})


@routes.put("/directory/list/appservice/{network_id}/{room_id}")
async def update_appservice_room_directory_visibility(request: web.Request) -> web.Response:
    """List a room in a network's directory, or take it out.  Spec: published room directories."""
    service = _service(request)
    body = await read_json(request)
    visibility = required(body, "visibility", str)
    if visibility not in ("public", "private"):
        raise InvalidParam("'visibility' must be public or private")
    network_id = request.match_info["network_id"]
    if "\0" in network_id or len(network_id) > MAX_NETWORK_LENGTH:
        raise InvalidParam("That can be no network's ID")
    await request.app[APP_SERVICE_ROOMS].set_listed(
        service.id, network_id, path_room_id(request), listed=visibility == "public"
    )
    return json_response({})
