"""Calls over HTTP: through the API and through Matrix, and from one to the other."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser, new_user
from tests.conversations.matrix import make_room, say
from tests.conversations.sockets import connected
from tests.integration.single import Instance, running

OFFER = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
VIDEO = OFFER + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
ANSWER = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"


@pytest.fixture
async def room_id(alice: ApiUser, bob: ApiUser) -> str:
    return await make_room(alice, bob, is_direct=True)


async def ring(caller: ApiUser, room_id: str, **more: Any) -> Any:
    body = {"conversation_id": room_id, "media": "audio", "offer": {"sdp": OFFER}, **more}
    return await caller.post("/calls", body, status=201)


async def call_event(person: ApiUser, room_id: str, kind: str, **content: Any) -> str:
    """Send a call event as a Matrix client does."""
    body = {"call_id": "c1", "party_id": "phone", "version": "1", **content}
    path = f"/rooms/{room_id}/send/m.call.{kind}/{kind}{content.get('call_id', '')}"
    event_id: str = (await person.matrix("PUT", path, body))["event_id"]
    return event_id


async def call_events(person: ApiUser, room_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The call events that a Matrix client sees, in order: without ``m.call.``."""
    page = await person.matrix("GET", f"/rooms/{room_id}/messages?dir=f&limit=100")
    return [
        (event["type"].removeprefix("m.call."), event["content"])
        for event in page["chunk"]
        if event["type"].startswith("m.call.")
    ]


async def settled(instance: Instance) -> None:
    """Wait until what follows calls has done its work."""
    keeper = instance.wiring.conversations.call_parts.keeper
    while keeper.is_busy:
        await keeper.caught_up()


