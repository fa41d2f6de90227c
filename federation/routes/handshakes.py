"""Other instances' users joining, knocking, leaving, and inviting ours.

Spec: server-server API, joining rooms, knocking, inviting, leaving.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from federation.app_keys import HANDSHAKES, JOINING
from federation.routes.base import FederationRoutes
from federation.server import CONTENT, ORIGIN
from homeserver.errors import BadJson, Forbidden, IncompatibleRoomVersion, InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.web import json_response, query_bool, required

routes = FederationRoutes()


def _own_user(request: web.Request) -> str:
    user_id = request.match_info["user_id"]
    if server_name_of(user_id) != request[ORIGIN]:
        raise Forbidden("A server may only act for its own users")
    return user_id


def _versions(request: web.Request) -> frozenset[str]:
    return frozenset(request.query.getall("ver", ["1"]))


@routes.get("/v1/make_join/{room_id}/{user_id}")
async def make_join(request: web.Request) -> web.Response:
    """Offer a join template."""
    user_id = _own_user(request)
    template = await request.app[HANDSHAKES].make(
        "join", request.match_info["room_id"], user_id, request[ORIGIN], _versions(request)
    )
    return json_response(template)


@routes.get("/v1/make_knock/{room_id}/{user_id}")
async def make_knock(request: web.Request) -> web.Response:
    """Offer a knock template."""
    user_id = _own_user(request)
    template = await request.app[HANDSHAKES].make(
        "knock", request.match_info["room_id"], user_id, request[ORIGIN], _versions(request)
    )
    return json_response(template)


@routes.get("/v1/make_leave/{room_id}/{user_id}")
async def make_leave(request: web.Request) -> web.Response:
    """Offer a leave template."""
    user_id = _own_user(request)
    template = await request.app[HANDSHAKES].make(
        "leave", request.match_info["room_id"], user_id, request[ORIGIN], None
    )
    return json_response(template)


async def _send(
    request: web.Request, membership: str, *, omit_members: bool = False
) -> dict[str, Any]:
    return await request.app[HANDSHAKES].send(
        membership,
        request.match_info["room_id"],
        request.match_info["event_id"],
        request[CONTENT],
        request[ORIGIN],
        omit_members=omit_members,
    )


@routes.put("/v2/send_join/{room_id}/{event_id}")
async def send_join(request: web.Request) -> web.Response:
    """Take a join; answer the state before it and its auth chain."""
    omit_members = query_bool(request, "omit_members")
    return json_response(await _send(request, "join", omit_members=omit_members))


@routes.put("/v1/send_join/{room_id}/{event_id}")
async def send_join_v1(request: web.Request) -> web.Response:
    """The same in the deprecated spelling: an array of status and body."""
    return json_response([200, await _send(request, "join")])


@routes.put("/v1/send_knock/{room_id}/{event_id}")
async def send_knock(request: web.Request) -> web.Response:
    """Take a knock; answer what a stranger may see of the room."""
    return json_response(await _send(request, "knock"))


@routes.put("/v2/send_leave/{room_id}/{event_id}")
async def send_leave(request: web.Request) -> web.Response:
    """Take a refusal of an invite, or a withdrawn knock."""
    await _send(request, "leave")
    return json_response({})


@routes.put("/v1/send_leave/{room_id}/{event_id}")
async def send_leave_v1(request: web.Request) -> web.Response:
    """The same in the deprecated spelling."""
    await _send(request, "leave")
    return json_response([200, {}])


@routes.put("/v2/invite/{room_id}/{event_id}")
async def invite(request: web.Request) -> web.Response:
    """Sign an invite of one of our users, if they take it."""
    body = request[CONTENT]
    identifier = required(body, "room_version", str)
    version = ROOM_VERSIONS.get(identifier)
    if version is None:
        raise IncompatibleRoomVersion(
            "This server does not support that room version", room_version=identifier
        )
    signed = await _invite(request, body.get("event"), version, body.get("invite_room_state"))
    return json_response({"event": signed})


@routes.put("/v1/invite/{room_id}/{event_id}")
async def invite_v1(request: web.Request) -> web.Response:
    """The spelling of room versions 1 and 2: the body is the event."""
    body = request[CONTENT]
    unsigned = body.get("unsigned")
    room_state = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
    signed = await _invite(request, body, ROOM_VERSIONS["1"], room_state)
    return json_response([200, {"event": signed}])


async def _invite(
    request: web.Request, pdu: Any, version: RoomVersion, room_state: Any
) -> JsonObject:
    if not isinstance(pdu, dict):
        raise BadJson("'event' must be an object")
    if pdu.get("room_id") != request.match_info["room_id"]:
        raise InvalidParam("The event is not of the room in the path")
    return await request.app[JOINING].receive_invite(
        request[ORIGIN], request.match_info["event_id"], pdu, version, room_state
    )
