"""Whose keys changed between two syncs, as people come to rooms and leave them at random."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.single import Instance, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ("bob", "carol", "dora", "emil")
ROOMS = 3
MOVES = 6


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instance(
    postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Instance]:
    """One instance for all seeds: each has users of its own."""
    database = await Database.connect(await postgres.create_database())
    async with running(database, tmp_path_factory.mktemp("changes")) as instance:
        yield instance
    await database.close()


class Town:
    """Some people, who move between some rooms."""

    def __init__(self, instance: Instance, seed: int) -> None:
        self.instance, self.seed, self.chance = instance, seed, random.Random(seed)
        self.tokens: dict[str, str] = {}
        self.rooms: list[str] = []
        self.joined: dict[str, set[str]] = {}  # room ID -> names

    async def build(self) -> None:
        """Everybody registers; Alice enters the rooms of a host, who stays: none is ever empty."""
        for name in ("host", "alice", *NAMES):
            self.tokens[name] = await self.instance.register(f"{name}{self.seed}")
        self.rooms = [await self.instance.room(self.tokens["host"]) for _ in range(ROOMS)]
        self.joined = {room_id: {"host"} for room_id in self.rooms}
        for room_id in self.rooms:
            await self.move("alice", room_id)

    async def move(self, name: str, room_id: str) -> None:
        """Somebody enters a room, or leaves it."""
        way = "leave" if name in self.joined[room_id] else "join"
        path = f"/rooms/{room_id}/{way}"
        await self.instance.call("POST", path, {}, token=self.tokens[name])
        self.joined[room_id] ^= {name}

    async def move_about(self) -> None:
        """Some enter, some leave; Alice, too."""
        for _ in range(MOVES):
            await self.move(self.chance.choice(("alice", *NAMES)), self.chance.choice(self.rooms))

    def beside_alice(self) -> set[str]:
        """Who shares a room with her."""
        return set().union(*(who for who in self.joined.values() if "alice" in who)) - {"alice"}

    async def sync(self, since: str = "") -> dict[str, object]:
        """What Alice is told."""
        path = f"/sync?since={since}" if since else "/sync"
        return await self.instance.call("GET", path, token=self.tokens["alice"])

    def names(self, user_ids: list[str]) -> set[str]:
        """User IDs without what they all have."""
        return {user_id[1:].partition(f"{self.seed}:")[0] for user_id in user_ids}


@pytest.mark.parametrize("seed", range(8))
async def test_changed_and_left_follow_who_shares_a_room(instance: Instance, seed: int) -> None:
    town = Town(instance, seed)
    await town.build()
    await town.move_about()
    first = str((await town.sync())["next_batch"])

    for _ in range(3):
        before = town.beside_alice()
        await town.move_about()
        now = town.beside_alice()
        told = await town.sync(first)
        second = str(told["next_batch"])
        path = f"/keys/changes?from={first}&to={second}"
        changes = await instance.call("GET", path, token=town.tokens["alice"])

        changed, left = town.names(changes["changed"]), town.names(changes["left"])
        assert now - before <= changed <= now | {"alice"}
        assert before - now <= left
        assert not left & now
        lists = told.get("device_lists", {})
        assert isinstance(lists, dict)
        assert town.names(lists.get("changed", [])) == changed
        assert town.names(lists.get("left", [])) == left
        first = second


async def test_a_sync_over_a_change_of_keys_tells_those_who_share_a_room_alone(
    instance: Instance,
) -> None:
    town = Town(instance, 99)
    await town.build()
    await town.move("bob", town.rooms[0])
    first = str((await town.sync())["next_batch"])

    for name in ("bob", "carol"):
        who = await instance.call("GET", "/account/whoami", token=town.tokens[name])
        user_id, device_id = who["user_id"], who["device_id"]
        keys = {
            "user_id": user_id,
            "device_id": device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
            "keys": {f"ed25519:{device_id}": "ed", f"curve25519:{device_id}": "curve"},
            "signatures": {user_id: {f"ed25519:{device_id}": "signature"}},
        }
        await instance.call("POST", "/keys/upload", {"device_keys": keys}, token=town.tokens[name])
    told = await town.sync(first)

    assert told["device_lists"] == {"changed": ["@bob99:one.test"], "left": []}
