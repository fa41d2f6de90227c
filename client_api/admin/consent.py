"""A user's consent, as an admin sees and changes it.  See ``docs/consent-and-policy.md``."""

from __future__ import annotations

from aiohttp import web

from client_api.admin.routing import AdminRoutes, require_admin
from client_api.comity.consent import (
    change_shown,
    consent_shown,
    parse_state,
)
from client_api.matrix import parsing
from homeserver.app_keys import ACCOUNTS, CONFIG, CONSENT, DATABASE
from homeserver.errors import NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.consent.editing import (
    check_peer_of_scope,
    parse_peer,
    parse_scope,
)
from homeserver.storage import consent as storage
from homeserver.web import json_response, read_json

routes = AdminRoutes()

ADMIN = "admin"
MOST_CHANGES = 500


async def _user(request: web.Request) -> UserId:
    user_id = parsing.path_user_id(request)
    if user_id.server_name != request.app[CONFIG].server_name or not await request.app[
        ACCOUNTS
    ].exists(user_id):
        raise NotFound("There is no such user here")
    return user_id


@routes.get("/users/{user_id}/consent")
async def get_user_consent(request: web.Request) -> web.Response:
    """What a user has agreed to, and their latest changes."""
    await require_admin(request)
    user_id = await _user(request)
    changes = await storage.get_history(request.app[DATABASE], user_id, MOST_CHANGES)
    shown = await consent_shown(request, user_id)
    return json_response({**shown, "changes": [change_shown(c, user_id) for c in changes]})


@routes.put("/users/{user_id}/consent/{scope}/{peer}")
async def set_user_consent(request: web.Request) -> web.Response:
    """Set a row on a user's behalf; their history names the admin."""
    actor = await require_admin(request)
    user_id, scope = await _user(request), parse_scope(request.match_info["scope"])
    peer = parse_peer(request.match_info["peer"])
    check_peer_of_scope(peer, scope)
    consent = request.app[CONSENT]
    state, expires_at = parse_state(await read_json(request), consent.now_ms())

    await consent.set(user_id, peer, scope, state, how=ADMIN, expires_at=expires_at, actor=actor)
    return json_response({})
