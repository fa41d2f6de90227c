"""Telling other Comity instances what has come to our users' devices, and being told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.services.audience import EVERYBODY
from homeserver.services.delivery.notices import DELIVERED_EDU, MOST_PER_EDU, DeliveryNotices
from homeserver.services.delivery.progress import DeviceProgress
from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.services.doubles import Edus
from tests.services.reading_world import Client, ReadingWorld
from tests.services.room_world import RoomWorld
from tests.services.test_sync_remote import carry, enter


class Peers:
    """What is known of other instances."""

    def __init__(self) -> None:
        self.comities: dict[str, bool] = {"two.example": True}
        self.heard: list[str] = []

    def known(self, server_name: str) -> bool | None:
        return self.comities.get(server_name)

    async def is_comity(self, server_name: str) -> bool:
        return self.comities.get(server_name, False)

    def heard_from(self, server_name: str) -> None:
        self.heard.append(server_name)


class Hidden:
    """Users who show receipts to nobody."""

    def __init__(self) -> None:
        self.users: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(EVERYBODY, name)

    async def servers_that_may_see(self, owner: str, servers: Any, scope: str) -> frozenset[str]:
        return frozenset() if owner in self.users else frozenset(servers)


class Telling:
    """A world's notices."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.edus, self.peers, self.hidden = Edus(), Peers(), Hidden()
        self.begin()

    def begin(self) -> None:
        """As when the process starts."""
        database: Any = self.world.database
        self.progress = DeviceProgress(database=database, clock_ms=lambda: 1)
        audience: Any = self.hidden
        self.notices = DeliveryNotices(
            server_name=self.world.server_name,
            database=database,
            log=self.world.log,
            live_rooms=self.world.live_rooms,
            progress=self.progress,
            edus=self.edus,
            peers=self.peers,
            audience=audience,
            clock_ms=lambda: 1,
        )
        self.moved: list[tuple[str, str, int]] = []
        self.notices.arrived = lambda *moved: self.moved.append(moved)

    async def told(self) -> list[dict[str, Any]]:
        """What is told now."""
        while self.notices._new:
            await self.notices._catch_up(*self.notices._new.popleft())
        await self.notices._tell()
        told, self.edus.durable = self.edus.durable, []
        assert {(server, kind) for server, kind, _ in told} <= {("two.example", DELIVERED_EDU)}
        return [content for _, _, content in told]


@pytest.fixture
async def theirs(postgres: TestPostgres) -> AsyncIterator[RoomWorld]:
    database = await Database.connect(await postgres.create_database(), min_size=1, max_size=4)
    world = RoomWorld(database, "two.example")
    await world.start()
    yield world
    await world.close()
    await database.close()


@pytest.fixture
async def ours(database: Database) -> AsyncIterator[ReadingWorld]:
    world = ReadingWorld(database)
    await world.start()
    yield world
    await world.close()


async def shared(ours: ReadingWorld, theirs: RoomWorld) -> tuple[Client, str]:
    """Bob of ours in a room of Alice's of theirs."""
    room_id = await theirs.room(theirs.user("alice"), preset="public_chat")
    bob = await ours.client("bob")
    await enter(ours, theirs, bob, room_id)
    return bob, room_id


async def say(ours: ReadingWorld, theirs: RoomWorld, room_id: str, text: str) -> str:
    sent = await theirs.say(room_id, theirs.user("alice"), text)
    await carry(theirs, ours, room_id)
    event_id: str = sent.event.event_id
    return event_id


async def test_what_a_device_has_is_told_once_and_as_the_last_of_each_room(
    ours: ReadingWorld, theirs: RoomWorld
) -> None:
    bob, room_id = await shared(ours, theirs)
    telling = Telling(ours)
    await say(ours, theirs, room_id, "one")
    last = await say(ours, theirs, room_id, "two")
    before = await telling.told()

    telling.progress.reached(bob.user_id, ours.log.position)

    assert before == []
    assert await telling.told() == [{"rooms": {room_id: {bob.user_id: last}}}]
    telling.progress.reached(bob.user_id, ours.log.position + 1)
    assert await telling.told() == []


async def test_only_what_the_device_has_is_told(ours: ReadingWorld, theirs: RoomWorld) -> None:
    bob, room_id = await shared(ours, theirs)
    telling = Telling(ours)
    first = await say(ours, theirs, room_id, "one")
    position = ours.log.position
    await say(ours, theirs, room_id, "two")

    telling.progress.reached(bob.user_id, position)

    assert await telling.told() == [{"rooms": {room_id: {bob.user_id: first}}}]


async def test_plain_matrix_servers_are_told_nothing(ours: ReadingWorld, theirs: RoomWorld) -> None:
    bob, room_id = await shared(ours, theirs)
    telling = Telling(ours)
    for known in (False, None):
        telling.peers.comities.pop("two.example", None)
        if known is not None:
            telling.peers.comities["two.example"] = known
        await say(ours, theirs, room_id, "hello")
        telling.progress.reached(bob.user_id, ours.log.position)

        assert await telling.told() == []


async def test_who_does_not_show_receipts_is_not_told_of(
    ours: ReadingWorld, theirs: RoomWorld
) -> None:
    bob, room_id = await shared(ours, theirs)
    telling = Telling(ours)
    telling.hidden.users.add(bob.user_id)
    await say(ours, theirs, room_id, "hello")

    telling.progress.reached(bob.user_id, ours.log.position)

    assert await telling.told() == []


async def test_what_came_before_a_restart_is_told_after_it(
    ours: ReadingWorld, theirs: RoomWorld
) -> None:
    bob, room_id = await shared(ours, theirs)
    telling = Telling(ours)
    telling.progress.reached(bob.user_id, ours.log.position)
    await telling.progress.write()
    last = await say(ours, theirs, room_id, "while nobody looked")

    telling.begin()
    telling.progress.reached(bob.user_id, ours.log.position)

    assert await telling.told() == [{"rooms": {room_id: {bob.user_id: last}}}]


async def test_a_notice_moves_the_progress_of_the_senders_users_alone(
    ours: ReadingWorld, theirs: RoomWorld
) -> None:
    bob, room_id = await shared(ours, theirs)
    await carry(ours, theirs, room_id)
    telling = Telling(theirs)
    sent = await theirs.say(room_id, theirs.user("alice"), "hello")
    event_id = sent.event.event_id
    users = {bob.user_id: event_id, "@stranger:one.test": event_id, "@alice:two.example": event_id}

    for origin in ("evil.example", ours.server_name, ours.server_name):
        await telling.notices.receive(origin, {"rooms": {room_id: users}})

    assert telling.moved == [(room_id, bob.user_id, sent.position)]
    assert telling.peers.heard == [ours.server_name] * 2


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"rooms": []},
        {"rooms": {"!r:x": []}},
        {"rooms": {"!r:x": {"@bob:one.test": 7}}},
        {"rooms": {"!r:x": {"@bob:one.test": "$\0"}}},
        {"rooms": {"!r:x": {"bob": "$x"}}},
        {"rooms": {"!r:x": {f"@u{n}:one.test": "$x" for n in range(MOST_PER_EDU + 100)}}},
    ],
)
async def test_nonsense_moves_nothing(theirs: RoomWorld, content: Any) -> None:
    telling = Telling(theirs)

    await telling.notices.receive("one.test", content)

    assert telling.moved == []
