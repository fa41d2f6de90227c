"""Messages between two servers: Alice's is a Comity, and she uses the Conversations API; Bob has a
stock client.  What one does the other sees."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homeserver.services.conversations.shapes.people import address

from .conftest import Pair, meet, strangers
from .person import Person, Refused
from .test_delivery import api, say

PATIENCE_SECONDS = 60.0
VERSION = "12"
TEXT = "org.matrix.msc1767.text"


async def until(
    person: Person, path: str, is_so: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """What the API answers, once it is so."""
    answer: dict[str, Any] = {}
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answer = await api(person, "GET", path)
                if is_so(answer):
                    return answer
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"it never became so: {answer}") from None


async def accepts(person: Person, room_id: str) -> None:
    """Join, once the invite has come."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await person.join(room_id)
                return
            except Refused:
                await asyncio.sleep(0.2)


async def test_a_message_to_an_address_elsewhere_finds_its_way(pair: Pair, tmp_path: Path) -> None:
    """The conversation is made, the recipient is asked, and answers; there is one conversation."""
    async with strangers(pair, tmp_path) as (alice, bob):
        await _finds_its_way(alice, bob)


async def _finds_its_way(alice: Person, bob: Person) -> None:
    first = await api(
        alice, "POST", "/messages", {"to": address(bob.user_id), "text": "hello"}, status=201
    )
    room_id = first["conversation"]["id"]
    await accepts(bob, room_id)
    await alice.sees_membership(room_id, bob, "join")
    answer = await bob.send(room_id, "hello Alice")
    path = f"/conversations/{room_id}/messages"
    page = await until(
        alice, path, lambda page: any(item["id"] == answer for item in page["items"])
    )
    second = await api(
        alice, "POST", "/messages", {"to": address(bob.user_id), "text": "again"}, status=201
    )
    await bob.sees_text(room_id, "again")

    assert (first["outcome"], first["conversation"]["created"]) == ("requested", True)
    assert (second["outcome"], second["conversation"]["id"]) == ("sent", room_id)
    texts = [item["text"] for item in page["items"] if item["kind"] == "text"]
    assert texts == ["hello Alice", "hello"]
    assert page["items"][0]["sender"] == address(bob.user_id)


async def test_every_kind_can_be_read_by_any_client(pair: Pair) -> None:
    """What Matrix has no type for is a text beside its parts."""
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    path = f"/conversations/{room_id}/messages"
    bodies: list[tuple[dict[str, Any], str]] = [
        ({"text": "*strong*", "format": "markdown"}, "*strong*"),
        ({"kind": "location", "location": {"latitude": 1.5, "longitude": 2}}, "1.5000000"),
        ({"kind": "contact", "contact": {"name": "Carol", "phones": ["+49 1"]}}, "Carol\n+49 1"),
        (
            {"kind": "event", "event": {"title": "Tea", "starts_at": "2026-12-01T12:00:00Z"}},
            "Tea\n2026-12-01 12:00 UTC",
        ),
    ]

    for body, text in bodies:
        sent = await api(alice, "POST", path, body, status=201)
        event = await bob.sees_event(room_id, sent["message"]["id"])
        assert text in event["content"]["body"]


async def test_what_is_said_of_a_message_crosses(pair: Pair) -> None:
    """Edits, reactions and deletions of a stock client show in the API, and the other way round."""
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    messages = f"/conversations/{room_id}/messages"
    message_id = await say(alice, room_id, "helo")
    await bob.sees_event(room_id, message_id)

    annotation = {"rel_type": "m.annotation", "event_id": message_id, "key": "👍"}
    reaction = await bob.send_event(room_id, "m.reaction", {"m.relates_to": annotation})
    reacted = await until(alice, f"{messages}/{message_id}", lambda m: "reactions" in m)
    await api(alice, "PATCH", f"{messages}/{message_id}", {"text": "hello"})
    edit = await bob.sees_text(room_id, "* hello")
    await bob.redact(room_id, reaction)
    await until(alice, f"{messages}/{message_id}", lambda m: "reactions" not in m)
    own = await bob.send(room_id, "slip")
    await until(alice, messages, lambda page: page["items"][0]["id"] == own)
    await bob.redact(room_id, own)
    gone = await until(alice, f"{messages}/{own}", lambda m: "deleted" in m)

    assert reacted["reactions"] == [{"key": "👍", "count": 1, "mine": False}]
    assert edit["content"]["m.new_content"]["body"] == "hello"
    assert gone["deleted"]["by"] == address(bob.user_id)


async def test_a_poll_is_voted_on_across(pair: Pair) -> None:
    """In the spelling that Element sends."""
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    poll = {"question": "When?", "choices": [{"id": "a", "text": "Now"}, {"id": "b", "text": "-"}]}
    body = {"kind": "poll", "poll": poll}
    sent = await api(alice, "POST", f"/conversations/{room_id}/messages", body, status=201)
    poll_id = sent["message"]["id"]
    path = f"/conversations/{room_id}/messages/{poll_id}"
    event = await bob.sees_event(room_id, poll_id)

    response = {
        "org.matrix.msc3381.poll.response": {"answers": ["a"]},
        "m.relates_to": {"rel_type": "m.reference", "event_id": poll_id},
    }
    await bob.send_event(room_id, "org.matrix.msc3381.poll.response", response)
    voted = await until(alice, path, lambda m: m["poll"].get("voters") == 1)
    await api(alice, "POST", f"{path}/close")
    await bob.sees(
        room_id, lambda e: e["type"] == "org.matrix.msc3381.poll.end", "the end", PATIENCE_SECONDS
    )

    assert event["type"] == "org.matrix.msc3381.poll.start"
    assert event["content"][TEXT] == "When?\n1. Now\n2. -"
    assert [choice["votes"] for choice in voted["poll"]["choices"]] == [1, 0]
