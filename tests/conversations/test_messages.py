"""Messages over HTTP: what is sent through the API shows in Matrix, and the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeserver.storage import relations
from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser, new_user
from tests.conversations.messages import a_group, matrix_event, say, texts
from tests.integration.single import running
from tests.integration.test_policy_and_consent import rule


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


async def test_a_message_deleted_while_it_is_read_says_who_deleted_it(
    alice: ApiUser, bob: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await a_group(alice, bob)
    path = f"/conversations/{room_id}/messages/{await say(bob, room_id, 'rude')}"
    get_kinds = relations.get_kinds

    async def delete_and_get_kinds(*args: Any) -> Any:
        monkeypatch.setattr(relations, "get_kinds", get_kinds)
        await alice.call("DELETE", path)
        return await get_kinds(*args)

    monkeypatch.setattr(relations, "get_kinds", delete_and_get_kinds)
    message = await bob.get(path)

    assert "text" not in message
    assert message["deleted"]["by"] == alice.address


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
