"""Calls and search between two servers: Alice's is a Comity, and she uses the Conversations API;
Bob has a stock client."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from homeserver.services.conversations.shapes.people import address

from .conftest import Pair, meet
from .person import Person
from .test_api_messages import PATIENCE_SECONDS, VERSION, until
from .test_delivery import api

OFFER = {"type": "offer", "sdp": "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"}
ANSWER = {"type": "answer", "sdp": "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"}


async def sees_call(person: Person, room_id: str, kind: str) -> dict[str, object]:
    """The content of the next event of a call, as a Matrix client gets it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            response = await person.client.room_messages(room_id, limit=20)
            for event in (each.source for each in getattr(response, "chunk", [])):
                if event["type"] == f"m.call.{kind}":
                    content: dict[str, object] = event["content"]
                    return content
            await asyncio.sleep(0.1)


async def test_a_stock_client_elsewhere_is_called_and_answers(pair: Pair) -> None:
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    body = {
        "conversation_id": room_id,
        "person": address(bob.user_id),
        "media": "audio",
        "offer": OFFER,
    }
    call = await api(alice, "POST", "/calls", body, status=201)
    path = f"/calls/{call['id']}"
    invite = await sees_call(bob, room_id, "invite")
    named = {"call_id": invite["call_id"], "party_id": "BOBPHONE", "version": "1"}
    await bob.send_event(room_id, "m.call.answer", {**named, "answer": ANSWER})
    active = await until(alice, path, lambda call: call["state"] == "active")
    selected = await sees_call(bob, room_id, "select_answer")
    await bob.send_event(room_id, "m.call.hangup", {**named, "reason": "user_hangup"})
    ended = await until(alice, path, lambda call: call["state"] == "ended")

    assert invite["offer"] == OFFER
    assert invite["invitee"] == bob.user_id
    assert active["answer"] == ANSWER
    assert selected["selected_party_id"] == "BOBPHONE"
    assert ended["ended_by"] == address(bob.user_id)


async def test_a_call_from_elsewhere_is_answered_through_the_api(pair: Pair) -> None:
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    named = {"call_id": "from-bob", "party_id": "BOBPHONE", "version": "1"}
    invite = {**named, "offer": OFFER, "lifetime": 60_000, "invitee": alice.user_id}
    await bob.send_event(room_id, "m.call.invite", invite)
    history = f"/calls?conversation_id={quote(room_id)}"
    page = await until(alice, history, lambda page: bool(page["items"]))
    path = f"/calls/{page['items'][0]['id']}"

    await api(alice, "POST", f"{path}/answer", {"answer": ANSWER})
    answer = await sees_call(bob, room_id, "answer")
    await api(alice, "POST", f"{path}/end", {})
    hangup = await sees_call(bob, room_id, "hangup")

    assert answer["answer"] == ANSWER
    assert answer["call_id"] == hangup["call_id"] == "from-bob"
    assert answer["party_id"] == hangup["party_id"]
    assert hangup["reason"] == "user_hangup"


async def test_what_was_said_elsewhere_is_found(pair: Pair) -> None:
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    event_id = await bob.send(room_id, "Grüße aus der Ferne")
    path = f"/search/messages?query=grusse&conversation_id={quote(room_id)}"

    nothing = await api(alice, "GET", f"/search/messages?query=fern%20&person={bob.user_id}")
    page = await until(alice, path.replace("grusse", "ferne"), lambda p: bool(p["items"]))

    assert nothing["items"] == []
    assert [item["message"]["id"] for item in page["items"]] == [event_id]
