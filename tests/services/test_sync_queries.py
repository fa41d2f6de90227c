"""What a sync asks of the database does not grow with the rooms that it is about.

The rooms are as various as rooms are: with gaps, threads, edits, redactions, changed state,
receipts, and what nobody has read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from homeserver.protocol.events import JsonObject
from homeserver.services.rooms import Draft
from homeserver.services.sync import ROOMS_AT_ONCE
from homeserver.storage.database import Database
from tests.services.reading_world import Client, ReadingWorld, bodies

FEW, MANY = ROOMS_AT_ONCE // 2, 2 * ROOMS_AT_ONCE


@asynccontextmanager
async def started(database: Database) -> AsyncIterator[ReadingWorld]:
    """A server with nothing in memory yet."""
    world = ReadingWorld(database)
    await world.start()
    try:
        yield world
    finally:
        await world.close()


@dataclass
class Town:
    """Many rooms: one reader is in a few of them, the other in all."""

    rooms: list[str]
    with_few: Client
    with_many: Client
    before: dict[str, str]
    """Each reader's token of before all that was said."""


@pytest.fixture
async def town(database: Database) -> Town:
    async with started(database) as world:
        host = await world.client("host")
        few, many = await world.client("few"), await world.client("many")
        rooms = []
        for number in range(MANY):
            room_id = await world.room(host.user_id, preset="public_chat", name=f"Room {number}")
            await world.membership.join(many.user_id, room_id)
            if number < FEW:
                await world.membership.join(few.user_id, room_id)
            rooms.append(room_id)
        await few.sync()
        await many.sync()
        assert few.token is not None and many.token is not None
        for number, room_id in enumerate(rooms):
            await _fill(world, host, many, room_id, number)
        return Town(rooms, few, many, {few.user_id: few.token, many.user_id: many.token})


async def _fill(
    world: ReadingWorld, host: Client, reader: Client, room_id: str, number: int
) -> None:
    first = (await host.say(room_id, "first")).event.event_id
    await world.receipts.send(room_id, reader.user_id, "m.read", first)
    await host.set_state(room_id, "m.room.topic", {"topic": f"Topic {number}"})
    relations: list[JsonObject] = [
        {"rel_type": "m.thread", "event_id": first},
        {"rel_type": "m.reference", "event_id": first},
        {"rel_type": "m.replace", "event_id": first},
    ]
    for relation in relations:
        content: JsonObject = {"m.relates_to": relation}
        if relation["rel_type"] == "m.replace":
            content["m.new_content"] = {"msgtype": "m.text", "body": "first, edited"}
        await host.say(room_id, relation["rel_type"], **content)
    gone = (await reader.say(room_id, "gone")).event.event_id
    redaction = Draft(reader.user_id, "m.room.redaction", {"redacts": gone}, redacts=gone)
    await world.rooms.send(room_id, redaction)
    for text in ("one", "two"):
        await host.say(room_id, text)


async def _queries(database: Database, reader: Client, **options: Any) -> tuple[int, JsonObject]:
    """How many queries a sync takes on a server that has just started, and what it says."""
    async with started(database) as world:
        client = Client(world, reader.user_id, reader.device_id)
        world.queries.count = 0
        answer = await client.sync(**options)
        return world.queries.count, answer["rooms"]["join"]


@pytest.mark.parametrize(
    "timeline", [{"limit": 8}, {"limit": 50}, {"limit": 3, "types": ["m.room.message"]}]
)
@pytest.mark.parametrize("lazy", [False, True])
async def test_a_first_sync_takes_so_many_queries_for_each_batch_of_rooms(
    database: Database, town: Town, timeline: JsonObject, lazy: bool
) -> None:
    chosen = {"room": {"timeline": timeline, "state": {"lazy_load_members": lazy}}}
    sync_filter = town.with_few.filter.parse(chosen)

    of_few, few = await _queries(database, town.with_few, sync_filter=sync_filter)
    of_many, many = await _queries(database, town.with_many, sync_filter=sync_filter)

    assert (len(few), len(many)) == (FEW, MANY)
    batches = MANY // ROOMS_AT_ONCE
    assert of_many <= batches * of_few
    assert of_few < FEW * 2


async def test_a_later_sync_of_many_changed_rooms_takes_so_many_queries_for_each_batch(
    database: Database, town: Town
) -> None:
    reader, other = town.with_few, town.with_many

    of_few, few = await _queries(database, reader, since=town.before[reader.user_id])
    of_many, many = await _queries(database, other, since=town.before[other.user_id])

    assert (len(few), len(many)) == (FEW, MANY)
    assert of_many <= MANY // ROOMS_AT_ONCE * of_few
    assert of_few < FEW * 2


@pytest.mark.parametrize("since", [False, True])
async def test_rooms_that_were_left_take_so_many_queries_for_each_batch(
    database: Database, town: Town, since: bool
) -> None:
    async with started(database) as world:
        for room_id in town.rooms:
            for reader in (town.with_few, town.with_many):
                if await world.facts.is_joined(room_id, reader.user_id):
                    await world.membership.leave(reader.user_id, room_id)
    options = {"sync_filter": town.with_few.filter.parse({"room": {"include_leave": True}})}

    counts, answers = [], []
    for reader in (town.with_few, town.with_many):
        async with started(database) as world:
            client = Client(world, reader.user_id, reader.device_id)
            world.queries.count = 0
            token = town.before[reader.user_id] if since else None
            answers.append(await client.sync(since=token, **options))
            counts.append(world.queries.count)

    assert [len(answer["rooms"]["leave"]) for answer in answers] == [FEW, MANY]
    assert counts[1] <= MANY // ROOMS_AT_ONCE * counts[0]
    assert counts[0] < FEW * 3


@pytest.mark.parametrize("since", [False, True])
async def test_a_room_among_many_is_told_as_it_is_told_alone(
    database: Database, town: Town, since: bool
) -> None:
    reader = town.with_many
    token = town.before[reader.user_id] if since else None

    _, together = await _queries(database, reader, since=token)

    async with started(database) as world:
        client = Client(world, reader.user_id, reader.device_id)
        for room_id in town.rooms[:: ROOMS_AT_ONCE // 4]:
            alone = client.filter.parse({"room": {"rooms": [room_id]}})
            answer = await client.sync(since=token, sync_filter=alone)
            client.token = None
            part = answer["rooms"]["join"][room_id]
            assert bodies(part)[-2:] == ["one", "two"]
            assert _ageless(part) == _ageless(together[room_id])


def _ageless(part: Any) -> Any:
    """Without what time alone changes."""
    if isinstance(part, dict):
        return {key: _ageless(value) for key, value in part.items() if key != "age"}
    return [_ageless(value) for value in part] if isinstance(part, list) else part
