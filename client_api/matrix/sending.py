"""Sending events.  Spec: client-server API, sending events to a room, and redactions."""

from __future__ import annotations

import secrets
import time
from typing import Any

from aiohttp import web

from client_api.auth import require_sender, require_user
from client_api.matrix.delayed_events import query_delay, schedule
from client_api.matrix.parsing import path_room_id
from client_api.routing import ClientRoutes
from homeserver.app_keys import (
    DIRECTORY,
    GUESTS,
    MEMBERSHIP,
    RATE_LIMITS,
    RELATION_RULES,
    ROOMS,
)
from homeserver.errors import BadJson, Forbidden, InvalidParam
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.live_room import LiveRoom
from homeserver.services.membership import own_fields
from homeserver.services.requester import Requester
from homeserver.services.rooms import Draft
from homeserver.services.state_content import check_state_content
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


async def _known_room(request: web.Request, room_id: str) -> LiveRoom:
    """A room that this server has.  Of others, as of those that the caller is not in, it says no
    more than that they may not send there.  Raises :class:`Forbidden`."""
    room = await request.app[ROOMS].find(room_id)
    if room is None:
        raise Forbidden("You are not joined to this room")
    return room


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
        by_admin=requester.admin,
    )
    room_id, transaction = path_room_id(request), _transaction(request, requester, "send")
    await _known_room(request, room_id)
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
        Draft(
            requester.user_id,
            "m.room.redaction",
            content,
            redacts=redacts,
            by_admin=requester.admin,
        ),
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
    room = await _known_room(request, room_id)
    check_state_content(event_type, content, room.version)
    draft = Draft(
        requester.user_id,
        event_type,
        content,
        state_key,
        origin_server_ts=_sent_at(request, requester),
    )
    if event_type == "m.room.member":
        event_id = await _member_state(request, requester, room, draft)
        return json_response({"event_id": event_id})
    if event_type == "m.room.canonical_alias":
        await request.app[DIRECTORY].check_canonical_alias(room_id, content)

    sent = await request.app[ROOMS].send_state(room_id, draft)
    return json_response({"event_id": sent})


async def _member_state(
    request: web.Request,
    requester: Requester,
    room: LiveRoom,
    draft: Draft,
) -> str:
    """A member event by way of ``PUT /state``: the same is asked as by the other ways.

    Invites must reach the invited user's server; who joins or knocks must be let in.
    """
    try:
        target = UserId.parse(draft.state_key or "")
    except InvalidIdentifier as error:
        raise BadJson("The state key of a member event must be a user ID") from error
    membership, own = draft.content["membership"], target == requester.user_id
    if membership == "invite":
        await request.app[MEMBERSHIP].invite(
            requester.user_id,
            room.room_id,
            target,
            content=draft.content,
            sent_at=draft.origin_server_ts,
        )
    elif own and membership in ("join", "knock") and _comes(room, target, draft):
        await _come(request, requester, room.room_id, draft)
    else:
        if own and membership == "leave":
            await request.app[MEMBERSHIP].require_leave(target, room.room_id)
        return await request.app[ROOMS].send_state(room.room_id, draft)
    room = await request.app[ROOMS].get(room.room_id)
    event_id = room.state.get(("m.room.member", target))
    # Policy may keep it from everybody, of which the sender is not told.
    return event_id if event_id is not None else f"${secrets.token_urlsafe(32)}"


def _comes(room: LiveRoom, user_id: UserId, draft: Draft) -> bool:
    """Whether a user enters a room that this server is in, now."""
    return (
        bool(room.joined_local)
        and room.membership(user_id) != "join"
        and draft.origin_server_ts is None
    )


async def _come(request: web.Request, requester: Requester, room_id: str, draft: Draft) -> None:
    limits, membership = request.app[RATE_LIMITS], request.app[MEMBERSHIP]
    reason, extra = optional(draft.content, "reason", str), own_fields(draft.content)
    if draft.content["membership"] == "knock":
        limits.check("join", requester.user_id)
        await membership.knock(requester.user_id, room_id, reason=reason, extra=extra)
        return
    if requester.guest:
        await request.app[GUESTS].check_join(room_id)
    limits.check("join", requester.user_id)
    await membership.join(requester.user_id, room_id, reason=reason, extra=extra)


@routes.put("/rooms/{room_id}/state/{event_type}/{state_key}")
async def set_room_state_with_key(request: web.Request) -> web.Response:
    """Set a state event with a state key."""
    return await _set_state(request, request.match_info["state_key"])


@routes.put("/rooms/{room_id}/state/{event_type}/")
@routes.put("/rooms/{room_id}/state/{event_type}")
async def set_room_state(request: web.Request) -> web.Response:
    """Set a state event with an empty state key."""
    return await _set_state(request, "")
