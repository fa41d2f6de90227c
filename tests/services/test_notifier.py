"""Who is woken, and when."""

from __future__ import annotations

import asyncio

import pytest

from homeserver.services import notifier
from tests.services.reading_world import ReadingWorld


async def test_a_device_has_the_answer_to_its_send_before_its_sync_shows_the_event(
    world: ReadingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "SENDER_RESTS_SECONDS", 1.0)  # however slow the machine
    alice = await world.client("alice")
    room_id = await world.room(alice.user_id, preset="public_chat")
    await alice.joined(room_id)
    woken: list[str | None] = []

    async def wait(device_id: str | None) -> None:
        with world.reading.notifier.waiter(alice.user_id, device_id) as waiter:
            assert await waiter.wait(30)
        woken.append(device_id)

    waits = [asyncio.create_task(wait(device)) for device in (alice.device_id, "OTHER", None)]
    await asyncio.sleep(0)
    await alice.say(room_id, "hello")
    woken.append("answer")
    await asyncio.gather(*waits)

    assert woken[-1] == alice.device_id
    assert set(woken[:-1]) == {"OTHER", None, "answer"}


async def test_a_sync_that_comes_before_the_answer_to_a_send_waits_for_it(
    world: ReadingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "SENDER_RESTS_SECONDS", 100.0)
    alice = await world.client("alice")
    room_id = await world.room(alice.user_id, preset="public_chat")
    rest = world.reading.notifier.rest_seconds

    await alice.say(room_id, "hello")

    assert rest((alice.user_id, alice.device_id)) > 50
    assert rest((alice.user_id, "OTHER")) <= 0

    monkeypatch.setattr(notifier, "SENDER_RESTS_SECONDS", 0.0)
    assert rest((alice.user_id, alice.device_id)) <= 0
