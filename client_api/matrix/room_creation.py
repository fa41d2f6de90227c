"""``POST /createRoom``.  Spec: client-server API, creation."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from client_api.auth import require_sender
from client_api.matrix.parsing import path_room_id, third_party_address, user_id_list
from client_api.routing import ClientRoutes
from homeserver.app_keys import (
    APP_SERVICES,
    CONFIG,
    PROFILES,
    RATE_LIMITS,
    ROOM_CREATION,
    ROOM_UPGRADES,
)
from homeserver.errors import BadJson, InvalidParam
from homeserver.services.creation import InitialState, RoomRequest
from homeserver.services.third_party_invites import ThirdPartyAddress
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()


@routes.post("/createRoom")
async def create_room(request: web.Request) -> web.Response:
    """Make a room, set its first state, invite people."""
    requester = await require_sender(request)
    body = await read_json(request)
    room_request = parse_room_request(body)
    for _ in room_request.addresses:
        request.app[RATE_LIMITS].check("invite", requester.user_id)

    if room_request.alias_localpart is not None:
        alias = f"#{room_request.alias_localpart}:{request.app[CONFIG].server_name}"
        request.app[APP_SERVICES].check_alias(alias, requester.app_service)
    profile = await request.app[PROFILES].member_fields(requester.user_id)
    room_id = await request.app[ROOM_CREATION].create(requester.user_id, room_request, profile)
    return json_response({"room_id": room_id})


@routes.post("/rooms/{room_id}/upgrade")
async def upgrade_room(request: web.Request) -> web.Response:
    """Replace a room by one of another version."""
    requester = await require_sender(request)
    body = await read_json(request)
    version = required(body, "new_version", str)
    request.app[RATE_LIMITS].check("upgrade", requester.user_id)

    new_id = await request.app[ROOM_UPGRADES].upgrade(
        requester.user_id,
        path_room_id(request),
        version,
        user_id_list(body, "additional_creators"),
    )
    return json_response({"replacement_room": new_id})


def parse_room_request(body: dict[str, Any]) -> RoomRequest:
    """Check the types of a creation request."""
    visibility = optional(body, "visibility", str, "private")
    if visibility not in ("public", "private"):
        raise InvalidParam("'visibility' must be public or private")
    return RoomRequest(
        version=optional(body, "room_version", str),
        preset=optional(body, "preset", str),
        public=visibility == "public",
        alias_localpart=optional(body, "room_alias_name", str),
        name=optional(body, "name", str),
        topic=optional(body, "topic", str),
        invites=user_id_list(body, "invite"),
        addresses=[_address(item) for item in optional(body, "invite_3pid", list) or []],
        is_direct=optional(body, "is_direct", bool, False) or False,
        creation_content=optional(body, "creation_content", dict) or {},
        initial_state=[
            _initial_state(item) for item in optional(body, "initial_state", list) or []
        ],
        power_levels=optional(body, "power_level_content_override", dict) or {},
    )


def _address(item: Any) -> ThirdPartyAddress:
    if not isinstance(item, dict):
        raise BadJson("'invite_3pid' must be an array of objects")
    return third_party_address(item)


def _initial_state(item: Any) -> InitialState:
    if not isinstance(item, dict):
        raise BadJson("'initial_state' must be an array of objects")
    if item.get("type") == "m.room.member":  # it would go past the invitee's consent
        raise InvalidParam("Invite people with 'invite', not with 'initial_state'")
    return InitialState(
        type=required(item, "type", str),
        state_key=optional(item, "state_key", str) or "",
        content=required(item, "content", dict),
    )
