"""Held events in rooms shared with another instance: whose graph stays whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest

from federation.history import History
from homeserver.errors import NotFound
from homeserver.protocol.filters import SyncFilter
from homeserver.services.erased_accounts import ErasedAccounts
from homeserver.services.rooms import Draft
from homeserver.services.visibility import Visibility
from homeserver.storage.database import Database
from homeserver.storage.outbox import DestinationSets, get_pending
from tests.services.reading_world import Client, bodies
from tests.services.room_world import RoomWorld
from tests.services.test_held_events import Held, history
from tests.services.test_sync_property import Follower
from tests.services.test_sync_remote import Ours, enter, theirs
from tests.services.test_timeline import messages

__all__ = ["theirs"]
THEM = "two.example"


class HoldingOurs(Held, Ours):
    """Our instance, which holds what begins with "held", of whomever."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.rooms._destination_sets = DestinationSets(database)
        self.history = History(
            erased=ErasedAccounts(database),
            database=database,
            rooms=self.rooms,
            store=self.store,
            states=self.states,
            visibility=Visibility(database=database, log=self.log, store=self.store),
        )

    async def backfill(self, room_id: str, limit: int) -> bool:
        """History is not what this is about."""
        return False


@pytest.fixture
async def ours(database: Database, theirs: RoomWorld) -> AsyncIterator[HoldingOurs]:
    world = HoldingOurs(database)
    world.theirs = theirs
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def bob(ours: HoldingOurs) -> Client:
    return await ours.client("bob")


@pytest.fixture
async def room_id(ours: HoldingOurs, theirs: RoomWorld, bob: Client) -> str:
    room_id = await theirs.room(theirs.user("alice"), preset="public_chat")
    await enter(ours, theirs, bob, room_id)
    await bob.sync()
    return room_id


async def carry(origin: RoomWorld, target: RoomWorld, room_id: str) -> None:
    """Bring everything that one side lacks to it, in the order of the log: but what is unsent."""
    rows = await origin.database.fetch(
        "SELECT event_id FROM events LEFT JOIN moderation_queue q USING (event_id)"
        " WHERE events.room_id = $1 AND timeline_order > 0"
        " AND NOT coalesce(q.unsent AND q.state <> 'released', false) ORDER BY position",
        room_id,
    )
    for row in rows:
        stored = await origin.store.get(row["event_id"])
        assert stored is not None
        if await target.store.get(row["event_id"]) is None:
            await target.arrivals.receive(stored.event)


async def test_what_is_held_on_arrival_is_built_on_and_not_shown(
    ours: HoldingOurs, theirs: RoomWorld, bob: Client, room_id: str
) -> None:
    alice = theirs.user("alice")
    held = (await theirs.say(room_id, alice, "held")).event
    await theirs.say(room_id, alice, "after")
    await carry(theirs, ours, room_id)

    part = await bob.joined(room_id)

    assert bodies(part) == ["after"]
    assert part["unread_notifications"]["notification_count"] == 1
    stored = await ours.store.get(held.event_id)
    assert stored is not None
    assert (stored.withheld, stored.timeline_order) == ("r", stored.position)
    await ours.release(held.event_id, unsent=False)
    part = await bob.joined(room_id)
    assert bodies(part) == ["held"]
    assert part["unread_notifications"]["notification_count"] == 2
    assert await history(bob, room_id) == ["held", "after"]


async def test_their_held_events_are_given_to_other_instances(
    ours: HoldingOurs, theirs: RoomWorld, room_id: str
) -> None:
    held = (await theirs.say(room_id, theirs.user("alice"), "held")).event
    await carry(theirs, ours, room_id)

    found = await ours.history.event(held.event_id, THEM)

    assert found["pdus"] == [held.pdu]
    assert held.pdu in await ours.history.backfill(room_id, [held.event_id], 5, THEM)


async def test_ours_is_given_to_nobody_until_it_is_released_then_sent(
    ours: HoldingOurs, bob: Client, room_id: str
) -> None:
    held = (await bob.say(room_id, "held")).event
    after = await bob.say(room_id, "after")
    with pytest.raises(NotFound):
        await ours.history.event(held.event_id, THEM)
    assert held.pdu not in await ours.history.backfill(room_id, [held.event_id], 5, THEM)
    sent = await get_pending(ours.database, THEM, 0, 9)
    assert [pdu.event_id for pdu in sent] == [after.event.event_id]

    await ours.release(held.event_id)

    pending = await get_pending(ours.database, THEM, after.position, 9)
    assert [pdu.event_id for pdu in pending] == [held.event_id]
    assert (await ours.history.event(held.event_id, THEM))["pdus"] == [held.pdu]


