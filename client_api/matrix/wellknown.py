"""What clients find under the server's name.  Spec: client-server API, well-known URIs."""

from __future__ import annotations

from aiohttp import web

from client_api.routing import ClientRoutes
from homeserver.app_keys import CONFIG
from homeserver.errors import NotFound
from homeserver.services.oauth.metadata import server_metadata
from homeserver.web import json_response

routes = ClientRoutes()


async def get_wellknown(request: web.Request) -> web.Response:
    """Where clients of this instance connect to."""
    config = request.app[CONFIG]
    document: dict[str, object] = {"m.homeserver": {"base_url": config.public_base_url}}
    if config.voip.rtc_transports:  # read by clients from before MSC4143 had an endpoint
        document["org.matrix.msc4143.rtc_foci"] = config.voip.rtc_transports
    if config.oauth.enabled:  # read by clients from before v1.15 had an endpoint (MSC2965)
        told = server_metadata(config.public_base_url, sign_up=False)
        document["org.matrix.msc2965.authentication"] = {
            "issuer": told["issuer"],
            "account": told["account_management_uri"],
        }
    if config.encryption.dehydrated_devices:  # Element keeps none unless it reads this
        document["org.matrix.msc3814"] = True
    if config.support.identity_server is not None:
        document["m.identity_server"] = {"base_url": config.support.identity_server}
    return json_response(document)


async def get_wellknown_support(request: web.Request) -> web.Response:
    """Whom to turn to.  Raises :class:`NotFound` where the configuration names nobody."""
    support = request.app[CONFIG].support
    document: dict[str, object] = {}
    if support.contacts:
        document["contacts"] = support.contacts
    if support.page is not None:
        document["support_page"] = support.page
    if not document:
        raise NotFound("This server names nobody to turn to")
    return json_response(document)


routes.definitions += [
    web.get("/.well-known/matrix/client", get_wellknown),
    web.get("/.well-known/matrix/support", get_wellknown_support),
]
