"""Messages that are sent later, over HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser, new_user
from tests.integration.single import running

PATIENCE_SECONDS = 20.0
FAR = "2999-01-01T00:00:00Z"


def later(ms: int) -> str:
    return (datetime.now(UTC) + timedelta(milliseconds=ms)).isoformat()


async def schedule(user: ApiUser, send_at: str, *, status: int = 201, **message: Any) -> Any:
    return await user.post("/scheduled", {"message": message, "send_at": send_at}, status=status)


async def ended(user: ApiUser, scheduled_id: str) -> Any:
    """What became of it, once it does not wait any more."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await user.get(f"/scheduled/{scheduled_id}")
            if found["state"] not in ("scheduled", "sending"):
                return found
            await asyncio.sleep(0.02)


async def test_it_is_sent_to_a_person_when_its_time_has_come(alice: ApiUser, bob: ApiUser) -> None:
    scheduled = await schedule(alice, later(150), to=bob.address, text="later")

    found = await ended(alice, scheduled["id"])

    assert (scheduled["state"], scheduled["message_id"]) == ("scheduled", None)
    assert found["state"] == "sent"
    event = await alice.matrix(
        "GET", f"/rooms/{found['conversation_id']}/event/{found['message_id']}"
    )
    assert event["content"]["body"] == "later"
    assert found["send_at"] <= found["finished_at"]
    assert found["message"] == {"to": bob.address, "text": "later"}


async def test_those_that_wait_are_listed_by_their_times(alice: ApiUser, bob: ApiUser) -> None:
    texts = ["third", "first", "second"]
    for text, hours in zip(texts, (3, 1, 2), strict=True):
        await schedule(alice, later(hours * 3_600_000), to=bob.address, text=text)
    await schedule(bob, later(3_600_000), to=alice.address, text="his")

    first = await alice.get("/scheduled?limit=2")
    second = await alice.get(f"/scheduled?limit=2&cursor={first['next']}")

    assert [item["message"]["text"] for item in first["items"]] == ["first", "second"]
    assert [item["message"]["text"] for item in second["items"]] == ["third"]
    assert second["next"] is None


async def test_a_conversation_has_its_own_list(alice: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token)
    other = await alice.instance.room(alice.token)
    await schedule(alice, FAR, conversation_id=room_id, text="here", status=403)
    here = await schedule(alice, later(3_600_000), conversation_id=room_id, text="here")
    await schedule(alice, later(3_600_000), conversation_id=other, text="there")

    listed = await alice.get(f"/scheduled?conversation_id={room_id}")

    assert [item["id"] for item in listed["items"]] == [here["id"]]


async def test_it_can_be_changed_until_it_is_sent(alice: ApiUser, bob: ApiUser) -> None:
    scheduled = await schedule(alice, later(3_600_000), to=bob.address, text="wrong")
    path = f"/scheduled/{scheduled['id']}"
    _, headers = await alice.call_with_headers("GET", path)

    changed = await alice.call("PATCH", path, {"message": {"to": bob.address, "text": "right"}})
    stale = await alice.call(
        "PATCH", path, {"send_at": later(1)}, status=412, headers={"If-Match": headers["ETag"]}
    )
    await alice.call("PATCH", path, {"send_at": later(50)})
    found = await ended(alice, scheduled["id"])
    late = await alice.call("PATCH", path, {"send_at": later(3_600_000)}, status=409)

    assert changed["message"]["text"] == "right"
    assert stale["code"] == "precondition_failed"
    assert (found["state"], found["message"]["text"]) == ("sent", "right")
    assert (late["code"], late["state"]) == ("not_scheduled", "sent")
    texts = await alice.instance.texts(alice.token, found["conversation_id"])
    assert texts == ["right"]


async def test_what_is_cancelled_is_not_sent(alice: ApiUser, bob: ApiUser) -> None:
    scheduled = await schedule(alice, later(3_600_000), to=bob.address, text="never")
    path = f"/scheduled/{scheduled['id']}"

    first = await alice.call("DELETE", path)
    second = await alice.call("DELETE", path)
    sent = await alice.post(f"{path}/send", status=409)

    assert first == second
    assert first["state"] == "cancelled"
    assert sent["code"] == "not_scheduled"
    assert (await alice.get("/scheduled"))["items"] == []
    cancelled = (await alice.get("/scheduled?state=cancelled"))["items"]
    assert [item["id"] for item in cancelled] == [scheduled["id"]]