async def test_a_room_that_moved_on_takes_a_released_message_in(
    ours: HoldingOurs, theirs: RoomWorld, bob: Client, room_id: str
) -> None:
    held = (await bob.say(room_id, "held")).event
    for name in ("Tea", "Coffee"):
        await theirs.rooms.send_state(
            room_id, Draft(theirs.user("alice"), "m.room.name", {"name": name}, "")
        )
    await carry(theirs, ours, room_id)

    await ours.release(held.event_id)
    await carry(ours, theirs, room_id)
    last = (await bob.say(room_id, "last")).event

    assert held.event_id in last.prev_event_ids
    room, other = await ours.rooms.get(room_id), await theirs.rooms.get(room_id)
    assert room.state == other.state
    assert room.content(("m.room.name", "")) == {"name": "Coffee"}


@pytest.mark.parametrize("seed", range(8))
async def test_readers_miss_nothing_and_both_sides_agree_whatever_is_held(
    ours: HoldingOurs, theirs: RoomWorld, bob: Client, room_id: str, seed: int
) -> None:
    random = Random(seed)
    alice = theirs.user("alice")
    await theirs.rooms.send_state(
        room_id,
        Draft(alice, "m.room.power_levels", {"users_default": 50, "events_default": 0}, ""),
    )
    await carry(theirs, ours, room_id)
    follower = _AfterFollower(await ours.client("carol"), random)
    await ours.membership.join(follower.client.user_id, room_id)
    mine: list[str] = []

    async def release(event_id: str) -> None:
        await ours.release(event_id, unsent=event_id in mine)

    async def held_ids() -> list[str]:
        rows = await ours.database.fetch(
            "SELECT event_id FROM events WHERE withheld IS NOT NULL ORDER BY position"
        )
        return [row["event_id"] for row in rows]

    for step in range(50):
        key = str(random.randint(1, 3))
        match random.choice(
            ("ours", "theirs", "carry", "sync", "restart", "say", "hold", "hold", "release")
        ):
            case "ours":
                await bob.set_state(room_id, "org.example", {"ours": step}, key)
            case "theirs":
                content = {"theirs": step}
                await theirs.rooms.send_state(room_id, Draft(alice, "org.example", content, key))
                await theirs.say(room_id, alice, random.choice(("held", "theirs")))
            case "carry":
                await carry(theirs, ours, room_id)
                await carry(ours, theirs, room_id)
            case "say":
                await bob.say(room_id, str(step))
            case "hold":
                mine.append((await bob.say(room_id, f"held {step}")).event.event_id)
            case "release":
                held = await held_ids()
                if held:
                    await release(random.choice(held))
            case "sync":
                await follower.sync()
            case "restart":
                await ours.restart()
    for event_id in await held_ids():
        await release(event_id)
    await carry(theirs, ours, room_id)
    await carry(ours, theirs, room_id)
    for event_id in await held_ids():
        await release(event_id)
    await bob.set_state(room_id, "org.example", {"ours": "last"}, "1")
    await carry(ours, theirs, room_id)
    await follower.sync()

    room, other = await ours.rooms.get(room_id), await theirs.rooms.get(room_id)
    assert room.state == other.state
    assert follower.state[room_id] == room.state
    timeline = follower.timelines[room_id]
    assert len(set(timeline)) == len(timeline)
    page = await messages(follower.client, room_id, limit=1_000)
    said = {e["event_id"] for e in page["chunk"] if e["type"] == "m.room.message"}
    assert said <= set(timeline)
    assert len(said) == await ours.database.fetchval(
        "SELECT count(*) FROM events WHERE type = 'm.room.message'"
    )


class _AfterFollower(Follower):
    """Always asks for the state after the timeline."""

    async def sync(self) -> None:
        before = self.client.token
        self.client.filter = SyncFilter.parse(
            {"room": {"timeline": {"limit": self.random.randint(1, 8)}}}
        )
        self.client.use_state_after = True
        answer = await self.client.sync()
        for room_id, part in answer.get("rooms", {}).get("join", {}).items():
            await self._take(room_id, part, before)