async def test_a_call_is_rung_answered_and_ended(
    instance: Instance, alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    call = await ring(alice, room_id)
    seen = await bob.get(f"/calls/{call['id']}")
    answered = await bob.post(f"/calls/{call['id']}/answer", {"answer": {"sdp": ANSWER}})
    await settled(instance)
    active = await alice.get(f"/calls/{call['id']}")
    ended = await bob.post(f"/calls/{call['id']}/end", {})
    again = await alice.post(f"/calls/{call['id']}/end", {"reason": "error"})

    assert (call["state"], call["media"], call["person"]) == ("ringing", "audio", bob.address)
    assert seen["offer"] == {"type": "offer", "sdp": OFFER}
    assert (answered["state"], answered["answered_by"]) == ("active", bob.address)
    assert active["answer"] == {"type": "answer", "sdp": ANSWER}
    assert (ended["state"], ended["end_reason"], ended["ended_by"]) == (
        "ended",
        "hung_up",
        bob.address,
    )
    assert ended["duration_ms"] >= 0
    assert "offer" not in ended
    assert again == ended


async def test_a_matrix_client_sees_a_call_of_the_api_and_answers_it(
    instance: Instance, alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    call = await ring(alice, room_id, media="video", offer={"type": "offer", "sdp": VIDEO})
    kind, invite = (await call_events(bob, room_id))[0]
    answer = {"answer": {"type": "answer", "sdp": ANSWER}}
    await call_event(bob, room_id, "answer", call_id=invite["call_id"], **answer)
    await settled(instance)
    active = await alice.get(f"/calls/{call['id']}")
    await alice.post(
        f"/calls/{call['id']}/candidates",
        {"candidates": [{"candidate": "candidate:1", "sdpMid": "0", "sdpMLineIndex": 0}]},
    )
    await call_event(bob, room_id, "hangup", call_id=invite["call_id"], reason="user_hangup")
    ended = await alice.get(f"/calls/{call['id']}")

    assert kind == "invite"
    assert invite["version"] == "1"
    assert invite["offer"] == {"type": "offer", "sdp": VIDEO}
    assert (invite["invitee"], invite["lifetime"]) == (bob.user_id, 90_000)
    assert (active["state"], active["answered_device"]) == ("active", "phone")
    assert active["answer"]["sdp"] == ANSWER
    events = await call_events(bob, room_id)
    assert [name for name, _ in events] == [
        "invite",
        "answer",
        "select_answer",
        "candidates",
        "hangup",
    ]
    assert events[2][1]["selected_party_id"] == "phone"
    assert events[2][1]["party_id"] == invite["party_id"] == events[3][1]["party_id"]
    assert (ended["state"], ended["ended_by"]) == ("ended", bob.address)


async def test_the_api_answers_a_call_of_a_matrix_client(
    alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    offer = {"offer": {"type": "offer", "sdp": OFFER}, "lifetime": 60_000}
    await call_event(alice, room_id, "invite", **offer)
    (call,) = (await bob.get(f"/calls?conversation_id={room_id}"))["items"]

    answered = await bob.post(f"/calls/{call['id']}/answer", {"answer": {"sdp": ANSWER}})
    await call_event(alice, room_id, "hangup", reason="ice_failed")
    failed = await bob.get(f"/calls/{call['id']}")

    assert call["state"] == "ringing"
    assert answered["state"] == "active"
    (_, answer) = (await call_events(alice, room_id))[1]
    assert (answer["call_id"], answer["version"]) == ("c1", "1")
    assert answer["answer"] == {"type": "answer", "sdp": ANSWER}
    assert answer["party_id"] == answered["answered_device"]
    assert (failed["state"], failed["end_reason"]) == ("failed", "connection_failed")


async def test_a_call_is_declined(
    instance: Instance, alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    call = await ring(alice, room_id)
    declined = await bob.post(f"/calls/{call['id']}/decline")
    late = await bob.post(f"/calls/{call['id']}/answer", {"answer": {"sdp": ANSWER}}, status=409)
    await settled(instance)

    assert (declined["state"], declined["end_reason"]) == ("declined", "declined")
    assert "duration_ms" not in declined
    assert late["code"] == "call_over"
    assert [name for name, _ in await call_events(alice, room_id)] == [
        "invite",
        "reject",
        "select_answer",
    ]


async def test_of_two_devices_the_first_has_the_call(
    alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    call = await ring(alice, room_id)
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "bob"},
        "password": "sesame",
    }
    token = (await bob.matrix("POST", "/login", login))["access_token"]
    tablet = ApiUser(bob.instance, "bob", token)
    body = {"answer": {"sdp": ANSWER}}
    first = await bob.post(f"/calls/{call['id']}/answer", body)

    second = await tablet.post(f"/calls/{call['id']}/answer", body, status=409)

    assert second["code"] == "call_answered"
    assert (await tablet.get(f"/calls/{call['id']}"))["answered_device"] == first["answered_device"]


async def test_who_stops_ringing_leaves_a_missed_call(
    alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    call = await ring(alice, room_id)
    missed = await alice.post(f"/calls/{call['id']}/end", {})

    assert (missed["state"], missed["end_reason"]) == ("missed", "cancelled")
    assert (await bob.get("/calls"))["items"] == [missed]


async def test_what_nobody_answers_is_ended_by_the_callers_instance(
    instance: Instance, database: Database, alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    call = await ring(alice, room_id, ring_seconds=10)
    await database.execute("UPDATE calls SET rings_until = started_at")

    before = await bob.get(f"/calls/{call['id']}")
    await instance.wiring.ends.work_off()
    after = await bob.get(f"/calls/{call['id']}")

    assert (before["state"], before["end_reason"]) == ("missed", "no_answer")
    assert (after["state"], after["end_reason"]) == ("missed", "no_answer")
    (_, hangup) = (await call_events(bob, room_id))[-1]
    assert hangup["reason"] == "invite_timeout"
    assert not await instance.wiring.conversations.call_parts.keeper.step()


async def test_history_has_all_calls_in_pages_and_only_those_one_may_see(
    instance: Instance, alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    carol = await new_user(instance, "carol")
    for number in range(3):
        offer = {"offer": {"type": "offer", "sdp": OFFER}, "lifetime": 60_000}
        await call_event(alice, room_id, "invite", call_id=f"n{number}", **offer)

    page = await bob.get("/calls?limit=2")
    rest = await bob.get(f"/calls?limit=2&cursor={page['next']}")
    others = await carol.get("/calls")
    hidden = await carol.get(f"/calls/{page['items'][0]['id']}", status=404)
    nowhere = await carol.get(f"/calls?conversation_id={room_id}", status=404)

    assert len(page["items"]) == 2
    assert len(rest["items"]) == 1
    assert rest["next"] is None
    assert others["items"] == []
    assert hidden["code"] == nowhere["code"] == "not_found"


async def test_strangers_to_a_call_cannot_meddle_with_it(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(instance, "carol")
    room_id = await make_room(alice, bob, carol)
    unnamed = {"conversation_id": room_id, "media": "audio", "offer": {"sdp": OFFER}}
    refused = await alice.post("/calls", unnamed, status=400)
    call = await ring(alice, room_id, person=bob.address)
    answer = {"answer": {"sdp": ANSWER}}

    not_hers = await carol.post(f"/calls/{call['id']}/answer", answer, status=403)
    not_to_end = await carol.post(f"/calls/{call['id']}/end", {}, status=403)
    invite = (await call_events(carol, room_id))[0][1]
    forged = {"call_id": invite["call_id"], "party_id": invite["party_id"]}
    await call_event(carol, room_id, "hangup", **forged, reason="user_hangup")
    await call_event(carol, room_id, "reject", **forged)
    answered = {"answer": {"type": "answer", "sdp": ANSWER}}
    await call_event(carol, room_id, "answer", **forged, **answered)

    assert refused["code"] == "invalid_parameter"
    assert not_hers["code"] == not_to_end["code"] == "forbidden"
    assert (await bob.get(f"/calls/{call['id']}"))["state"] == "ringing"


async def test_nobody_is_called_who_has_not_come_into_the_conversation(
    alice: ApiUser, bob: ApiUser
) -> None:
    body = {"to": bob.address, "media": "audio", "offer": {"sdp": OFFER}}

    early = await alice.post("/calls", body, status=409)
    await bob.post("/messages", {"to": alice.address, "text": "hi"}, status=201)
    call = await alice.post("/calls", body, status=201)

    assert early["code"] == "not_in_conversation"
    assert call["person"] == bob.address


async def test_who_wants_no_calls_is_not_rung(alice: ApiUser, bob: ApiUser, room_id: str) -> None:
    await bob.call("PUT", f"/consent/grants/call/{alice.address}", {"state": "denied"})
    async with connected(bob) as socket:
        call = await ring(alice, room_id)
        await say(alice, room_id, "pick up")
        update = await socket.next()

    assert update["type"] == "message.created"
    hidden = await bob.get(f"/calls/{call['id']}", status=404)

    assert hidden["code"] == "not_found"
    assert (await bob.get("/calls"))["items"] == []


async def test_a_deleted_call_leaves_the_history(
    alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    call = await ring(alice, room_id)
    await alice.call("DELETE", f"/conversations/{room_id}/messages/{call['message_id']}")

    assert (await bob.get("/calls"))["items"] == []
    assert (await bob.get(f"/calls/{call['id']}", status=404))["code"] == "not_found"


async def test_who_leaves_a_conversation_leaves_its_call(
    instance: Instance, alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    call = await ring(alice, room_id)
    await bob.post(f"/calls/{call['id']}/answer", {"answer": {"sdp": ANSWER}})
    await bob.matrix("POST", f"/rooms/{room_id}/leave", {})
    await settled(instance)

    ended = await alice.get(f"/calls/{call['id']}")

    assert (ended["state"], ended["ended_by"]) == ("ended", bob.address)


async def test_bad_calls_are_problems(alice: ApiUser, bob: ApiUser, room_id: str) -> None:
    bad = {"conversation_id": room_id, "media": "video", "offer": {"sdp": OFFER}}
    call = await ring(alice, room_id)
    path = f"/calls/{call['id']}"

    assert (await alice.post("/calls", bad, status=400))["code"] == "invalid_parameter"
    own = await alice.post(f"{path}/answer", {"answer": {"sdp": ANSWER}}, status=403)
    odd = await alice.post(f"{path}/candidates", {"candidates": [{"x": 1}]}, status=400)
    gone = await alice.get("/calls/call_nothing", status=404)

    assert own["code"] == "forbidden"
    assert odd["code"] == "invalid_parameter"
    assert gone["code"] == "not_found"


async def test_relays_get_credentials_that_they_can_check(
    database: Database, tmp_path: Path
) -> None:
    uris = ["turn:turn.example.com:3478?transport=udp"]
    voip = {"turn_uris": uris, "turn_shared_secret": "s3cret", "turn_ttl": "2h"}
    async with running(database, tmp_path, voip=voip) as instance:
        alice = await new_user(instance, "alice")

        (server,) = (await alice.get("/calls/turn"))["items"]
        matrix = await alice.matrix("GET", "/voip/turnServer")

    for username, password in (
        (server["username"], server["credential"]),
        (matrix["username"], matrix["password"]),
    ):
        expires, _, name = username.partition(":")
        digest = hmac.new(b"s3cret", username.encode(), hashlib.sha1).digest()
        assert password == base64.b64encode(digest).decode()
        assert name == alice.user_id
        assert int(expires) > 1_700_000_000
    assert server["urls"] == matrix["uris"] == uris
    assert matrix["ttl"] == 7_200


async def test_without_relays_there_are_no_credentials(alice: ApiUser) -> None:
    assert (await alice.get("/calls/turn"))["items"] == []
    refused = await alice.matrix("GET", "/voip/turnServer", status=404)
    assert refused["errcode"] == "M_NOT_FOUND"


async def test_devices_are_told_live_and_again_the_same(
    instance: Instance, alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    candidates = [{"candidate": "candidate:1 1 UDP", "sdpMid": "0"}]
    async with connected(bob) as socket:
        since = socket.welcome["position"]
        call = await ring(alice, room_id)
        ringing = await socket.next()
        path = f"/calls/{call['id']}"
        await alice.post(f"{path}/candidates", {"candidates": candidates})
        await bob.post(f"{path}/answer", {"answer": {"sdp": ANSWER}})
        await alice.post(f"{path}/end", {})
        told = [ringing, *[await socket.next() for _ in range(3)]]
        again = await ring(alice, room_id)
        await bob.post(f"/calls/{again['id']}/decline")
        told += [await socket.next() for _ in range(2)]
    async with connected(bob, since) as socket:
        replayed = [await socket.next() for _ in told]

    assert [update["type"] for update in told] == [
        "call.ringing",
        "call.candidates",
        "call.answered",
        "call.ended",
        "call.ringing",
        "call.declined",
    ]
    assert ringing["call"] == call
    assert ringing["message"]["call"]["id"] == call["id"]
    assert ringing["message"]["id"] == call["message_id"]
    assert told[1]["candidates"] == candidates
    assert told[1]["device"] == call["device"]
    assert told[2]["answer"] == {"type": "answer", "sdp": ANSWER}
    assert {update["call_id"] for update in told[1:4]} == {call["id"]}
    assert told[3]["reason"] == "hung_up"
    assert replayed == told


async def test_a_call_shows_in_the_messages_of_the_conversation(
    alice: ApiUser, bob: ApiUser, room_id: str
) -> None:
    call = await ring(alice, room_id)

    page = await bob.get(f"/conversations/{room_id}/messages?system=false")

    (message,) = page["items"]
    assert (message["kind"], message["call"]["id"]) == ("call", call["id"])