async def test_it_can_be_sent_at_once(alice: ApiUser, bob: ApiUser) -> None:
    scheduled = await schedule(alice, later(3_600_000), to=bob.address, text="now")

    sent = await alice.post(f"/scheduled/{scheduled['id']}/send")
    again = await alice.post(f"/scheduled/{scheduled['id']}/send")
    late = await alice.call("DELETE", f"/scheduled/{scheduled['id']}", status=409)

    assert sent["state"] == again["state"] == "sent"
    assert late["state"] == "sent"
    assert await alice.instance.texts(alice.token, sent["conversation_id"]) == ["now"]


async def test_what_is_refused_when_its_time_comes_says_why(alice: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token)
    scheduled = await schedule(alice, later(200), conversation_id=room_id, text="later")
    await alice.matrix("POST", f"/rooms/{room_id}/leave", {})

    found = await ended(alice, scheduled["id"])

    assert (found["state"], found["message_id"]) == ("failed", None)
    assert found["problem"]["code"] == "not_found"
    assert found["problem"]["detail"]


async def test_consent_is_asked_when_it_is_sent(alice: ApiUser, bob: ApiUser) -> None:
    scheduled = await schedule(alice, later(300), to=bob.address, text="later")
    path = f"/_comity/client/v1/consent/message/{alice.user_id}"
    await bob.matrix("PUT", path, {"state": "denied"})

    found = await ended(alice, scheduled["id"])

    assert found["state"] == "failed"
    assert found["problem"]["code"] == "recipient_refuses"


async def test_the_same_key_schedules_once(alice: ApiUser, bob: ApiUser) -> None:
    body = {"message": {"to": bob.address, "text": "once"}, "send_at": later(3_600_000)}
    headers = {"Idempotency-Key": "k1"}

    first = await alice.post("/scheduled", body, status=201, headers=headers)
    second = await alice.post("/scheduled", body, status=201, headers=headers)
    other = {**body, "message": {"to": bob.address, "text": "other"}}
    refused = await alice.post("/scheduled", other, status=422, headers=headers)

    assert first["id"] == second["id"]
    assert refused["code"] == "idempotency_mismatch"
    assert len((await alice.get("/scheduled"))["items"]) == 1


async def test_others_do_not_find_it(alice: ApiUser, bob: ApiUser) -> None:
    scheduled = await schedule(alice, later(3_600_000), to=bob.address, text="secret")
    path = f"/scheduled/{scheduled['id']}"

    for method, below in (("GET", ""), ("DELETE", ""), ("POST", "/send")):
        await bob.call(method, path + below, status=404)
    await bob.call("PATCH", path, {"send_at": later(1)}, status=404)

    assert (await alice.get(path))["state"] == "scheduled"


@pytest.mark.parametrize(
    ("message", "send_at", "field"),
    [
        ({"text": "to nobody"}, None, "message.to"),
        ({"to": "bob@one.test", "conversation_id": "!r", "text": "x"}, None, "message.to"),
        ({"to": "bob@one.test", "kind": "poll"}, None, None),
        ({"to": "bob@one.test", "text": "x"}, "2001-01-01T00:00:00Z", "send_at"),
        ({"to": "bob@one.test", "text": "x", "txet": 1}, None, None),
    ],
)
async def test_what_makes_no_sense_is_refused_at_once(
    alice: ApiUser, message: Any, send_at: str | None, field: str | None
) -> None:
    refused = await schedule(alice, send_at or later(60_000), status=422, **message)

    assert field is None or refused["field"] == field


async def test_what_fell_due_while_the_server_was_down_is_sent_once_at_the_start(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as instance:
        alice = await new_user(instance, "alice")
        room_id = await instance.room(alice.token)
        scheduled = await schedule(alice, later(300), conversation_id=room_id, text="later")
    await asyncio.sleep(0.3)

    async with running(database, tmp_path) as instance:
        alice = ApiUser(instance, "alice", alice.token)
        found = await ended(alice, scheduled["id"])

        assert found["state"] == "sent"
        assert await instance.texts(alice.token, room_id) == ["later"]


async def test_a_crash_between_the_sending_and_the_note_of_it_sends_nothing_twice(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as instance:
        alice = await new_user(instance, "alice")
        room_id = await instance.room(alice.token)
        scheduled = await schedule(alice, later(3_600_000), conversation_id=room_id, text="once")
        sent = await alice.post(f"/scheduled/{scheduled['id']}/send")
    # as it lay in the database when the message was on disk, and that it was sent was not
    await database.execute(
        "UPDATE scheduled_sends SET state = 'sending', finished_at = NULL, event_id = NULL, "
        "due_at = 0"
    )

    async with running(database, tmp_path) as instance:
        alice = ApiUser(instance, "alice", alice.token)
        found = await ended(alice, scheduled["id"])

        assert found["message_id"] == sent["message_id"]
        assert await instance.texts(alice.token, room_id) == ["once"]
