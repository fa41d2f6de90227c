"""Strangers who wait for the caller's answer.  See ``docs/consent-and-policy.md``."""

from __future__ import annotations

from aiohttp import web

from client_api.auth import require_user
from client_api.comity.routing import ComityRoutes
from client_api.matrix import parsing
from homeserver.app_keys import CONSENT, MESSAGE_REQUESTS
from homeserver.errors import InvalidParam
from homeserver.protocol.server_names import is_valid_server_name
from homeserver.web import json_response, optional, read_json, required

routes = ComityRoutes()

STATES = ("pending", "accepted", "declined", "blocked", "expired")
ANSWERS = ("accept", "decline", "block", "report")
MOST_SHOWN = 200
MAX_REASON = 1_000


@routes.get("/requests")
async def get_requests(request: web.Request) -> web.Response:
    """Who asked to be let in: in one ``state``, by default those who wait."""
    requester = await require_user(request)
    state = request.query.get("state", "pending")
    if state not in STATES:
        raise InvalidParam(f"'state' must be one of {', '.join(STATES)}")
    consent = request.app[CONSENT]
    found = (await request.app[MESSAGE_REQUESTS].list(requester.user_id, state))[:MOST_SHOWN]
    return json_response(
        {
            "requests": [
                {
                    "sender": asked.sender,
                    "server": asked.server,
                    "scope": asked.scope,
                    "room_id": asked.room_id,
                    "state": asked.state,
                    "attempts": asked.attempts,
                    "created_at": asked.created_at,
                    "updated_at": asked.updated_at,
                    "expires_at": asked.expires_at,
                    "reported": asked.reported,
                    "tier": await consent.tier(requester.user_id, asked.sender),
                }
                for asked in found
            ]
        }
    )


@routes.post("/requests/answer")
async def answer_requests(request: web.Request) -> web.Response:
    """Accept, decline, block or report: one ``sender``, all of a ``server``, or ``all``."""
    requester = await require_user(request)
    body = await read_json(request)
    answer = required(body, "answer", str)
    sender, server = optional(body, "sender", str), optional(body, "server", str)
    reason = optional(body, "reason", str, "") or ""
    if answer not in ANSWERS:
        raise InvalidParam(f"'answer' must be one of {', '.join(ANSWERS)}")
    if [sender is not None, server is not None, body.get("all") is True].count(True) != 1:
        raise InvalidParam("Name a 'sender', or a 'server', or say 'all': true")
    if server is not None and not is_valid_server_name(server):
        raise InvalidParam("'server' must be a server name")
    if len(reason) > MAX_REASON or "\0" in reason:
        raise InvalidParam(f"A reason has at most {MAX_REASON} characters")

    answered = await request.app[MESSAGE_REQUESTS].answer_all(
        requester.user_id,
        answer,
        sender=parsing.user_id(sender) if sender is not None else None,
        server=server,
        how="client",
        reason=reason,
    )
    return json_response({"answered": answered})
