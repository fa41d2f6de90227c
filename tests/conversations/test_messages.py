"""Messages over HTTP: what is sent through the API shows in Matrix, and the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser, new_user
from tests.integration.single import running
from tests.integration.test_policy_and_consent import rule


async def a_group(*people: ApiUser) -> str:
    """A room with these people in it, made through Matrix."""
    room_id = await people[0].instance.room(people[0].token)
    for person in people[1:]:
        await person.matrix("POST", f"/join/{room_id}")
    return room_id


async def matrix_event(user: ApiUser, room_id: str, event_id: str) -> dict[str, Any]:
    event: dict[str, Any] = await user.matrix("GET", f"/rooms/{room_id}/event/{event_id}")
    return event


async def test_a_message_to_a_person_makes_the_conversation(alice: ApiUser, bob: ApiUser) -> None:
    first = await alice.post("/messages", {"to": bob.address, "text": "hello"}, status=201)
    second = await alice.post("/messages", {"to": bob.user_id, "text": "again"}, status=201)

    assert first["message"]["kind"] == "text"
    assert first["message"]["text"] == "hello"
    assert first["message"]["sender"] == alice.address
    assert first["conversation"]["kind"] == "direct"
    assert first["conversation"]["created"] is True
    assert second["conversation"]["created"] is False
    assert first["conversation"]["id"] == second["conversation"]["id"]
    room_id = first["conversation"]["id"]
    assert await alice.instance.texts(alice.token, room_id) == ["hello", "again"]


async def test_an_answer_reaches_who_wrote_first(alice: ApiUser, bob: ApiUser) -> None:
    first = await alice.post("/messages", {"to": bob.address, "text": "hello"}, status=201)
    answer = await bob.post("/messages", {"to": alice.address, "text": "hi"}, status=201)
    after = await alice.post("/messages", {"to": bob.address, "text": "fine"}, status=201)

    assert first["outcome"] == "requested"
    assert answer["conversation"] == {
        "id": first["conversation"]["id"],
        "kind": "direct",
        "created": False,
    }
    assert (answer["outcome"], after["outcome"]) == ("sent", "sent")


async def test_the_same_key_sends_once(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    path = f"/conversations/{room_id}/messages"
    key = {"Idempotency-Key": "one"}

    first, _ = await alice.call_with_headers("POST", path, {"text": "x"}, status=201, headers=key)
    again, headers = await alice.call_with_headers(
        "POST", path, {"text": "x"}, status=201, headers=key
    )
    other = await alice.post(path, {"text": "y"}, status=422, headers=key)

    assert first == again
    assert headers["Idempotency-Replayed"] == "true"
    assert other["code"] == "idempotency_mismatch"
    assert await alice.instance.texts(alice.token, room_id) == ["x"]


async def test_the_same_client_id_sends_once(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    body = {"conversation_id": room_id, "text": "x", "client_id": "7"}

    first = await alice.post("/messages", body, status=201)
    again = await alice.post("/messages", body, status=201)

    assert first == again
    assert first["message"]["client_id"] == "7"


async def test_a_stranger_cannot_send_to_a_conversation(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice)

    problem = await bob.post(f"/conversations/{room_id}/messages", {"text": "x"}, status=404)

    assert problem["code"] == "not_found"


@pytest.mark.parametrize(
    "body, field",
    [
        ({"text": "x"}, "to"),
        ({"text": "x", "to": "bob@one.test", "conversation_id": "!x"}, "to"),
        ({"text": "x", "to": "bob@one.test", "reply_to": "$nothing"}, "reply_to"),
        ({"text": "x", "to": "bob@one.test", "txet": "y"}, None),
    ],
)
async def test_a_message_that_makes_no_sense_is_refused(
    alice: ApiUser, bob: ApiUser, body: dict[str, Any], field: str | None
) -> None:
    problem = await alice.post("/messages", body, status=422)

    assert problem["code"] == "invalid_body"
    assert problem.get("field") == field


@pytest.mark.parametrize("action, status", [("reject", 403), ("hold", 201)])
async def test_what_policy_decides_is_told(
    database: Database, tmp_path: Path, action: str, status: int
) -> None:
    async with running(database, tmp_path, policy=rule(action, keywords=["casino"])) as one:
        alice = await new_user(one, "alice")
        room_id = await a_group(alice)

        told = await alice.post(
            f"/conversations/{room_id}/messages", {"text": "casino"}, status=status
        )

    if action == "reject":
        assert told["code"] == "policy_refused"
    else:
        assert told["outcome"] == "held"
