"""Sending events.  Spec: client-server API, sending events to a room, and redactions."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from client_api.auth import require_sender, require_user
from client_api.matrix.delayed_events import query_delay, schedule
from client_api.matrix.parsing import path_room_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import DIRECTORY, MEMBERSHIP, RATE_LIMITS, RELATION_RULES, ROOMS
from homeserver.errors import BadJson, InvalidParam
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.requester import Requester
from homeserver.services.rooms import Draft
from homeserver.storage.event_records import ClientTransaction
from homeserver.web import json_response, optional, query_int, read_json

routes = ClientRoutes()

MAX_TIMESTAMP = 2**53 - 1  # what canonical JSON can say


def _transaction(request: web.Request, requester: Requester, kind: str) -> ClientTransaction:
    return ClientTransaction(
        user_id=requester.user_id,
        device_id=requester.device_id or "",
        path=f"{kind}/{request.match_info['room_id']}/{request.match_info.get('event_type', '')}",
        txn_id=request.match_info["txn_id"],
        created_at=int(time.time() * 1000),
    )


def _sent_at(request: web.Request, requester: Requester) -> int | None:
    """When an application service says that an event was sent (ms); None: now.

    Spec: application service API, timestamp massaging.  Others' ``ts`` means nothing.
    """
    if requester.app_service is None or "ts" not in request.query:
        return None
    timestamp = query_int(request, "ts", 0, most=MAX_TIMESTAMP + 1)
    if timestamp > MAX_TIMESTAMP:
        raise InvalidParam("'ts' must be a time in milliseconds since 1970")
    return timestamp


@routes.put("/rooms/{room_id}/send/{event_type}/{txn_id}")
async def send_message(request: web.Request) -> web.Response:
    """Send a message event; the same transaction ID again gives the same event ID."""
    requester = await require_sender(request)
    body = await read_json(request)
    event_type = request.match_info["event_type"]
    delay_ms = query_delay(request)
    if delay_ms is not None:
        return await schedule(request, requester, body, delay_ms=delay_ms)
    request.app[RATE_LIMITS].check("message", requester.user_id)

    redacts = None
    if event_type == "m.room.redaction":
        redacts = optional(body, "redacts", str)
        if redacts is None:
            raise BadJson("A redaction needs 'redacts'")
    draft = Draft(
        requester.user_id,
        event_type,
        body,
        redacts=redacts,
        origin_server_ts=_sent_at(request, requester),
    )
    room_id, transaction = path_room_id(request), _transaction(request, requester, "send")
    await request.app[RELATION_RULES].check(room_id, draft, transaction)
    sent = await request.app[ROOMS].send(room_id, draft, transaction=transaction)
    return json_response({"event_id": sent.event.event_id})


@routes.put("/rooms/{room_id}/redact/{event_id}/{txn_id}")
async def redact_event(request: web.Request) -> web.Response:
    """Redact an event."""
    requester = await require_user(request)
    body = await read_json(request, optional=True)
    event_id = request.match_info["event_id"]
    room_id = path_room_id(request)
    room = await request.app[ROOMS].get_joined(room_id, requester.user_id)

    content: dict[str, Any] = {}
    reason = optional(body, "reason", str)
    if reason is not None:
        content["reason"] = reason
    redacts: str | None = event_id
    if room.version.updated_redaction_rules:
        content["redacts"] = event_id
        redacts = None
    sent = await request.app[ROOMS].send(
        room_id,
        Draft(requester.user_id, "m.room.redaction", content, redacts=redacts),
        transaction=_transaction(request, requester, f"redact/{event_id}"),
    )
    return json_response({"event_id": sent.event.event_id})


async def _set_state(request: web.Request, state_key: str) -> web.Response:
    requester = await require_sender(request)
    content = await read_json(request)
    room_id = path_room_id(request)
    event_type = request.match_info["event_type"]
    delay_ms = query_delay(request)
    if delay_ms is not None:
        return await schedule(request, requester, content, delay_ms=delay_ms, state_key=state_key)
    request.app[RATE_LIMITS].check("message", requester.user_id)
    draft = Draft(
        requester.user_id,
        event_type,
        content,
        state_key,
        origin_server_ts=_sent_at(request, requester),
    )
    if event_type == "m.room.member":
        event_id = await _member_state(request, requester, room_id, draft)
        return json_response({"event_id": event_id})
    if event_type == "m.room.canonical_alias":
        await request.app[DIRECTORY].check_canonical_alias(room_id, content)

    sent = await request.app[ROOMS].send_state(room_id, draft)
    return json_response({"event_id": sent})


async def _member_state(
    request: web.Request,
    requester: Requester,
    room_id: str,
    draft: Draft,
) -> str:
    """A member event by way of ``PUT /state``: invites must reach the invited user's server."""
    try:
        target = UserId.parse(draft.state_key or "")
    except InvalidIdentifier as error:
        raise BadJson("The state key of a member event must be a user ID") from error
    if draft.content.get("membership") == "invite":
        await request.app[MEMBERSHIP].invite(
            requester.user_id,
            room_id,
            target,
            content=draft.content,
            sent_at=draft.origin_server_ts,
        )
        room = await request.app[ROOMS].get(room_id)
        return room.state[("m.room.member", target)]
    if draft.content.get("membership") == "leave" and target == requester.user_id:
        await request.app[MEMBERSHIP].require_leave(target, room_id)
    return await request.app[ROOMS].send_state(room_id, draft)


@routes.put("/rooms/{room_id}/state/{event_type}/{state_key}")
async def set_room_state_with_key(request: web.Request) -> web.Response:
    """Set a state event with a state key."""
    return await _set_state(request, request.match_info["state_key"])


@routes.put("/rooms/{room_id}/state/{event_type}/")
@routes.put("/rooms/{room_id}/state/{event_type}")
async def set_room_state(request: web.Request) -> web.Response:
    """Set a state event with an empty state key."""
    return await _set_state(request, "")
