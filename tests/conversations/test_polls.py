"""Polls, and invitations to events, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversations.conftest import ApiUser
from tests.conversations.messages import POLL, a_group


async def test_a_poll_is_voted_on_and_closed(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    sent = await alice.post(f"/conversations/{room_id}/messages", POLL, status=201)
    path = f"/conversations/{room_id}/messages/{sent['message']['id']}"

    await alice.call("PUT", f"{path}/vote", {"choices": ["a"]})
    await bob.call("PUT", f"{path}/vote", {"choices": ["a"]})
    changed = await bob.call("PUT", f"{path}/vote", {"choices": ["b"]})
    votes = await alice.get(f"{path}/votes")
    wrong = await bob.call("PUT", f"{path}/vote", {"choices": ["c"]}, status=422)
    many = await bob.call("PUT", f"{path}/vote", {"choices": ["a", "b"]}, status=422)
    refused = await bob.post(f"{path}/close", status=403)
    closed = await alice.post(f"{path}/close")
    late = await bob.call("PUT", f"{path}/vote", {"choices": ["a"]}, status=409)

    assert changed["poll"]["choices"] == [
        {"id": "a", "text": "Now", "votes": 1},
        {"id": "b", "text": "Later", "votes": 1},
    ]
    assert (changed["poll"]["voters"], changed["poll"]["mine"]) == (2, ["b"])
    assert [(v["person"], v["choices"]) for v in votes["items"]] == [
        (alice.address, ["a"]),
        (bob.address, ["b"]),
    ]
    assert wrong["field"] == many["field"] == "choices"
    assert refused["code"] == "forbidden"
    assert closed["poll"]["closed"] is True
    assert late["code"] == "poll_closed"


async def test_hidden_results_are_shown_once_a_poll_is_closed(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    poll = {"kind": "poll", "poll": {**POLL["poll"], "hidden": True}}  # type: ignore[dict-item]
    sent = await alice.post(f"/conversations/{room_id}/messages", poll, status=201)
    path = f"/conversations/{room_id}/messages/{sent['message']['id']}"

    voted = await bob.call("PUT", f"{path}/vote", {"choices": ["a"]})
    await alice.get(f"{path}/votes", status=403)
    await alice.post(f"{path}/close")
    closed = await alice.get(path)

    assert voted["poll"]["mine"] == ["a"]
    assert "votes" not in voted["poll"]["choices"][0]
    assert "voters" not in voted["poll"]
    assert closed["poll"]["choices"][0]["votes"] == 1


@pytest.mark.parametrize("stable", [True, False])
async def test_elements_polls_are_counted(alice: ApiUser, bob: ApiUser, stable: bool) -> None:
    room_id = await a_group(alice, bob)
    prefix = "m." if stable else "org.matrix.msc3381."
    if stable:
        start: dict[str, Any] = {
            "m.text": [{"body": "?"}],
            "m.poll": {
                "question": {"m.text": [{"body": "?"}]},
                "answers": [{"m.id": "a", "m.text": [{"body": "A"}]}],
            },
        }
    else:
        text = "org.matrix.msc1767.text"
        start = {
            "org.matrix.msc3381.poll.start": {
                "question": {text: "?"},
                "answers": [{"id": "a", text: "A"}],
            }
        }
    poll_id = (await alice.matrix("PUT", f"/rooms/{room_id}/send/{prefix}poll.start/1", start))[
        "event_id"
    ]
    relates_to = {"rel_type": "m.reference", "event_id": poll_id}
    response = (
        {"m.selections": ["a"]}
        if stable
        else {"org.matrix.msc3381.poll.response": {"answers": ["a"]}}
    )
    await bob.matrix(
        "PUT",
        f"/rooms/{room_id}/send/{prefix}poll.response/1",
        {**response, "m.relates_to": relates_to},
    )
    await alice.matrix(
        "PUT", f"/rooms/{room_id}/send/{prefix}poll.end/1", {"m.relates_to": relates_to}
    )

    page = await bob.get(f"/conversations/{room_id}/messages?system=false")

    (message,) = page["items"]
    assert message["poll"]["choices"] == [{"id": "a", "text": "A", "votes": 1}]
    assert message["poll"]["closed"] is True
    assert message["poll"]["mine"] == ["a"]


async def test_an_invitation_is_answered(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    event = {"title": "Picnic", "starts_at": "2026-12-01T12:00:00Z"}
    body = {"kind": "event", "event": event}
    sent = await alice.post(f"/conversations/{room_id}/messages", body, status=201)
    path = f"/conversations/{room_id}/messages/{sent['message']['id']}"

    await alice.call("PUT", f"{path}/answer", {"answer": "yes"})
    await bob.call("PUT", f"{path}/answer", {"answer": "no"})
    message = await bob.call("PUT", f"{path}/answer", {"answer": "maybe"})
    answers = await alice.get(f"{path}/answers")

    assert message["event"]["rsvp"] == {"yes": 1, "no": 0, "maybe": 1}
    assert message["event"]["mine"] == "maybe"
    assert [(a["person"], a["answer"]) for a in answers["items"]] == [
        (alice.address, "yes"),
        (bob.address, "maybe"),
    ]
    assert await alice.instance.texts(bob.token, room_id) == ["Picnic\n2026-12-01 12:00 UTC"]
