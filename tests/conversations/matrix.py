"""What tests do through the Client-Server API, to see the same from there."""

from __future__ import annotations

import secrets
from typing import Any

from tests.conversations.conftest import ApiUser


async def say(person: ApiUser, room_id: str, text: str, **content: Any) -> str:
    """Send a message; its event ID."""
    path = f"/rooms/{room_id}/send/m.room.message/{secrets.token_hex(4)}"
    body = {"msgtype": "m.text", "body": text, **content}
    event_id: str = (await person.matrix("PUT", path, body))["event_id"]
    return event_id


async def make_room(person: ApiUser, *members: ApiUser, **request: Any) -> str:
    """A room, with these people joined."""
    body = {"preset": "private_chat", "invite": [m.user_id for m in members], **request}
    room_id: str = (await person.matrix("POST", "/createRoom", body))["room_id"]
    for member in members:
        await member.matrix("POST", f"/rooms/{room_id}/join", {})
    return room_id


async def state(person: ApiUser, room_id: str, kind: str, key: str = "") -> Any:
    """The content of a state event."""
    return await person.matrix("GET", f"/rooms/{room_id}/state/{kind}/{key}")


async def account_data(person: ApiUser, kind: str, room_id: str | None = None) -> Any:
    """The content of a type of account data."""
    place = f"/rooms/{room_id}" if room_id is not None else ""
    return await person.matrix("GET", f"/user/{person.user_id}{place}/account_data/{kind}")


async def read(person: ApiUser, room_id: str, event_id: str) -> None:
    """Mark as read."""
    await person.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{event_id}", {})
