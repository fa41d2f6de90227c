"""The purge, with a clock that the test moves."""

from __future__ import annotations

import time
from typing import Any

import pytest

from homeserver.errors import NotFound
from homeserver.protocol.retention import RetentionLimits
from homeserver.services.caretaker import Caretaker
from homeserver.services.requester import Requester
from homeserver.services.retention import EVENTS_AT_ONCE, Retention
from tests.services.deleting import Deleting
from tests.services.reading_world import Client, ReadingWorld, bodies
from tests.services.test_timeline import messages

DAY = 24 * 3_600_000


class Purge:
    """A world's purge and its clock."""

    def __init__(self, world: ReadingWorld, **limits: int) -> None:
        self.now = time.time_ns() // 1_000_000
        database: Any = world.database
        self.retention = Retention(
            database=database,
            store=world.store,
            states=world.states,
            deletion=Deleting(world, lambda: self.now).deletion,
            limits=RetentionLimits(**limits),
            clock_ms=lambda: self.now,
        )
        self.caretaker = Caretaker(clock_ms=lambda: self.now)
        self.caretaker.add(self.retention)

    async def pass_time(self, ms: int) -> None:
        self.now += ms
        await self.caretaker.work_off()


async def room_of(alice: Client, **content: Any) -> str:
    """A room with a policy, if any."""
    room_id = await alice.world.room(alice.user_id, preset="public_chat")
    if content:
        await alice.set_state(room_id, "m.room.retention", content)
    return room_id


async def shown(alice: Client, room_id: str) -> list[str]:
    """The texts of a room by ``/messages``, the oldest first."""
    page = await messages(alice, room_id, limit=100)
    return [e["content"]["body"] for e in reversed(page["chunk"]) if "body" in e["content"]]


async def test_old_messages_go_and_new_ones_and_state_stay(world: ReadingWorld) -> None:
    alice = await world.client("alice")
    room_id = await room_of(alice, max_lifetime=DAY)
    old = await alice.say(room_id, "old")
    purge = Purge(world)
    await alice.say(room_id, "the last one before the break")

    await purge.pass_time(2 * DAY)

    assert await shown(alice, room_id) == ["the last one before the break"]
    with pytest.raises(NotFound):
        await world.reading.timeline.event(
            Requester(alice.user_id, alice.device_id), room_id, old.event.event_id
        )
    row = await world.database.fetchrow(
        "SELECT pdu, erased FROM events WHERE event_id = $1", old.event.event_id
    )
    assert row["erased"] == "retention"
    assert b'"body"' not in row["pdu"]
    assert b'"hashes"' in row["pdu"]
    part = await alice.joined(room_id)
    assert bodies(part) == ["the last one before the break"]
    state = {e["type"] for e in part["state"]["events"]} | {
        e["type"] for e in part["timeline"]["events"]
    }
    assert {"m.room.create", "m.room.member", "m.room.power_levels"} <= state


async def test_the_room_goes_on_after_a_purge(world: ReadingWorld) -> None:
    alice = await world.client("alice")
    room_id = await room_of(alice, max_lifetime=DAY)
    for number in range(EVENTS_AT_ONCE + 20):
        await alice.say(room_id, f"old {number}")
    purge = Purge(world)

    await purge.pass_time(2 * DAY)
    await alice.say(room_id, "new")

    assert await shown(alice, room_id) == [f"old {EVENTS_AT_ONCE + 19}", "new"]


async def test_the_admins_limits_go_before_the_rooms_wish(world: ReadingWorld) -> None:
    alice = await world.client("alice")
    hasty = await room_of(alice, max_lifetime=1000)
    patient = await room_of(alice, max_lifetime=100 * DAY)
    silent = await room_of(alice)
    for room_id in (hasty, patient, silent):
        await alice.say(room_id, "old")
        await alice.say(room_id, "end")
    purge = Purge(world, least=DAY, most=10 * DAY, default=5 * DAY)

    await purge.pass_time(DAY // 2)
    assert [await shown(alice, r) for r in (hasty, patient, silent)] == [["old", "end"]] * 3
    await purge.pass_time(DAY)
    assert [await shown(alice, r) for r in (hasty, patient, silent)] == [
        ["end"],
        ["old", "end"],
        ["old", "end"],
    ]
    await purge.pass_time(5 * DAY)
    assert await shown(alice, silent) == ["end"]
    await purge.pass_time(5 * DAY)
    assert await shown(alice, patient) == ["end"]


async def test_without_a_policy_nothing_is_read_twice_and_nothing_goes(world: ReadingWorld) -> None:
    alice = await world.client("alice")
    room_id = await room_of(alice)
    await alice.say(room_id, "old")
    await alice.say(room_id, "end")

    await Purge(world).pass_time(1000 * DAY)

    assert await shown(alice, room_id) == ["old", "end"]


async def test_what_was_purged_does_not_come_back_with_history(world: ReadingWorld) -> None:
    alice = await world.client("alice")
    room_id = await room_of(alice, max_lifetime=DAY)
    old = await alice.say(room_id, "old")
    await alice.say(room_id, "end")
    await Purge(world).pass_time(2 * DAY)

    await world.arrivals.receive(old.event)

    stored = await world.store.get(old.event.event_id)
    assert stored is not None
    assert (stored.shown, stored.event.content) == (False, {})
    assert await shown(alice, room_id) == ["end"]


async def test_clients_are_told_the_policies(world: ReadingWorld) -> None:
    bare, limited = Purge(world), Purge(world, default=7, least=2, most=5)

    assert bare.retention.configuration() == {"policies": {"*": {}}, "limits": {}}
    assert limited.retention.configuration() == {
        "policies": {"*": {"max_lifetime": 5}},
        "limits": {"max_lifetime": {"min": 2, "max": 5}},
    }
