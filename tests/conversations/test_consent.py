"""Consent and message requests, over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversations.conftest import ApiUser, new_user
from tests.integration.single import Instance


async def invite(sender: ApiUser, recipient: ApiUser, *, status: int = 200) -> str:
    body = {"is_direct": True, "invite": [recipient.user_id], "preset": "trusted_private_chat"}
    answer = await sender.matrix("POST", "/createRoom", body, status=status)
    room_id: str = answer.get("room_id", "")
    return room_id


# ---------------------------------------------------------------- answers


async def test_a_preset_sets_what_people_are_answered(alice: ApiUser) -> None:
    before = await alice.get("/consent")

    after = await alice.call("PUT", "/consent", {"preset": "ask"})
    matrix = await alice.matrix("GET", "/_comity/client/v1/consent")

    assert before["scopes"]["message"]["preset"] == "open"
    assert {after["scopes"][scope]["preset"] for scope in ("message", "group", "call")} == {"ask"}
    assert after["scopes"]["presence"]["preset"] == "open"
    assert after["scopes"]["message"]["answers"]["stranger"] == "ask"
    assert matrix["scopes"]["message"]["preset"] == "ask"
    assert before["other_instances"] == {"allowed": False, "required": True, "may_change": True}


async def test_answers_are_set_for_some_kinds_of_people(alice: ApiUser) -> None:
    path = "/consent/scopes/group"

    after = await alice.call("PUT", path, {"answers": {"stranger": "block"}})
    await alice.call("PUT", path, {}, status=400)
    await alice.call("PUT", path, {"answers": {"friend": "block"}}, status=422)
    await alice.call("PUT", "/consent/scopes/hugs", {"preset": "ask"}, status=400)

    assert after["scopes"]["group"]["answers"]["stranger"] == "block"
    assert after["scopes"]["group"]["answers"]["contact"] == "allow"
    assert after["scopes"]["group"]["preset"] is None


async def test_single_peers_are_granted_denied_and_forgotten(alice: ApiUser, bob: ApiUser) -> None:
    grants = "/consent/grants"
    until = "2035-01-01T00:00:00+01:00"

    denied = await alice.call("PUT", f"{grants}/message/{bob.address}", {"state": "denied"})
    await alice.call("PUT", f"{grants}/federation/*", {"state": "granted"})
    timed = await alice.call(
        "PUT", f"{grants}/media/two.test", {"state": "granted", "expires_at": until}
    )
    await invite(bob, alice, status=403)
    listed = await alice.get(grants)
    first = await alice.get(f"{grants}?limit=2")
    rest = await alice.get(f"{grants}?limit=2&cursor={first['next']}")
    of_bob = await alice.get(f"{grants}?peer={bob.address}")
    of_media = await alice.get(f"{grants}?scope=media")
    await alice.call("DELETE", f"{grants}/message/{bob.address}")
    await invite(bob, alice)
    history = await alice.get("/consent/history")

    assert (denied["peer"], denied["state"], denied["how"]) == ("bob@one.test", "denied", "api")
    assert timed["expires_at"] == "2034-12-31T23:00:00.000Z"
    assert [item["peer"] for item in listed["items"]] == ["*", "bob@one.test", "two.test"]
    assert first["items"] + rest["items"] == listed["items"]
    assert [item["scope"] for item in of_bob["items"]] == ["message"]
    assert [item["peer"] for item in of_media["items"]] == ["two.test"]
    assert (await alice.get("/consent"))["other_instances"]["allowed"] is True
    assert [(item["peer"], item["state"]) for item in history["items"]] == [
        ("bob@one.test", "cleared"),
        ("two.test", "granted"),
        ("*", "granted"),
        ("bob@one.test", "denied"),
    ]
    assert history["items"][0]["by"] == "alice@one.test"


async def test_the_history_comes_in_parts(alice: ApiUser) -> None:
    for number in range(5):
        await alice.call("PUT", f"/consent/grants/call/u{number}@two.test", {"state": "denied"})

    first = await alice.get("/consent/history?limit=3")
    rest = await alice.get(f"/consent/history?limit=3&cursor={first['next']}")

    assert [item["peer"][1] for item in first["items"] + rest["items"]] == ["4", "3", "2", "1", "0"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("hugs/bob@one.test", {"state": "granted"}, 400),
        ("message/alice@one.test", {"state": "granted"}, 400),
        ("federation/bob@one.test", {"state": "granted"}, 400),
        ("message/b b", {"state": "granted"}, 400),
        ("message/bob@one.test", {"state": "perhaps"}, 422),
        ("message/bob@one.test", {}, 422),
        ("message/bob@one.test", {"state": "granted", "expires_at": "2001-01-01T00:00:00Z"}, 400),
        ("message/bob@one.test", {"state": "granted", "expires_at": "soon"}, 400),
    ],
)
async def test_bad_grants_are_refused(alice: ApiUser, path: str, body: Any, status: int) -> None:
    await alice.call("PUT", f"/consent/grants/{path}", body, status=status)


async def test_one_may_ask_whether_somebody_takes_messages(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    open_ = await alice.get(f"/people/{bob.address}/consent")
    await bob.call("PUT", "/consent", {"preset": "closed"})
    closed = await alice.get(f"/people/{bob.address}/consent")
    ghost = await alice.get("/people/ghost@one.test/consent")
    elsewhere = await alice.get("/people/bob@two.test/consent", status=403)

    assert open_["answer"] == "granted"
    assert closed["answer"] == ghost["answer"] == "not_given"
    assert elsewhere["code"] == "consent_required"
    assert elsewhere["consent_url"].startswith("http")


# ---------------------------------------------------------------- requests


async def test_a_request_is_accepted_and_its_conversation_joined(
    alice: ApiUser, bob: ApiUser
) -> None:
    await alice.call("PUT", "/consent", {"preset": "ask"})
    await bob.call("PATCH", "/me", {"name": "Rude Words"})
    room_id = await invite(bob, alice)

    waiting = await alice.get("/requests")
    assert await alice.get(f"/requests/{bob.address}") == waiting["items"][0]
    accepted = await alice.post(f"/requests/{bob.address}/accept", {})
    joined = await alice.matrix("GET", "/joined_rooms")

    (request,) = waiting["items"]
    assert request["person"] == {
        "address": "bob@one.test",
        "name": None,
        "avatar": None,
        "is_local": True,
    }
    assert (request["conversation_id"], request["kind"]) == (room_id, "direct")
    assert request["relation"] == "known_server"
    assert accepted["state"] == "accepted"
    assert accepted["relation"] == "contact"
    assert accepted["person"]["name"] == "Rude Words"
    assert joined["joined_rooms"] == [room_id]
    assert (await alice.get("/requests"))["items"] == []
    assert len((await alice.get("/requests?state=accepted"))["items"]) == 1
    assert [c["person"]["address"] for c in (await alice.get("/contacts"))["items"]] == [
        "bob@one.test"
    ]


async def test_a_request_may_be_accepted_without_joining(alice: ApiUser, bob: ApiUser) -> None:
    await alice.call("PUT", "/consent", {"preset": "ask"})
    await invite(bob, alice)

    await alice.post(f"/requests/{bob.address}/accept", {"join": False})

    assert (await alice.matrix("GET", "/joined_rooms"))["joined_rooms"] == []


async def test_a_request_is_accepted_again_where_joining_failed(
    alice: ApiUser, bob: ApiUser
) -> None:
    await alice.call("PUT", "/consent", {"preset": "ask"})
    room_id = await invite(bob, alice)
    await alice.post(f"/requests/{bob.address}/accept", {"join": False})

    again = await alice.post(f"/requests/{bob.address}/accept", {})

    assert again["state"] == "accepted"
    assert (await alice.matrix("GET", "/joined_rooms"))["joined_rooms"] == [room_id]


@pytest.mark.parametrize(
    ("answer", "state"), [("decline", "declined"), ("block", "blocked"), ("report", "blocked")]
)
async def test_a_request_is_refused(
    instance: Instance, alice: ApiUser, bob: ApiUser, answer: str, state: str
) -> None:
    await alice.call("PUT", "/consent", {"preset": "ask"})
    await invite(bob, alice)

    body = {"reason": "advertising"} if answer == "report" else {}
    answered = await alice.post(f"/requests/{bob.address}/{answer}", body)

    assert answered["state"] == state
    assert answered["reported"] is (answer == "report")
    await invite(bob, alice, status=403)
    await alice.post(f"/requests/{bob.address}/accept", {}, status=404)


async def test_all_who_wait_are_answered_at_once(instance: Instance, alice: ApiUser) -> None:
    await alice.call("PUT", "/consent", {"preset": "ask"})
    others = [await new_user(instance, f"user{number}") for number in range(4)]
    rooms = [await invite(other, alice) for other in others]

    first = await alice.get("/requests?limit=3")
    last = await alice.get(f"/requests?limit=3&cursor={first['next']}")
    two = [others[0].address, others[1].user_id]
    some = await alice.post("/requests/answer", {"answer": "accept", "people": two})
    rest = await alice.post("/requests/answer", {"answer": "decline", "all": True})

    listed = [item["person"]["address"] for item in first["items"] + last["items"]]
    assert sorted(listed) == [other.address for other in others]
    assert last["next"] is None
    assert some["answered"] == 2
    assert sorted(some["joined"]) == sorted(rooms[:2])
    assert some["failed"] == []
    assert rest == {"answered": 2, "joined": [], "failed": []}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"answer": "accept"}, 400),
        ({"answer": "accept", "all": True, "instance": "one.test"}, 400),
        ({"answer": "accept", "instance": "no name"}, 400),
        ({"answer": "accept", "people": ["nonsense"]}, 400),
        ({"answer": "hug", "all": True}, 422),
        ({"all": True}, 422),
    ],
)
async def test_unclear_answers_are_refused(alice: ApiUser, body: Any, status: int) -> None:
    await alice.post("/requests/answer", body, status=status)


async def test_who_has_asked_for_nothing_is_not_found(alice: ApiUser, bob: ApiUser) -> None:
    await alice.get(f"/requests/{bob.address}", status=404)
    await alice.post(f"/requests/{bob.address}/accept", {}, status=404)


async def test_a_contact_that_is_added_is_let_in(alice: ApiUser, bob: ApiUser) -> None:
    await alice.call("PUT", "/consent", {"preset": "ask"})
    await invite(bob, alice)

    await alice.call("PUT", f"/contacts/{bob.address}", {})

    assert (await alice.get("/requests"))["items"] == []
