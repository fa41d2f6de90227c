"""Whatever happens to a reader, and whatever is lost on the way, each answer of a sync holds.

Beside the picture that a client has in the end (``test_sync_picture``): what it has of rooms that
were left, whether it knows the senders of what it shows where members are loaded lazily, and that
an answer that got lost is made good by the next.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import SyncFilter
from homeserver.services.creation import InitialState
from tests.services.reading_world import Client, ReadingWorld
from tests.services.test_sync_picture import Course, StateKey

STEPS = 50
SEEDS = int(os.environ.get("COMITY_SYNC_SEEDS", "6"))
MEMBER = "m.room.member"
PRIVATE = InitialState("m.room.history_visibility", "", {"history_visibility": "joined"})


class Shelf:
    """What a client keeps of rooms: of those it is in, and of those that it has left."""

    def __init__(self) -> None:
        self.joined: dict[str, dict[StateKey, str]] = {}
        self.left: dict[str, dict[StateKey, str]] = {}
        self.unheard: set[str] = set()
        """Rooms that it left and was invited to again before it could hear of it."""

    def take(self, answer: JsonObject) -> None:
        """One more answer."""
        rooms = answer.get("rooms", {})
        for section in ("invite", "knock"):
            for room_id in rooms.get(section, ()):
                if self.joined.pop(room_id, None) is not None:
                    self.unheard.add(room_id)
        for room_id, part in rooms.get("join", {}).items():
            self.left.pop(room_id, None)
            self.unheard.discard(room_id)
            _apply(self.joined.setdefault(room_id, {}), part)
        for room_id, part in rooms.get("leave", {}).items():
            known = self.joined.pop(room_id, None) or self.left.pop(room_id, {})
            _apply(known, part)
            self.left[room_id] = known


def _apply(state: dict[StateKey, str], part: JsonObject) -> None:
    lists = [part["state_after"]] if "state_after" in part else [part["state"], part["timeline"]]
    for event in (event for events in lists for event in events["events"]):
        if "state_key" in event:
            state[(event["type"], event["state_key"])] = event["event_id"]


async def sync(
    client: Client, random: Random, definition: JsonObject, **options: bool
) -> JsonObject:
    """One sync, by one of the two ways of telling of state."""
    client.filter = SyncFilter.parse(definition)
    client.use_state_after = random.random() < 0.5
    return await client.sync(**options)


async def course_of(
    world: ReadingWorld, random: Random, *states: list[JsonObject]
) -> tuple[Course, Client, Client]:
    """What happens in rooms that begin like this; the reader's client, and a new one of theirs."""
    owner, reader = await world.client("owner"), await world.client("reader")
    course = Course(world, random, owner, reader)
    course.rooms = [
        await world.room(owner.user_id, preset="public_chat", initial_state=state)
        for state in states
    ]
    return course, reader, await world.client("reader", "NEW")


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_rooms_that_were_left_are_known_as_a_new_client_gets_them(
    world: ReadingWorld, seed: int
) -> None:
    random = Random(seed)
    course, reader, anew = await course_of(world, random, [], [], [PRIVATE])
    shelf, whole = Shelf(), Shelf()

    for number in range(STEPS):
        await course.step(number)
        if random.random() < 0.3:
            limits: JsonObject = {"room": {"timeline": {"limit": random.choice([0, 1, 3, 20])}}}
            full = random.random() < 0.1
            shelf.take(await sync(reader, random, limits, full_state=full))
    shelf.take(await reader.sync())
    archived = {"room": {"include_leave": True, "timeline": {"limit": random.choice([0, 5])}}}
    whole.take(await sync(anew, random, archived))

    assert shelf.joined == whole.joined
    for room_id, state in whole.left.items():
        if room_id in shelf.left and room_id not in shelf.unheard:
            assert shelf.left[room_id] == state


@pytest.mark.parametrize("redundant", [False, True])
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_sender_of_whatever_is_shown_is_known(
    world: ReadingWorld, seed: int, redundant: bool
) -> None:
    random = Random(seed)
    owner, reader = await world.client("owner"), await world.client("reader")
    talkers = [await world.client(f"talker{n}") for n in range(4)]
    rooms = [await world.room(owner.user_id, preset="public_chat") for _ in range(2)]
    for room_id in rooms:
        for client in (reader, *talkers):
            await world.membership.join(client.user_id, room_id)
    course = Course(world, random, owner, reader)
    course.rooms = rooms
    shelf = Shelf()
    members = {"lazy_load_members": True, "include_redundant_members": redundant}

    for number in range(STEPS):
        await course.step(number)
        for talker in random.sample(talkers, random.randrange(3)):
            room_id = random.choice(rooms)
            if random.random() < 0.2:
                name = {"membership": "join", "displayname": f"name {number}"}
                await talker.set_state(room_id, MEMBER, name, talker.user_id)
            else:
                await talker.say(room_id, f"said {number}")
        if random.random() < 0.5:
            timeline = {"limit": random.choice([1, 3, 20])}
            definition: JsonObject = {"room": {"timeline": timeline, "state": members}}
            before = reader.token
            answer = await sync(reader, random, definition, full_state=random.random() < 0.1)
            if random.random() < 0.2:  # it got lost on the way
                reader.token = before
                continue
            shelf.take(answer)
            for room_id, part in answer.get("rooms", {}).get("join", {}).items():
                senders = {event["sender"] for event in part["timeline"]["events"]}
                heroes = set(part["summary"].get("m.heroes", ()))
                known = shelf.joined[room_id]
                assert {user for user in senders | heroes if (MEMBER, user) not in known} == set()
                live = await world.rooms.get(room_id)
                if redundant and "state_after" in part:
                    told = {(e["type"], e["state_key"]) for e in part["state_after"]["events"]}
                    assert {user for user in senders if (MEMBER, user) not in told} == set()
                for key, event_id in known.items():
                    assert live.state.get(key) == event_id, key


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_an_answer_that_got_lost_is_made_good_by_the_next(
    world: ReadingWorld, seed: int
) -> None:
    random = Random(seed)
    course, reader, anew = await course_of(world, random, [], [PRIVATE])
    shelf, whole = Shelf(), Shelf()

    for number in range(STEPS):
        await course.step(number)
        if random.random() < 0.5:
            limits: JsonObject = {"room": {"timeline": {"limit": random.choice([0, 1, 3, 20])}}}
            before = reader.token
            answer = await sync(reader, random, limits)
            if before is not None and random.random() < 0.4:
                reader.token = before
            else:
                shelf.take(answer)
    shelf.take(await reader.sync())
    whole.take(await sync(anew, random, {}))

    assert shelf.joined == whole.joined
