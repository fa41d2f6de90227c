"""What servers send each other before somebody is in a room, or out of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from homeserver.protocol.canonical import content_hash, encode_base64
from homeserver.protocol.events import Event, parse_event
from homeserver.protocol.signing import sign_event
from tests.federation.network import Net

from .outside import V1, V2, Outside
from .single import Instance

Scene = tuple[Instance, Net]
ALICE = "@alice:one.test"


def quoted(text: str) -> str:
    return quote(text, safe="")


async def set_state(one: Instance, token: str, room_id: str, kind: str, content: Any) -> None:
    await one.call("PUT", f"/rooms/{room_id}/state/{kind}/", content, token=token)


async def template(outside: Outside, room_id: str, membership: str = "join") -> tuple[int, Any]:
    """What the instance answers to ``make_join`` and its like."""
    path = f"{V1}/make_{membership}/{quoted(room_id)}/{quoted(outside.owner)}?ver=11&ver=12"
    return await outside.ask("GET", path)


def completed(outside: Outside, made: Any, **changes: Any) -> Event:
    """A template as the joining server sends it back, but for the changes."""
    key = changes.pop("key", outside.peer.key)
    pdu = {**made["event"], "origin": outside.name, **changes}
    pdu["hashes"] = {"sha256": encode_base64(content_hash(pdu))}
    pdu = sign_event(pdu, outside.name, key, outside.version)
    return parse_event(pdu, outside.version)


async def send_membership(
    outside: Outside, event: Event, membership: str = "join", query: str = ""
) -> tuple[int, Any]:
    base = f"{V1}/send_knock" if membership == "knock" else f"{V2}/send_{membership}"
    path = f"{base}/{quoted(event.room_id)}/{quoted(event.event_id)}{query}"
    return await outside.ask("PUT", path, event.pdu)


# ---------------------------------------------------------------- restricted rooms


async def restricted(one: Instance, token: str, *allowed: str) -> str:
    """A room for the members of others."""
    allow = [{"type": "m.room_membership", "room_id": room_id} for room_id in allowed]
    rule = {"join_rule": "restricted", "allow": allow}
    state = {"type": "m.room.join_rules", "state_key": "", "content": rule}
    return await one.room(token, room_version="11", initial_state=[state])


# ---------------------------------------------------------------- being invited


async def invites(one: Instance, token: str) -> dict[str, Any]:
    """Room ID -> what a sync tells of an invite."""
    rooms = (await one.call("GET", "/sync", token=token)).get("rooms", {})
    return {
        room_id: room["invite_state"]["events"] for room_id, room in rooms.get("invite", {}).items()
    }


def stripped(event: Event) -> dict[str, Any]:
    return {key: event.pdu[key] for key in ("type", "sender", "state_key", "content")}
