"""Messages over HTTP: what is sent through the API shows in Matrix, and the other way round."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeserver.services.conversations.shapes.pages import make_cursor
from homeserver.storage import messages as storage
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


async def test_the_same_file_again_is_the_same_message_though_more_is_known_of_it(
    alice: ApiUser,
) -> None:
    room_id = await a_group(alice)
    body = {"kind": "image", "media_id": "one.test~abc", "client_id": "7"}
    more = {"kind": "image", "media": {"id": "one.test~abc", "width": 9}, "client_id": "7"}
    other = {"kind": "image", "media_id": "one.test~xyz", "client_id": "7"}
    path = f"/conversations/{room_id}/messages"

    first = await alice.post(path, body, status=201)
    again = await alice.post(path, more, status=201)

    assert first["message"]["id"] == again["message"]["id"]
    assert (await alice.post(path, other, status=422))["code"] == "idempotency_mismatch"


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


async def test_who_takes_no_messages_is_said_to_refuse(alice: ApiUser, bob: ApiUser) -> None:
    path = f"/_comity/client/v1/consent/message/{alice.user_id}"
    await bob.matrix("PUT", path, {"state": "denied"})

    problem = await alice.post("/messages", {"to": bob.address, "text": "x"}, status=403)
    conversations = await alice.get("/conversations")

    assert problem["code"] == "recipient_refuses"
    assert conversations["items"] == []


async def test_nothing_is_sent_in_the_clear_where_all_is_encrypted(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    algorithm = {"algorithm": "m.megolm.v1.aes-sha2"}
    await alice.matrix("PUT", f"/rooms/{room_id}/state/m.room.encryption", algorithm)
    path = f"/conversations/{room_id}/messages"
    payload = {**algorithm, "ciphertext": "AwgA", "session_id": "s"}

    problem = await alice.post(path, {"text": "x"}, status=409)
    sent = await alice.post(path, {"kind": "encrypted", "encrypted": payload}, status=201)
    await alice.post(path, {"text": "y", "allow_unencrypted": True}, status=201)

    assert problem["code"] == "encryption_required"
    assert (await bob.get(f"{path}/{sent['message']['id']}"))["encrypted"] == payload
    assert (await matrix_event(bob, room_id, sent["message"]["id"]))["content"] == payload


async def test_who_does_not_exist_is_not_found(alice: ApiUser) -> None:
    problem = await alice.post("/messages", {"to": "nobody@one.test", "text": "x"}, status=404)

    assert problem["code"] == "not_found"


async def test_consent_is_asked_for_before_anything_goes_elsewhere(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, consent={"cross_instance": "opt_in"}) as one:
        alice = await new_user(one, "alice")

        problem = await alice.post(
            "/messages", {"to": "bob@other.example", "text": "x"}, status=403
        )

    assert problem["code"] == "consent_required"
    assert problem["consent_url"].startswith("http")


async def test_ones_notes_are_a_conversation(alice: ApiUser) -> None:
    first = await alice.post("/messages", {"to": alice.address, "text": "milk"}, status=201)
    second = await alice.post("/messages", {"to": alice.address, "text": "eggs"}, status=201)

    assert first["conversation"]["kind"] == "self"
    assert (first["outcome"], second["conversation"]["created"]) == ("sent", False)


# ---------------------------------------------------------------- reading


async def say(user: ApiUser, room_id: str, text: str, **more: Any) -> str:
    sent = await user.post(f"/conversations/{room_id}/messages", {"text": text, **more}, status=201)
    message_id: str = sent["message"]["id"]
    return message_id


async def texts(user: ApiUser, path: str) -> list[str]:
    page = await user.get(path)
    return [message["text"] for message in page["items"]]


async def test_a_conversation_is_read_in_pages_both_ways(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    for number in range(7):
        await say(alice, room_id, str(number))
    path = f"/conversations/{room_id}/messages?system=false&limit=3"

    first = await bob.get(path)
    second = await bob.get(f"{path}&cursor={first['next']}")
    third = await bob.get(f"{path}&cursor={second['next']}")
    back = await bob.get(f"{path}&cursor={third['previous']}")
    await say(alice, room_id, "new")
    news = await bob.get(f"{path}&cursor={first['previous']}")
    nothing = await bob.get(f"{path}&cursor={news['previous']}")

    assert [m["text"] for m in first["items"]] == ["6", "5", "4"]
    assert [m["text"] for m in second["items"]] == ["3", "2", "1"]
    assert [m["text"] for m in third["items"]] == ["0"]
    assert third["next"] is None
    assert [m["text"] for m in back["items"]] == ["3", "2", "1"]
    assert [m["text"] for m in news["items"]] == ["new"]
    assert nothing["items"] == []


async def test_many_reactions_do_not_hide_what_is_before_them(
    alice: ApiUser, bob: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_SCANNED", 4)
    room_id = await a_group(alice, bob)
    first = await say(alice, room_id, "first")
    for number in range(7):
        await bob.call("PUT", f"/conversations/{room_id}/messages/{first}/reactions/{number}")
    path = f"/conversations/{room_id}/messages?system=false&limit=5"

    found: list[Any] = []
    page = await alice.get(path)
    while page["next"] is not None:
        found += page["items"]
        page = await alice.get(f"{path}&cursor={page['next']}")
    forwards = await alice.get(f"{path}&cursor={make_cursor('f', 0)}")

    assert [message["id"] for message in found + page["items"]] == [first]
    assert [message["id"] for message in forwards["items"]] == [first]


async def test_a_conversation_is_read_around_a_message(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    ids = [await say(alice, room_id, str(number)) for number in range(9)]
    path = f"/conversations/{room_id}/messages?system=false&limit=5"

    page = await bob.get(f"{path}&around={ids[4]}")
    older = await bob.get(f"{path}&cursor={page['next']}")
    newer = await bob.get(f"{path}&cursor={page['previous']}")

    assert [m["text"] for m in page["items"]] == ["6", "5", "4", "3", "2"]
    assert [m["text"] for m in older["items"]] == ["1", "0"]
    assert [m["text"] for m in newer["items"]] == ["8", "7"]


async def test_a_thread_is_read_alone(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    root = await say(alice, room_id, "root")
    first = await say(bob, room_id, "one", thread=root)
    await say(alice, room_id, "aside")
    last = await say(bob, room_id, "two", thread=first)

    message = await alice.get(f"/conversations/{room_id}/messages/{root}")

    path = f"/conversations/{room_id}/messages?thread={root}"
    assert await texts(alice, path) == ["two", "one"]
    assert message["replies"]["replies"] == 2
    assert message["replies"]["last_reply_id"] == last


async def test_what_happened_to_the_conversation_is_told(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice)
    await alice.matrix("PUT", f"/rooms/{room_id}/state/m.room.name", {"name": "Tea"})
    await bob.matrix("POST", f"/join/{room_id}")
    await bob.matrix("PUT", f"/profile/{bob.user_id}/displayname", {"displayname": "Bob!"})
    await alice.matrix("POST", f"/rooms/{room_id}/kick", {"user_id": bob.user_id, "reason": "why"})

    page = await alice.get(f"/conversations/{room_id}/messages")

    told = [
        (m["system"]["what"], m["system"].get("person"), m["system"].get("value"))
        for m in reversed(page["items"])
    ]
    assert told == [
        ("created", alice.address, None),
        ("joined", alice.address, None),
        ("renamed", None, "Tea"),
        ("joined", bob.address, None),
        ("name_changed", bob.address, "Bob!"),
        ("removed", bob.address, None),
    ]


async def test_who_is_not_in_a_conversation_reads_nothing(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token, preset="private_chat")
    message_id = await say(alice, room_id, "secret")

    await bob.get(f"/conversations/{room_id}/messages", status=404)
    await bob.get(f"/conversations/{room_id}/messages/{message_id}", status=404)
    await bob.get(f"/conversations/{room_id}/messages/{message_id}/edits", status=404)
    await bob.get(f"/conversations/{room_id}/messages/{message_id}/reactions", status=404)


async def test_who_joined_later_sees_only_what_they_may(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await alice.instance.room(
        alice.token,
        initial_state=[
            {
                "type": "m.room.history_visibility",
                "state_key": "",
                "content": {"history_visibility": "joined"},
            }
        ],
    )
    before = await say(alice, room_id, "before")
    await bob.matrix("POST", f"/join/{room_id}")
    await say(alice, room_id, "after")

    path = f"/conversations/{room_id}/messages"

    assert await texts(bob, path + "?system=false") == ["after"]
    await bob.get(f"{path}/{before}", status=404)
    await bob.get(f"{path}?around={before}", status=404)


async def test_ignored_people_are_not_heard(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    target = await say(alice, room_id, "mine")
    hidden = await say(bob, room_id, "noise")
    await bob.call("PUT", f"/conversations/{room_id}/messages/{target}/reactions/x")
    ignored = {"ignored_users": {bob.user_id: {}}}
    await alice.matrix("PUT", f"/user/{alice.user_id}/account_data/m.ignored_user_list", ignored)

    path = f"/conversations/{room_id}/messages"
    message = await alice.get(f"{path}/{target}")
    reactors = await alice.get(f"{path}/{target}/reactions")

    assert await texts(alice, path + "?system=false") == ["mine"]
    await alice.get(f"{path}/{hidden}", status=404)
    assert "reactions" not in message
    assert reactors["items"] == []


async def test_a_message_has_an_etag(alice: ApiUser) -> None:
    room_id = await a_group(alice)
    path = f"/conversations/{room_id}/messages/{await say(alice, room_id, 'x')}"
    _, headers = await alice.call_with_headers("GET", path)

    await alice.get(path, status=304, headers={"If-None-Match": headers["ETag"]})


# ---------------------------------------------------------------- edits


async def test_an_edit_is_folded_into_its_message(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await say(alice, room_id, "helo", custom={"order": 7})
    path = f"/conversations/{room_id}/messages/{message_id}"

    edited = await alice.call("PATCH", path, {"text": "hello"})
    await alice.call("PATCH", path, {"text": "hello!"})
    page = await bob.get(f"/conversations/{room_id}/messages?system=false")
    edits = await bob.get(f"{path}/edits")

    assert (edited["text"], edited["custom"]) == ("hello", {"order": 7})
    assert [m["text"] for m in page["items"]] == ["hello!"]
    assert page["items"][0]["edited_at"]
    assert [version["message"]["text"] for version in edits["items"]] == [
        "helo",
        "hello",
        "hello!",
    ]
    assert edits["items"][0]["id"] == message_id
    event = await matrix_event(bob, room_id, message_id)
    replaced = event["unsigned"]["m.relations"]["m.replace"]
    assert replaced["content"]["m.new_content"]["body"] == "hello!"


async def test_a_matrix_clients_edit_shows(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    event_id = (await alice.instance.say(alice.token, room_id, "before"))["event_id"]
    await alice.instance.say(
        alice.token,
        room_id,
        "* after",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "after"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
        },
    )

    assert await texts(bob, f"/conversations/{room_id}/messages?system=false") == ["after"]


async def test_others_messages_are_not_edited(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    path = f"/conversations/{room_id}/messages/{await say(alice, room_id, 'x')}"

    problem = await bob.call("PATCH", path, {"text": "y"}, status=403)

    assert problem["code"] == "forbidden"


# ---------------------------------------------------------------- reactions


async def test_reactions_are_counted_and_taken_back(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    path = f"/conversations/{room_id}/messages/{await say(alice, room_id, 'x')}"

    await alice.call("PUT", f"{path}/reactions/👍")
    await alice.call("PUT", f"{path}/reactions/👍")
    await bob.call("PUT", f"{path}/reactions/%F0%9F%91%8D")
    await bob.call("PUT", f"{path}/reactions/a%2Fb")
    for_alice = await alice.get(path)
    who = await alice.get(f"{path}/reactions")
    only = await alice.get(f"{path}/reactions?key=a%2Fb")
    await bob.call("DELETE", f"{path}/reactions/👍")
    after = await bob.get(path)

    assert for_alice["reactions"] == [
        {"key": "👍", "count": 2, "mine": True},
        {"key": "a/b", "count": 1, "mine": False},
    ]
    assert [(r["person"], r["key"]) for r in who["items"]] == [
        (alice.address, "👍"),
        (bob.address, "👍"),
        (bob.address, "a/b"),
    ]
    assert [r["person"] for r in only["items"]] == [bob.address]
    assert after["reactions"][0] == {"key": "👍", "count": 1, "mine": False}


async def test_a_matrix_clients_reaction_counts(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await say(alice, room_id, "x")
    relates_to = {"rel_type": "m.annotation", "event_id": message_id, "key": "🎉"}
    await bob.matrix("PUT", f"/rooms/{room_id}/send/m.reaction/t1", {"m.relates_to": relates_to})

    page = await bob.get(f"/conversations/{room_id}/messages?system=false")

    assert len(page["items"]) == 1
    assert page["items"][0]["reactions"] == [{"key": "🎉", "count": 1, "mine": True}]


# ---------------------------------------------------------------- deleting


async def test_a_deleted_message_says_who_deleted_it(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await say(bob, room_id, "rude")
    path = f"/conversations/{room_id}/messages/{message_id}"

    await alice.call("DELETE", f"{path}?reason=manners")
    await alice.call("DELETE", path)
    message = await bob.get(path)

    assert "text" not in message
    assert message["deleted"]["by"] == alice.address
    assert message["deleted"]["reason"] == "manners"
    event = await matrix_event(bob, room_id, message_id)
    assert event["content"] == {}
    await bob.get(f"{path}/edits", status=404)


async def test_only_those_who_may_delete_others_messages(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    path = f"/conversations/{room_id}/messages/{await say(alice, room_id, 'x')}"

    problem = await bob.call("DELETE", path, status=403)

    assert problem["code"] == "forbidden"
    assert (await alice.get(path))["text"] == "x"


async def test_a_message_deleted_for_oneself_is_there_for_others(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    message_id = await say(alice, room_id, "x")
    path = f"/conversations/{room_id}/messages"

    await bob.call("DELETE", f"{path}/{message_id}?for=me")
    await bob.call("DELETE", f"{path}/{message_id}?for=me")

    assert await texts(bob, path + "?system=false") == []
    assert await texts(alice, path + "?system=false") == ["x"]


async def test_the_edits_of_deleted_messages_are_no_messages(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await say(alice, room_id, "x")
    await alice.call("PATCH", f"/conversations/{room_id}/messages/{message_id}", {"text": "y"})
    edits = await alice.get(f"/conversations/{room_id}/messages/{message_id}/edits")
    edit_id = edits["items"][1]["id"]
    await alice.matrix("PUT", f"/rooms/{room_id}/redact/{edit_id}/t", {})
    await alice.instance.wiring.ends.deletion.delete_event_content([edit_id], why="redacted")

    page = await bob.get(f"/conversations/{room_id}/messages?system=false")

    assert [m.get("text") for m in page["items"]] == ["x"]


# ---------------------------------------------------------------- polls and events

POLL = {
    "kind": "poll",
    "poll": {
        "question": "When?",
        "choices": [{"id": "a", "text": "Now"}, {"id": "b", "text": "Later"}],
    },
}


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


# ---------------------------------------------------------------- forwarding, reading along


async def test_a_message_is_forwarded_with_its_origin(alice: ApiUser, bob: ApiUser) -> None:
    room_id, other = await a_group(alice, bob), await a_group(bob)
    message_id = await say(alice, room_id, "old", custom={"n": 1})
    await alice.call("PATCH", f"/conversations/{room_id}/messages/{message_id}", {"text": "new"})
    body = {"conversation_ids": [other, "!nowhere:one.test"], "to": [alice.address]}
    path = f"/conversations/{room_id}/messages/{message_id}/forward"
    key = {"Idempotency-Key": "f"}

    result = await bob.post(path, body, headers=key)
    again = await bob.post(path, body, headers=key)

    first, second, third = result["items"]
    assert first["sent"]["message"]["text"] == "new"
    assert first["sent"]["message"]["custom"] == {"n": 1}
    assert first["sent"]["message"]["forwarded"]["from"] == alice.address
    assert second["problem"]["code"] == "not_found"
    assert third["sent"]["conversation"]["kind"] == "direct"
    assert again["items"][0]["sent"]["message"]["id"] == first["sent"]["message"]["id"]
    assert await texts(bob, f"/conversations/{other}/messages?system=false") == ["new"]


async def test_what_is_viewed_once_is_not_forwarded(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await say(alice, room_id, "x", view_once=True)

    await bob.post(
        f"/conversations/{room_id}/messages/{message_id}/forward",
        {"to": [alice.address]},
        status=422,
    )


async def test_reading_moves_the_receipt(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    first = await say(alice, room_id, "one")
    second = await say(alice, room_id, "two")

    part = await bob.post(f"/conversations/{room_id}/read", {"message_id": first})
    whole = await bob.post(f"/conversations/{room_id}/read", {})

    assert (part["message_id"], whole["message_id"]) == (first, second)
    sync = await alice.matrix("GET", "/sync")
    ephemeral = sync["rooms"]["join"][room_id]["ephemeral"]["events"]
    receipts = next(e["content"] for e in ephemeral if e["type"] == "m.receipt")
    assert bob.user_id in receipts[second]["m.read"]


async def test_a_conversation_marked_unread_is_so_until_it_is_read(alice: ApiUser) -> None:
    room_id = await a_group(alice)
    path = f"/user/{alice.user_id}/rooms/{room_id}/account_data/m.marked_unread"

    await alice.post(f"/conversations/{room_id}/unread")
    marked = await alice.matrix("GET", path)
    await alice.post(f"/conversations/{room_id}/read")
    after = await alice.matrix("GET", path)

    assert (marked, after) == ({"unread": True}, {"unread": False})


async def test_a_message_viewed_once_is_gone_once_it_was_read(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await say(alice, room_id, "psst", view_once=True)
    path = f"/conversations/{room_id}/messages/{message_id}"

    before = await bob.get(path)
    await bob.post(f"/conversations/{room_id}/read", {"message_id": message_id})
    await until_gone(bob, path)

    assert (before["text"], before["view_once"]) == ("psst", True)


async def until_gone(user: ApiUser, path: str) -> None:
    """Wait until a message is not shown any more, or shown as deleted."""
    for _ in range(600):
        async with user.instance.client.get(
            f"/api/v1{path}", headers={"Authorization": f"Bearer {user.token}"}
        ) as response:
            if response.status == 404 or "deleted" in await response.json():
                return
        await asyncio.sleep(0.05)
    raise AssertionError("it is still there")


async def test_typing_is_seen_by_matrix_clients(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)

    await alice.call("PUT", f"/conversations/{room_id}/typing", {"typing": True})

    ephemeral = (await bob.matrix("GET", "/sync"))["rooms"]["join"][room_id]["ephemeral"]["events"]
    (typing,) = [event["content"] for event in ephemeral if event["type"] == "m.typing"]
    assert typing == {"user_ids": [alice.user_id]}
