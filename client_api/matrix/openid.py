"""Proving to third parties who one is.  Spec: client-server API, OpenID."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_self, require_user
from client_api.matrix.parsing import path_user_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import CONFIG, OPENID
from homeserver.errors import MissingToken
from homeserver.web import json_response

routes = ClientRoutes()


@routes.post("/user/{user_id}/openid/request_token")
async def request_openid_token(request: web.Request) -> web.Response:
    """A token that a third party can have checked by this server."""
    requester = await require_user(request)
    require_self(requester, path_user_id(request))

    token, expires_in = request.app[OPENID].make(requester.user_id)
    return json_response(
        {
            "access_token": token,
            "token_type": "Bearer",
            "matrix_server_name": request.app[CONFIG].server_name,
            "expires_in": expires_in,
        }
    )


async def exchange_openid_token(request: web.Request) -> web.Response:
    """Tell a third party whose token it was given.

    Any web service may ask, unsigned.  Spec: server-server API, OpenID.
    """
    token = request.query.get("access_token")
    if not token:
        raise MissingToken("'access_token' is required")
    return json_response({"sub": request.app[OPENID].check(token)})


routes.definitions.append(web.get("/_matrix/federation/v1/openid/userinfo", exchange_openid_token))
