"""How the room directory is read: many rooms at once, no more of them than is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from homeserver.protocol.events import JsonObject
from homeserver.services.directory import Directory
from homeserver.services.public_rooms import READ_AT_ONCE, DirectoryQuery, PublicRooms
from homeserver.services.rooms import Draft
from homeserver.storage.rooms import set_published
from tests.services.reading_world import SERVER, Client, ReadingWorld


@pytest.fixture
def directory(world: ReadingWorld) -> Directory:
    nobody: Any = None
    return Directory(
        server_name=SERVER,
        database=world.database,
        rooms=world.rooms,
        store=world.store,
        remote=nobody,
    )


def listing(world: ReadingWorld, descriptions: Any) -> PublicRooms:
    """The directory with nothing in memory."""
    nobody: Any = None
    return PublicRooms(
        server_name=SERVER,
        database=world.database,
        log=world.log,
        descriptions=descriptions,
        remote=nobody,
    )


async def published(world: ReadingWorld, alice: Client, count: int) -> list[str]:
    """Rooms that are listed."""
    rooms = []
    for number in range(count):
        room_id = await world.room(alice.user_id, preset="public_chat", name=f"Room {number}")
        await set_published(world.database, room_id, True)
        rooms.append(room_id)
    return rooms


async def names(public: PublicRooms) -> set[str]:
    """What the rooms of the first page are called."""
    return {room["name"] for room in (await public.page(DirectoryQuery()))["chunk"]}


async def test_many_rooms_are_read_in_as_many_queries_as_a_few(
    world: ReadingWorld, alice: Client, directory: Directory
) -> None:
    counts = []
    for more in (2, READ_AT_ONCE // 4):
        await published(world, alice, more)
        public = listing(world, directory)
        world.queries.count = 0
        await public.page(DirectoryQuery())
        counts.append(world.queries.count)
        world.queries.count = 0
        await public.page(DirectoryQuery())
        counts.append(world.queries.count)

    assert counts[0] == counts[2]
    assert counts[1] == counts[3] == 1


async def test_rooms_are_shown_as_each_is_shown_alone(
    world: ReadingWorld, alice: Client, directory: Directory
) -> None:
    plain, nameless, space = await published(world, alice, 3)
    named = await alice.set_state(nameless, "m.room.name", {"name": "gone"})
    redaction = Draft(alice.user_id, "m.room.redaction", {"redacts": named}, redacts=named)
    await world.rooms.send(nameless, redaction)
    await alice.set_state(space, "m.room.history_visibility", {"history_visibility": "shared"})
    await alice.set_state(space, "m.room.topic", {"topic": "Tea"})

    together = await directory.summaries([plain, nameless, space, "!nowhere:one.example"])

    assert together.keys() == {plain, nameless, space}
    for room_id, shown in together.items():
        world.live_rooms.drop(room_id)
        room = await world.rooms.find(room_id)
        assert room is not None
        assert shown == await directory.summary(room)
    assert together[plain]["name"] == "Room 0"
    assert "name" not in together[nameless]
    assert together[space]["topic"] == "Tea"


async def test_a_room_that_changes_while_it_is_read_is_read_again(
    world: ReadingWorld, alice: Client, directory: Directory
) -> None:
    changing, _ = await published(world, alice, 2)

    class Slow:
        """Reads, and is slow to tell."""

        def __init__(self) -> None:
            self.reads: list[Sequence[str]] = []

        async def summaries(self, room_ids: Sequence[str]) -> Mapping[str, JsonObject]:
            self.reads.append(room_ids)
            found = await directory.summaries(room_ids)
            if len(self.reads) == 1:
                await alice.set_state(changing, "m.room.name", {"name": "Changed"})
            return found

    slow = Slow()
    public = listing(world, slow)

    assert await names(public) == {"Room 0", "Room 1"}
    assert await names(public) == {"Changed", "Room 1"}
    assert slow.reads[1:] == [[changing]]


async def test_a_room_that_changes_later_is_shown_as_it_is_then(
    world: ReadingWorld, alice: Client, directory: Directory
) -> None:
    room_id, _ = await published(world, alice, 2)
    public = listing(world, directory)
    await names(public)

    await alice.set_state(room_id, "m.room.name", {"name": "Changed"})

    assert await names(public) == {"Changed", "Room 1"}
