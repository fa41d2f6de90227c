"""Who is in a room.  Spec: client-server API, room membership."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.auth import require_sender, require_user
from client_api.matrix.parsing import body_user_id, path_room_id, room_servers, third_party_address
from client_api.routing import ClientRoutes
from homeserver.app_keys import (
    ACCOUNT_STANDING,
    DIRECTORY,
    GUESTS,
    LIST_GATE,
    MEMBERSHIP,
    RATE_LIMITS,
    THIRD_PARTY_INVITES,
)
from homeserver.protocol.identifiers import UserId
from homeserver.services.membership import own_fields
from homeserver.services.requester import Requester
from homeserver.web import json_response, optional, read_json

routes = ClientRoutes()


async def _find(request: web.Request, user_id: str) -> tuple[str, list[str]]:
    """The room in the path and servers that may know it; lists may name its alias."""
    named = request.match_info["room_id_or_alias"]
    request.app[LIST_GATE].check_entry(user_id, named)
    return await request.app[DIRECTORY].resolve(named, room_servers(request))


def _reason(body: dict[str, Any]) -> str | None:
    return optional(body, "reason", str)


async def _show_invitation(
    request: web.Request, body: dict[str, Any], user_id: UserId, room_id: str
) -> None:
    """Take what shows that an invitation of an address is the user's, if they give it."""
    signed = optional(body, "third_party_signed", dict)
    if signed is not None:
        await request.app[THIRD_PARTY_INVITES].accept(user_id, room_id, signed)


async def _join(
    request: web.Request,
    requester: Requester,
    room_id: str,
    servers: list[str],
    body: dict[str, Any],
) -> web.Response:
    if requester.guest:
        await request.app[GUESTS].check_join(room_id)
    request.app[RATE_LIMITS].check("join", requester.user_id)

    await _show_invitation(request, body, requester.user_id, room_id)
    await request.app[MEMBERSHIP].join(
        requester.user_id, room_id, servers=servers, reason=_reason(body), extra=own_fields(body)
    )
    return json_response({"room_id": room_id})


@routes.post("/join/{room_id_or_alias}")
async def join_room(request: web.Request) -> web.Response:
    """Join by room ID or alias."""
    requester = await require_sender(request)
    body = await read_json(request, optional=True)
    room_id, servers = await _find(request, requester.user_id)
    return await _join(request, requester, room_id, servers, body)


@routes.post("/rooms/{room_id}/join")
async def join_room_by_id(request: web.Request) -> web.Response:
    """Join by room ID."""
    requester = await require_sender(request)
    body = await read_json(request, optional=True)
    return await _join(request, requester, path_room_id(request), room_servers(request), body)


@routes.post("/knock/{room_id_or_alias}")
async def knock_room(request: web.Request) -> web.Response:
    """Ask to be let into a room."""
    requester = await require_sender(request)
    body = await read_json(request, optional=True)
    room_id, servers = await _find(request, requester.user_id)
    request.app[RATE_LIMITS].check("join", requester.user_id)

    await request.app[MEMBERSHIP].knock(
        requester.user_id, room_id, servers=servers, reason=_reason(body)
    )
    return json_response({"room_id": room_id})


@routes.post("/rooms/{room_id}/leave")
async def leave_room(request: web.Request) -> web.Response:
    """Leave, reject an invite, or take back a knock."""
    requester = await require_user(request)
    body = await read_json(request, optional=True)

    await request.app[MEMBERSHIP].leave(
        requester.user_id, path_room_id(request), reason=_reason(body)
    )
    return json_response({})


@routes.post("/rooms/{room_id}/forget")
async def forget_room(request: web.Request) -> web.Response:
    """Forget a room after leaving it."""
    requester = await require_user(request)
    await read_json(request, optional=True)

    await request.app[MEMBERSHIP].forget(requester.user_id, path_room_id(request))
    return json_response({})


@routes.post("/rooms/{room_id}/invite")
async def invite_user(request: web.Request) -> web.Response:
    """Invite a user by ID or address."""
    requester = await require_sender(request)
    body = await read_json(request)
    request.app[RATE_LIMITS].check("invite", requester.user_id)
    if "user_id" not in body and "medium" in body:
        request.app[ACCOUNT_STANDING].require_active(requester.user_id)
        await request.app[THIRD_PARTY_INVITES].invite(
            requester.user_id,
            path_room_id(request),
            third_party_address(body),
            reason=_reason(body),
        )
        return json_response({})
    invitee = body_user_id(body)

    await request.app[MEMBERSHIP].invite(
        requester.user_id, path_room_id(request), invitee, reason=_reason(body)
    )
    return json_response({})


@routes.post("/rooms/{room_id}/kick")
async def kick(request: web.Request) -> web.Response:
    """Remove a user from a room."""
    requester = await require_user(request)
    body = await read_json(request)

    await request.app[MEMBERSHIP].kick(
        requester.user_id, path_room_id(request), body_user_id(body), _reason(body)
    )
    return json_response({})


@routes.post("/rooms/{room_id}/ban")
async def ban(request: web.Request) -> web.Response:
    """Ban a user from a room."""
    requester = await require_user(request)
    body = await read_json(request)

    await request.app[MEMBERSHIP].set_membership(
        requester.user_id,
        path_room_id(request),
        body_user_id(body),
        "ban",
        reason=_reason(body),
    )
    return json_response({})


@routes.post("/rooms/{room_id}/unban")
async def unban(request: web.Request) -> web.Response:
    """Lift a ban."""
    requester = await require_user(request)
    body = await read_json(request)

    await request.app[MEMBERSHIP].unban(
        requester.user_id, path_room_id(request), body_user_id(body), _reason(body)
    )
    return json_response({})
