"""Groups, and what is said in them."""

from __future__ import annotations

from typing import Any

from tests.conversations.conftest import ApiUser


async def a_group(*people: ApiUser) -> str:
    """A room with these people in it, made through Matrix."""
    room_id = await people[0].instance.room(people[0].token)
    for person in people[1:]:
        await person.matrix("POST", f"/join/{room_id}")
    return room_id


async def matrix_event(user: ApiUser, room_id: str, event_id: str) -> dict[str, Any]:
    event: dict[str, Any] = await user.matrix("GET", f"/rooms/{room_id}/event/{event_id}")
    return event


async def say(user: ApiUser, room_id: str, text: str, **more: Any) -> str:
    sent = await user.post(f"/conversations/{room_id}/messages", {"text": text, **more}, status=201)
    message_id: str = sent["message"]["id"]
    return message_id


async def texts(user: ApiUser, path: str) -> list[str]:
    page = await user.get(path)
    return [message["text"] for message in page["items"]]


POLL = {
    "kind": "poll",
    "poll": {
        "question": "When?",
        "choices": [{"id": "a", "text": "Now"}, {"id": "b", "text": "Later"}],
    },
}
