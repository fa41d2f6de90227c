"""Questions that only Comity instances ask.  See ``docs/consent-between-instances.md``."""

from __future__ import annotations

import asyncio

from aiohttp import web

from federation.app_keys import COMITY_PEERS
from federation.routes.base import FederationRoutes
from federation.server import CONTENT, ORIGIN
from homeserver.app_keys import CONSENT_ACCESS, RATE_LIMITS
from homeserver.errors import Forbidden, InvalidParam
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.consent.peers import GRANTED, NOT_GIVEN
from homeserver.services.consent.scopes import INCOMING
from homeserver.web import json_response, required

routes = FederationRoutes()

NOT_GIVEN_SECONDS = 0.1  # longer than it takes to find out why


@routes.post("/unstable/dev.comity/consent/query")
async def query_consent(request: web.Request) -> web.Response:
    """Whether a user of the asking instance may contact one of ours, and for what.

    A block, a request that waits, and a user who does not exist all look alike, and take as long.
    """
    origin, body = request[ORIGIN], request[CONTENT]
    request.app[RATE_LIMITS].check("consent_query", origin)
    try:
        sender = UserId.parse(required(body, "sender", str))
        recipient = UserId.parse(required(body, "recipient", str))
    except InvalidIdentifier as error:
        raise InvalidParam("'sender' and 'recipient' must be user IDs") from error
    scope = required(body, "scope", str)
    if sender.server_name != origin:
        raise Forbidden("A server may only ask for its own users")
    if scope not in INCOMING:
        raise InvalidParam(f"'scope' must be one of {', '.join(INCOMING)}")

    request.app[COMITY_PEERS].heard_from(origin)
    began = asyncio.get_running_loop().time()
    granted = await request.app[CONSENT_ACCESS].may_contact(recipient, sender, scope)
    if not granted:
        await asyncio.sleep(began + NOT_GIVEN_SECONDS - asyncio.get_running_loop().time())
    return json_response({"answer": GRANTED if granted else NOT_GIVEN})
