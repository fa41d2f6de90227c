"""Held events: nobody sees them; once released everybody does, once, and in their place."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.events import Event
from homeserver.protocol.filters import SyncFilter
from homeserver.services.held_events import HeldEvents
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.recent_timeline import Changes
from homeserver.services.rooms import Draft
from homeserver.storage.database import Database
from homeserver.storage.events import get_released_rooms
from homeserver.storage.moderation_queue import Decision, get_items
from homeserver.storage.policy import VerdictRow
from tests.services.reading_world import Client, ReadingWorld, bodies
from tests.services.room_world import OpenGate
from tests.services.test_sync_property import Follower
from tests.services.test_timeline import messages
from tests.services.test_unread import counts

STEPS = 60
EVERYTHING = SyncFilter.parse({"room": {"timeline": {"limit": 100}}})
DECISION = Decision("@moderator:one.example", None, 1)
AUDIT = VerdictRow(1, "moderation", "r", "release", "out", "one.example", *[None] * 4, None)


class Holding(OpenGate):
    """Policy that holds what begins with "held"."""

    def judge(self, content: object) -> Judgement:
        text = content.get("body") if isinstance(content, dict) else None
        held = isinstance(text, str) and text.startswith("held")
        return Judgement(Action.HOLD, "r", "No.") if held else ACCEPTED

    async def check_send(self, room: LiveRoom, draft: Draft) -> Judgement:
        return self.judge(draft.content)

    async def judge_arrival(self, room: LiveRoom, event: Event) -> Judgement:
        return self.judge(event.content)


class Held(ReadingWorld):
    """Readers, and a moderator."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.rooms._gate = self.arrivals._policy = Holding()
        self.held = HeldEvents(
            log=self.log,
            rooms=self.rooms,
            arrivals=self.arrivals,
            store=self.store,
            unread=self.rooms._unread,
            policy_servers=Holding(),
        )

    async def release(self, event_id: str, *, unsent: bool = True) -> None:
        async with self.held.lock:
            await self.held.release(event_id, DECISION, AUDIT, unsent=unsent)

    async def restart(self) -> None:
        """As if the process had started again."""
        self.forget_memory()
        self.store._cache.clear()
        self.reading.recent.releases = Changes()
        self.reading.recent.start(await get_released_rooms(self.database, 100))


@pytest.fixture
async def world(database: Database) -> AsyncIterator[Held]:
    world = Held(database)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def room_id(world: Held, alice: Client, bob: Client) -> str:
    room_id = await world.room(alice.user_id, preset="public_chat")
    await world.membership.join(bob.user_id, room_id)
    return room_id


async def history(client: Client, room_id: str) -> list[str]:
    """What a reader finds in the room's history, the oldest first."""
    chunk = (await messages(client, room_id, limit=1_000))["chunk"]
    return [e["content"]["body"] for e in reversed(chunk) if "body" in e["content"]]


