"""Syncs in a room of another instance: entered with its state, its history fetched, forked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from homeserver.protocol.events import Event, build_event
from homeserver.protocol.filters import SyncFilter
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import Draft
from homeserver.services.sync_token import parse_timeline_token
from homeserver.storage import events as event_storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from tests.conftest import TestPostgres
from tests.services.reading_world import Client, ReadingWorld, bodies, state_of, types
from tests.services.room_world import RoomWorld
from tests.services.test_sync_property import Follower
from tests.services.test_timeline import messages


@pytest.fixture
async def theirs(postgres: TestPostgres) -> AsyncIterator[RoomWorld]:
    database = await Database.connect(await postgres.create_database(), min_size=1, max_size=4)
    world = RoomWorld(database, "two.example")
    await world.start()
    yield world
    await world.close()
    await database.close()


class Ours(ReadingWorld):
    """Our instance, which can fetch history from theirs."""

    theirs: RoomWorld
    room_id = ""

    async def backfill(self, room_id: str, limit: int) -> bool:
        """Place all of the history that we lack, oldest last."""
        rows = await self.theirs.database.fetch(
            "SELECT event_id FROM events WHERE room_id = $1 ORDER BY position DESC", room_id
        )
        found = await event_storage.get_events(
            self.theirs.database, [row["event_id"] for row in rows]
        )
        missing = [
            found[row["event_id"]].event
            for row in rows
            if (known := await self.store.get(row["event_id"])) is None
            or known.timeline_order is None
        ]
        orders = sorted(
            await event_storage.take_backfill_order(self.database, len(missing)), reverse=True
        )
        await self.log.append(
            *(
                EventRecord(event, live=False, timeline_order=order)
                for event, order in zip(missing, orders, strict=True)
            )
        )
        return bool(missing)


@pytest.fixture
async def ours(database: Database, theirs: RoomWorld) -> AsyncIterator[Ours]:
    world = Ours(database)
    world.theirs = theirs
    await world.start()
    yield world
    await world.close()


async def enter(ours: Ours, theirs: RoomWorld, bob: Client, room_id: str) -> Event:
    """Bob joins their room, as if by ``send_join``; they take the join in."""
    room = await theirs.rooms.get(room_id)
    state = await state_events(theirs, room)
    wanted = ("m.room.create", "m.room.power_levels", "m.room.join_rules")
    if room.version.room_id_is_create_hash:
        wanted = wanted[1:]
    join = build_event(
        room.version,
        room_id=room_id,
        sender=bob.user_id,
        type="m.room.member",
        content={"membership": "join"},
        state_key=bob.user_id,
        prev_events=list(room.extremities.values()),
        auth_events=[event for event in state if event.type in wanted],
        depth=max(event.depth for event in room.extremities.values()) + 1,
        origin_server_ts=time.time_ns() // 1_000_000,
        server_name=ours.server_name,
        signing_key=ours.key,
    )
    await ours.room_import.import_room(
        room.version, join, state, state, now_ms=time.time_ns() // 1_000_000
    )
    await theirs.arrivals.receive(join)
    return join


async def state_events(world: RoomWorld, room: LiveRoom) -> list[Event]:
    """The events of a room's state."""
    found = await world.store.get_many(room.state.values())
    return [stored.event for stored in found.values()]


async def carry(origin: RoomWorld, target: RoomWorld, room_id: str) -> None:
    """Bring everything that one side lacks to it."""
    rows = await origin.database.fetch(
        "SELECT event_id FROM events WHERE room_id = $1 AND timeline_order > 0 ORDER BY position",
        room_id,
    )
    for row in rows:
        stored = await origin.store.get(row["event_id"])
        assert stored is not None
        known = await target.store.get(row["event_id"])
        if known is None:
            await target.arrivals.receive(stored.event)


