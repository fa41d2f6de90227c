"""Messages that end by themselves, in a room that spans two servers."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from .conftest import Pair, meet
from .person import Event, Person

PATIENCE_SECONDS = 60.0
VERSION = "12"


def lasting(ms: int, start: str = "sent") -> Mapping[str, Any]:
    return {
        "msgtype": "m.text",
        "body": "a secret",
        "dev.comity.expires": {"after_ms": ms, "from": start},
    }


ONCE = {"msgtype": "m.text", "body": "a secret", "dev.comity.view_once": True}


async def _sees_redaction(person: Person, room_id: str, event_id: str) -> Event:
    def redacts(event: Event) -> bool:
        return event["type"] == "m.room.redaction" and event_id in (
            event.get("redacts"),
            event["content"].get("redacts"),
        )

    return await person.sees(room_id, redacts, f"{event_id} redacted", PATIENCE_SECONDS)


async def _redacted(person: Person, room_id: str, event_id: str) -> Event:
    """The event, once the person's server has it redacted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            event = await person.event(room_id, event_id)
            if event["content"] == {}:
                return event
            await asyncio.sleep(0.1)


async def test_an_expired_message_is_redacted_on_both_sides(pair: Pair) -> None:
    """The sender's Comity sends a redaction, which any server follows."""
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)

    sent = await alice.send(room_id, lasting(2_000))
    await bob.sees_text(room_id, "a secret")

    for person in (alice, bob):
        redaction = await _sees_redaction(person, room_id, sent)
        assert (redaction["sender"], redaction["content"]["reason"]) == (alice.user_id, "expired")
        assert "redacted_because" in (await _redacted(person, room_id, sent))["unsigned"]


async def test_a_timer_starts_when_the_other_side_has_read(pair: Pair) -> None:
    """A receipt from elsewhere starts the timer on the sender's instance."""
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    sent = await alice.send(room_id, lasting(1_000, "read"))
    await bob.sees_event(room_id, sent)

    await bob.read(room_id, sent)

    for person in (alice, bob):
        await _sees_redaction(person, room_id, sent)
        await _redacted(person, room_id, sent)


async def test_what_is_seen_once_on_the_other_side_ends_for_all(pair: Pair) -> None:
    """Alone with Alice in the room, Bob is the last to see it."""
    alice, bob = pair.alice, pair.bob
    room_id = await meet(alice, bob, VERSION)
    sent = await alice.send(room_id, ONCE)
    await bob.sees_event(room_id, sent)
    assert (await alice.event(room_id, sent))["content"]["body"] == "a secret"

    await bob.read(room_id, sent)

    for person in (alice, bob):
        await _sees_redaction(person, room_id, sent)
        await _redacted(person, room_id, sent)


async def test_each_comity_ends_its_own_copy(pair: Pair) -> None:
    """The sender's instance is dead when the time comes; it makes up for it when it is back."""
    alice, bob = pair.alice, pair.bob
    if pair.name != "comity-comity":
        pytest.skip("needs two Comitys")
    room_id = await meet(alice, bob, VERSION)
    sent = await alice.send(room_id, lasting(3_000))
    await bob.sees_event(room_id, sent)

    await alice.server.kill_async()

    ended = await _redacted(bob, room_id, sent)
    assert ended["unsigned"]["redacted_because"]["content"]["reason"] == "expired"
    assert not any(e["type"] == "m.room.redaction" for e in bob.timelines[room_id])
    await alice.server.start_async()
    redaction = await _sees_redaction(bob, room_id, sent)
    await _redacted(alice, room_id, sent)
    await bob.send(room_id, "the end")
    await alice.sees_text(room_id, "the end")
    redactions = [e for e in bob.timelines[room_id] if e["type"] == "m.room.redaction"]
    assert redactions == [redaction]