async def test_a_held_message_is_acknowledged_and_not_shown(
    world: Held, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    await alice.say(room_id, "before")
    sent = await alice.say(room_id, "held")
    await alice.say(room_id, "after")

    assert bodies(await bob.joined(room_id)) == ["before", "after"]
    assert await history(alice, room_id) == await history(bob, room_id) == ["before", "after"]
    assert await counts(bob, room_id) == (2, 0)
    with pytest.raises(NotFound):
        await world.reading.timeline.visible_event(
            await world.reading.timeline.reader(room_id, bob.user_id), room_id, sent.event.event_id
        )
    (item,) = await get_items(world.database, kind="held", state="open", after=0, limit=9)
    assert (item.event_id, item.sender, item.rule) == (sent.event.event_id, alice.user_id, "r")


async def test_nothing_builds_on_a_held_message_until_it_is_released(
    world: Held, alice: Client, room_id: str
) -> None:
    held = (await alice.say(room_id, "held")).event
    after = (await alice.say(room_id, "after")).event
    await world.release(held.event_id)
    last = (await alice.say(room_id, "last")).event

    assert held.event_id not in after.prev_event_ids
    assert set(last.prev_event_ids) == {held.event_id, after.event_id}


async def test_the_same_transaction_gives_the_held_event_again(
    world: Held, alice: Client, room_id: str
) -> None:
    first = await alice.say(room_id, "held")
    alice._transactions -= 1
    again = await alice.say(room_id, "held")
    alice._transactions -= 1
    world.rooms._transactions._tasks.clear()
    later = await alice.say(room_id, "held")

    assert first.event.event_id == again.event.event_id == later.event.event_id


@pytest.mark.parametrize("restart", [False, True])
async def test_a_released_message_comes_with_the_next_sync_once(
    world: Held, alice: Client, bob: Client, room_id: str, restart: bool
) -> None:
    carol = await world.client("carol")
    await world.membership.join(carol.user_id, room_id)
    await carol.sync()
    await alice.say(room_id, "before")
    held = (await alice.say(room_id, "held")).event
    await alice.say(room_id, "after")
    await bob.sync()

    await world.release(held.event_id)
    if restart:
        await world.restart()

    assert bodies(await bob.joined(room_id)) == ["held"]
    assert bodies(await carol.joined(room_id)) == ["before", "held", "after"]
    assert "rooms" not in await bob.sync()
    assert "rooms" not in await carol.sync()
    assert await history(bob, room_id) == ["before", "held", "after"]


async def test_a_waiting_sync_is_woken_by_a_release(
    world: Held, alice: Client, bob: Client, room_id: str
) -> None:
    held = (await alice.say(room_id, "held")).event
    await bob.sync()

    waiting = asyncio.create_task(bob.joined(room_id, timeout_ms=20_000))
    await world.until_waiting()
    await world.release(held.event_id)

    assert bodies(await waiting) == ["held"]


async def test_the_senders_device_knows_a_released_message_by_its_transaction(
    world: Held, alice: Client, room_id: str
) -> None:
    held = (await alice.say(room_id, "held")).event
    await alice.sync()
    await world.release(held.event_id)

    (event,) = (await alice.joined(room_id))["timeline"]["events"]

    assert event["unsigned"]["transaction_id"] == "txn1"


async def test_a_released_message_counts_as_unread_until_it_is_read(
    world: Held, alice: Client, bob: Client, room_id: str
) -> None:
    held = (await alice.say(room_id, "held")).event
    after = (await alice.say(room_id, "after")).event
    await world.receipts.send(room_id, bob.user_id, "m.read", after.event_id)
    assert await counts(bob, room_id) == (0, 0)

    await world.release(held.event_id)

    assert await counts(bob, room_id) == (1, 0)
    await world.receipts.send(room_id, bob.user_id, "m.read", held.event_id)
    assert await counts(bob, room_id) == (0, 0)


async def test_reading_on_reads_a_message_released_before(
    world: Held, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    held = (await alice.say(room_id, "held")).event
    after = (await alice.say(room_id, "after")).event
    await world.release(held.event_id)
    assert await counts(bob, room_id) == (2, 0)

    await world.receipts.send(room_id, bob.user_id, "m.read", after.event_id)

    assert await counts(bob, room_id) == (0, 0)


async def test_who_may_not_send_any_more_cannot_be_released(
    world: Held, alice: Client, bob: Client, room_id: str
) -> None:
    held = (await bob.say(room_id, "held")).event
    await world.membership.leave(bob.user_id, room_id)

    with pytest.raises(Forbidden):
        await world.release(held.event_id)

    assert await history(alice, room_id) == []


async def test_a_held_state_event_changes_nothing(world: Held, alice: Client, room_id: str) -> None:
    before = dict((await world.rooms.get(room_id)).state)

    await alice.set_state(room_id, "org.example", {"body": "held"})

    assert (await world.rooms.get(room_id)).state == before


async def test_a_released_redaction_takes_effect(
    world: Held, alice: Client, bob: Client, room_id: str
) -> None:
    sent = (await alice.say(room_id, "hello")).event
    redaction = await world.rooms.send(
        room_id,
        Draft(alice.user_id, "m.room.redaction", {"redacts": sent.event_id, "body": "held"}),
    )
    assert await history(bob, room_id) == ["hello"]

    await world.release(redaction.event.event_id)

    assert await history(bob, room_id) == ["held"]  # the redaction itself


async def test_who_joined_later_gets_only_what_they_may_see(
    world: Held, alice: Client, room_id: str
) -> None:
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    held = (await alice.say(room_id, "held")).event
    carol = await world.client("carol")
    await world.membership.join(carol.user_id, room_id)
    await carol.sync()

    await world.release(held.event_id)

    assert "rooms" not in await carol.sync()


@pytest.mark.parametrize("seed", range(12))
async def test_every_reader_gets_each_released_message_once(world: Held, seed: int) -> None:
    random = Random(seed)
    sender = await world.client("sender")
    followers = [Follower(await world.client(f"reader{n}"), random) for n in range(3)]
    room_id = await world.room(sender.user_id, preset="public_chat")
    for follower in followers:
        await world.membership.join(follower.client.user_id, room_id)
    held: list[str] = []
    dropped: list[str] = []

    async def act(step: int) -> None:
        match random.choice(("say", "burst", "hold", "hold", "release", "sync", "sync", "restart")):
            case "say":
                await sender.say(room_id, str(step))
            case "burst":
                await asyncio.gather(*(sender.say(room_id, f"{step} {n}") for n in range(9)))
            case "hold":
                sent = await sender.say(room_id, f"held {step}")
                (held if random.random() < 0.8 else dropped).append(sent.event.event_id)
            case "release":
                if held:
                    await world.release(held.pop(random.randrange(len(held))))
            case "sync":
                await random.choice(followers).sync()
            case "restart":
                await world.restart()

    for step in range(STEPS):
        if random.random() < 0.3:
            await asyncio.gather(act(step), sender.say(room_id, f"beside {step}"))
        else:
            await act(step)
    rows = await world.database.fetch(
        "SELECT event_id FROM events WHERE room_id = $1 AND event_id <> ALL($2::text[])"
        " ORDER BY timeline_order",
        room_id,
        held + dropped,
    )
    expected = [row["event_id"] for row in rows]
    for follower in followers:
        await follower.sync()
        assert Counter(follower.timelines[room_id]) == Counter(expected)
        page = await messages(follower.client, room_id, limit=1_000)
        assert [e["event_id"] for e in reversed(page["chunk"])] == expected
        assert follower.state[room_id] == (await world.rooms.get(room_id)).state


@pytest.mark.parametrize("seed", range(4))
async def test_syncs_that_race_with_a_release_get_it_once(world: Held, seed: int) -> None:
    random = Random(seed)
    sender = await world.client("sender")
    readers = [await world.client(f"reader{number}") for number in range(3)]
    room_id = await world.room(sender.user_id, preset="public_chat")
    seen: list[Counter[str]] = [Counter() for _ in readers]
    for reader in readers:
        await world.membership.join(reader.user_id, room_id)

    async def follow(reader: Client, counter: Counter[str]) -> None:
        for _ in range(3):
            await asyncio.sleep(random.random() / 200)
            answer = await reader.sync(sync_filter=EVERYTHING)
            part = answer.get("rooms", {}).get("join", {}).get(room_id)
            counter.update(bodies(part) if part is not None else ())

    said = []
    for step in range(15):
        held = await sender.say(room_id, f"held {step}")
        if random.random() < 0.5:
            await follow(readers[0], seen[0])
        if random.random() < 0.2:
            await world.restart()
        await asyncio.gather(
            world.release(held.event.event_id),
            sender.say(room_id, f"beside {step}"),
            *(follow(reader, counter) for reader, counter in zip(readers, seen, strict=True)),
        )
        said += [f"held {step}", f"beside {step}"]
    for reader, counter in zip(readers, seen, strict=True):
        await follow(reader, counter)
        assert counter == Counter(said)
