"""Either side is killed in the middle of a conversation and catches up afterwards.

All room versions, and rooms made on either side, go through one outage together.
"""

import asyncio

import pytest

from .conftest import ROOM_VERSIONS, Pair, meet
from .person import Person

CATCH_UP_SECONDS = 90.0
MISSED = 25


async def _rooms(pair: Pair) -> list[str]:
    """A room per version and side; both people are in each."""
    return [
        await meet(host, guest, version)
        for version in ROOM_VERSIONS
        for host, guest in ((pair.alice, pair.bob), (pair.bob, pair.alice))
    ]


async def _speak(speaker: Person, rooms: list[str], prefix: str) -> list[str]:
    """Send the same few messages, one after another, in every room."""
    texts = [f"{prefix} {number} of {speaker}" for number in range(MISSED)]
    for text in texts:
        await asyncio.gather(*(speaker.send(room_id, text) for room_id in rooms))
    return texts


async def _hears(listener: Person, rooms: list[str], prefix: str, texts: list[str]) -> None:
    """Everything arrives in every room, exactly once and in order."""
    for room_id in rooms:
        await listener.sees_text(room_id, texts[-1], CATCH_UP_SECONDS)
        assert listener.texts(room_id, prefix) == texts


@pytest.mark.parametrize("side", ["first", "second"])
async def test_the_killed_side_catches_up(pair: Pair, side: str) -> None:
    """What was said while a server was down arrives there after its restart."""
    alice, bob = pair.alice, pair.bob
    away, present = (alice, bob) if side == "first" else (bob, alice)
    rooms = await _rooms(pair)
    before = await _speak(away, rooms, "before")
    await _hears(present, rooms, "before", before)

    await away.server.kill_async()
    missed = await _speak(present, rooms, "missed")
    await away.server.start_async()

    await _hears(away, rooms, "missed", missed)
    after = await _speak(away, rooms, "after")
    await _hears(present, rooms, "after", after)
    for room_id in rooms:  # nothing that came late came twice
        assert present.texts(room_id, "before") == before
        assert away.texts(room_id, "missed") == missed


@pytest.mark.parametrize("side", ["first", "second"])
async def test_the_queue_outlives_a_kill_of_the_sender(pair: Pair, side: str) -> None:
    """Both sides are killed: what the sender had answered is still delivered."""
    alice, bob = pair.alice, pair.bob
    sender, listener = (alice, bob) if side == "first" else (bob, alice)
    rooms = await _rooms(pair)

    await listener.server.kill_async()
    queued = await _speak(sender, rooms, "queued")
    await sender.server.kill_async()
    await listener.server.start_async()
    await sender.server.start_async()

    await _hears(listener, rooms, "queued", queued)
