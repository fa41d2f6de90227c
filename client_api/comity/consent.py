"""What a user has agreed to, and how they change it.  See ``docs/consent-and-policy.md``."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import asdict

from client_api.auth import require_user
from client_api.comity.routing import ComityRoutes
from client_api.matrix import parsing
from homeserver.app_keys import (
    CONFIG,
    CONSENT,
    CONSENT_ACCESS,
    DATABASE,
    PEER_CONSENT,
    RATE_LIMITS,
)
from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.services.consent import EVERYONE, PRESETS, TIERS, Consent, Scope, parse_answers
from homeserver.services.consent.consent import ONE_STEP
from homeserver.services.consent.editing import (
    SETTABLE,
    check_expiry,
    check_row,
    is_row,
    parse_peer,
    parse_scope,
)
from homeserver.services.consent.owner import OwnerConsent
from homeserver.services.consent.peers import GRANTED, NOT_GIVEN
from homeserver.services.consent.scopes import (
    INCOMING,
    SCOPES,
    TIERED,
    parse_tiers,
    preset_of,
)
from homeserver.storage import consent as storage
from homeserver.web import json_response, optional, query_int, read_json, required

routes = ComityRoutes()

CLIENT = "client"
MOST_ROWS = 1_000
MOST_CHANGES = 200


@routes.get("/consent")
async def get_consent(request: web.Request) -> web.Response:
    """Everything that holds now: answers by scope and tier, and rows for users and instances."""
    requester = await require_user(request)
    return json_response(await consent_shown(request, requester.user_id))


async def consent_shown(request: web.Request, user_id: str) -> JsonObject:
    """All of a user's consent as it holds now."""
    consent, config = request.app[CONSENT], request.app[CONFIG]
    owner = await consent.owner(user_id)
    rows = await storage.get_rows(request.app[DATABASE], user_id, MOST_ROWS)
    return {
        "user_id": user_id,
        "server_name": config.server_name,
        "presets": list(PRESETS),
        "preset_answers": {
            preset: {tier: answers[tier].value for tier in TIERS}
            for preset, answers in PRESETS.items()
        },
        "tiers": list(TIERS),
        "scopes": {scope: _scope(consent, owner, scope) for scope in SCOPES},
        "rows": [asdict(row) for row in rows if is_row(row.peer)],
    }


def _scope(consent: Consent, owner: OwnerConsent, scope: str) -> JsonObject:
    may_change = scope in consent.defaults.user_may_change
    if scope == Scope.FEDERATION:
        return {
            "state": owner.state(scope, EVERYONE, consent.now_ms()),
            "required": consent.defaults.cross_instance_opt_in,
            "may_change": may_change,
        }
    answers = owner.answers(scope)
    return {
        "preset": preset_of(answers),
        "answers": {tier: answers[tier].value for tier in TIERS},
        "may_change": may_change,
    }


@routes.put("/consent")
async def set_preset(request: web.Request) -> web.Response:
    """Choose a preset for messages, groups, media and calls in one step."""
    requester = await require_user(request)
    preset = required(await read_json(request), "preset", str)
    consent = request.app[CONSENT]
    if preset not in PRESETS:
        raise InvalidParam(f"'preset' must be one of {', '.join(PRESETS)}")
    for scope in ONE_STEP:
        consent.require_change(scope)

    await consent.set_preset(requester.user_id, preset, how=CLIENT)
    return json_response({})


@routes.put("/consent/{scope}")
async def set_answers(request: web.Request) -> web.Response:
    """Set a scope's answers: ``preset``, or ``answers`` for some tiers."""
    requester = await require_user(request)
    scope = parse_scope(request.match_info["scope"], TIERED)
    body = await read_json(request)
    given = optional(body, "answers", dict)
    try:
        if given is not None:
            answers = parse_tiers(given)
        else:
            answers = parse_answers(required(body, "preset", str))
    except ValueError as error:
        raise InvalidParam(str(error)) from error

    consent = request.app[CONSENT]
    consent.require_change(scope)
    await consent.set_answers(requester.user_id, {scope: answers}, how=CLIENT)
    return json_response({})


@routes.put("/consent/{scope}/{peer}")
async def set_row(request: web.Request) -> web.Response:
    """Grant, deny or revoke something to a user, an instance or everyone; or take that back."""
    requester = await require_user(request)
    scope = parse_scope(request.match_info["scope"])
    peer = parse_peer(request.match_info["peer"])
    consent = request.app[CONSENT]
    state, expires_at = parse_state(await read_json(request), consent.now_ms())
    check_row(requester.user_id, peer, scope)

    consent.require_change(scope)
    await consent.set(requester.user_id, peer, scope, state, how=CLIENT, expires_at=expires_at)
    return json_response({})


@routes.get("/consent/history")
async def get_history(request: web.Request) -> web.Response:
    """Every change there ever was, the newest first: who, when, how."""
    requester = await require_user(request)
    limit = max(1, min(query_int(request, "limit", 50), MOST_CHANGES))
    before = query_int(request, "from", storage.FOREVER)
    changes = await storage.get_history(
        request.app[DATABASE], requester.user_id, limit + 1, before=before
    )
    page = changes[:limit]
    return json_response(
        {
            "changes": [change_shown(change, requester.user_id) for change in page],
            "next": page[-1].position if len(changes) > limit else None,
        }
    )


def change_shown(change: storage.ConsentChange, owner: str) -> JsonObject:
    """A row of somebody's history; who made it, if nobody else, is its owner."""
    return {**asdict(change), "actor": change.actor or owner}


def parse_state(body: JsonObject, now_ms: int) -> tuple[str, int | None]:
    """The state that a body sets, and until when.  Raises :class:`InvalidParam`."""
    state, expires_at = required(body, "state", str), optional(body, "expires_at", int)
    if state not in SETTABLE:
        raise InvalidParam(f"'state' must be one of {', '.join(SETTABLE)}")
    check_expiry(expires_at, now_ms)
    return state, expires_at


@routes.get("/consent/peer/{peer}")
async def get_peer_consent(request: web.Request) -> web.Response:
    """What a user of another instance has agreed to, as far as their instance says."""
    requester = await require_user(request)
    peer = parsing.user_id(request.match_info["peer"])
    scope = request.query.get("scope", Scope.MESSAGE)
    if scope not in INCOMING:
        raise InvalidParam(f"'scope' must be one of {', '.join(INCOMING)}")
    if peer.server_name == request.app[CONFIG].server_name:
        given = await request.app[CONSENT_ACCESS].may_contact(peer, requester.user_id, scope)
        return json_response({"answer": GRANTED if given else NOT_GIVEN})

    request.app[RATE_LIMITS].check("profile", requester.user_id)
    await request.app[CONSENT].require_federation(requester.user_id, (peer.server_name,))
    answer = await request.app[PEER_CONSENT].may_contact(requester.user_id, peer, scope)
    return json_response({"answer": answer or "unknown"})