async def test_a_room_entered_from_outside_has_its_state_and_its_join(
    ours: Ours, theirs: RoomWorld
) -> None:
    alice = theirs.user("alice")
    room_id = await theirs.room(alice, preset="public_chat", name="Tea")
    bob = await ours.client("bob")
    await bob.sync()

    await enter(ours, theirs, bob, room_id)
    part = await bob.joined(room_id)

    assert types(part) == ["m.room.member"]
    assert part["timeline"]["limited"] is True
    assert state_of(part)[("m.room.name", "")] == {"name": "Tea"}
    assert ("m.room.member", bob.user_id) not in state_of(part)
    assert part["summary"]["m.joined_member_count"] == 2


async def test_history_from_before_the_join_is_fetched(ours: Ours, theirs: RoomWorld) -> None:
    alice = theirs.user("alice")
    room_id = await theirs.room(alice, preset="public_chat")
    for number in range(5):
        await theirs.say(room_id, alice, str(number))
    bob = await ours.client("bob")
    await enter(ours, theirs, bob, room_id)
    part = await bob.joined(room_id)
    await bob.sync()

    page = await messages(
        bob, room_id, start=parse_timeline_token(part["timeline"]["prev_batch"]), limit=100
    )

    found = [e["content"]["body"] for e in page["chunk"] if "body" in e["content"]]
    assert found == ["4", "3", "2", "1", "0"]
    assert page["chunk"][-1]["type"] == "m.room.create"
    assert "end" not in page
    assert "rooms" not in await bob.sync()


async def test_messages_of_another_instance_wake_and_count(ours: Ours, theirs: RoomWorld) -> None:
    alice = theirs.user("alice")
    room_id = await theirs.room(alice, preset="public_chat")
    bob = await ours.client("bob")
    await enter(ours, theirs, bob, room_id)
    await bob.sync()
    await theirs.say(room_id, alice, "hello")

    await carry(theirs, ours, room_id)
    part = await bob.joined(room_id)

    assert bodies(part) == ["hello"]
    assert part["unread_notifications"]["notification_count"] == 1


@pytest.mark.parametrize("seed", range(6))
async def test_the_state_after_is_the_resolved_state_whatever_forks(
    ours: Ours, theirs: RoomWorld, seed: int
) -> None:
    random = Random(seed)
    alice = theirs.user("alice")
    room_id = await theirs.room(alice, preset="public_chat")
    bob = await ours.client("bob")
    await theirs.rooms.send_state(
        room_id,
        Draft(alice, "m.room.power_levels", {"users_default": 50, "events_default": 0}, ""),
    )
    await enter(ours, theirs, bob, room_id)
    follower = _AfterFollower(bob, random)

    for step in range(30):
        key = str(random.randint(1, 3))
        match random.choice(("ours", "theirs", "carry", "sync", "restart", "say")):
            case "ours":
                await bob.set_state(room_id, "org.example", {"ours": step}, key)
            case "theirs":
                content = {"theirs": step}
                await theirs.rooms.send_state(room_id, Draft(alice, "org.example", content, key))
            case "carry":
                await carry(theirs, ours, room_id)
                await carry(ours, theirs, room_id)
            case "say":
                await bob.say(room_id, str(step))
            case "sync":
                await follower.sync()
            case "restart":
                ours.forget_memory()
    await bob.set_state(room_id, "org.example", {"ours": "last"}, "1")
    await theirs.rooms.send_state(room_id, Draft(alice, "org.example", {"theirs": "last"}, "1"))
    await carry(theirs, ours, room_id)
    await bob.say(room_id, "merged")
    await follower.sync()

    room = await ours.rooms.get(room_id)
    assert follower.state[room_id] == room.state
    assert len(set(follower.timelines[room_id])) == len(follower.timelines[room_id])
    merges = "SELECT count(*) FROM events WHERE cardinality(prev_event_ids) > 1"
    assert await ours.database.fetchval(merges) > 0


class _AfterFollower(Follower):
    """Always asks for the state after the timeline."""

    async def sync(self) -> None:
        before = self.client.token
        self.client.filter = SyncFilter.parse(
            {"room": {"timeline": {"limit": self.random.randint(1, 8)}}}
        )
        self.client.use_state_after = True
        answer: dict[str, Any] = await self.client.sync()
        for room_id, part in answer.get("rooms", {}).get("join", {}).items():
            await self._take(room_id, part, before)
