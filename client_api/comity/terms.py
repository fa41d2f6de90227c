"""The terms of this server, and what the caller has accepted.  See ``docs/accounts.md``."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.comity.routing import ComityRoutes
from homeserver.app_keys import TERMS
from homeserver.errors import InvalidParam, MissingParam
from homeserver.services.requester import Requester
from homeserver.web import json_response, optional, read_json

routes = ComityRoutes()


async def _answer(request: web.Request, requester: Requester) -> web.Response:
    terms = request.app[TERMS]
    missing = await terms.missing(requester.user_id)
    accepted = await terms.accepted(requester.user_id)
    return json_response(
        {
            **terms.params(),
            "missing": [document.name for document in missing],
            "accepted": [
                {"name": a.name, "version": a.version, "accepted_at": a.accepted_at, "how": a.how}
                for a in accepted
            ],
        }
    )


@routes.get("/terms")
async def get_terms(request: web.Request) -> web.Response:
    """The documents as they are now, which are missing, and all that was ever accepted."""
    return await _answer(request, await require_user(request))


@routes.post("/terms")
async def accept_terms(request: web.Request) -> web.Response:
    """Accept documents: ``{"accept": {name: version}}``, each at its present version."""
    requester = await require_user(request)
    versions = optional(await read_json(request), "accept", dict)
    if not versions:
        raise MissingParam("'accept' is required: an object of names and versions")
    terms = request.app[TERMS]
    for name, version in versions.items():
        if terms.versions.get(name) != version:
            raise InvalidParam(f"There is no such version of '{name}': ask for the terms again")

    await terms.accept(requester.user_id, versions, how="client")
    return await _answer(request, requester)
