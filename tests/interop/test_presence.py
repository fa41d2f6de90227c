"""Presence with a text reaches who shares a room elsewhere, in whatever order things happen."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from tests.harness.client import MatrixRefused, RawClient, eventually, raw_session

from .conftest import Pair

_serial = itertools.count(1)
SECONDS = 30.0
AFTER_AN_OUTAGE_SECONDS = 60.0
ONLY_PRESENCE = '{"room":{"rooms":[]},"account_data":{"types":[]}}'


class Watcher:
    """A client that syncs, and keeps what it is told of others' presence."""

    def __init__(self, raw: RawClient) -> None:
        self.raw = raw
        self.told: dict[str, list[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Sync for ever."""
        query = {"filter": ONLY_PRESENCE}
        while True:
            try:
                answer = await self.raw.call("GET", "sync", query={**query, "timeout": 5_000})
            except (aiohttp.ClientError, OSError, TimeoutError, MatrixRefused):
                await asyncio.sleep(0.2)
                continue
            query["since"] = answer["next_batch"]
            for event in answer.get("presence", {}).get("events", ()):
                self.told.setdefault(event["sender"], []).append(event["content"])

    async def hears(
        self, other: RawClient, presence: str, text: str, seconds: float = SECONDS
    ) -> None:
        """Be told of a presence, by sync, and find it when asking."""

        async def told() -> bool:
            contents = self.told.get(other.user_id, [])
            return bool(contents) and (
                (contents[-1]["presence"], contents[-1].get("status_msg")) == (presence, text)
            )

        await eventually(told, f"{text!r} in a sync; told: {self.told}", seconds)
        found = await self.raw.call("GET", "presence", other.user_id, "status")
        assert (found["presence"], found["status_msg"]) == (presence, text)


@asynccontextmanager
async def two(pair: Pair) -> AsyncIterator[tuple[RawClient, Watcher]]:
    """Alice, and Bob elsewhere, who syncs."""
    async with raw_session() as session:
        alice, bob = (RawClient(session, server.client_url) for server in pair.servers)
        number = next(_serial)
        await alice.register(f"seen{number}")
        await bob.register(f"watcher{number}")
        watcher = Watcher(bob)
        listening = asyncio.create_task(watcher.listen())
        try:
            yield alice, watcher
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


async def set_presence(person: RawClient, presence: str, text: str) -> None:
    body = {"presence": presence, "status_msg": text}
    await person.call("PUT", "presence", person.user_id, "status", body=body)


async def meet(host: RawClient, guest: RawClient) -> str:
    """The guest is asked into a room of the host's, and joins."""
    room_id = await host.create_room(preset="private_chat", invite=[guest.user_id])
    via = host.user_id.partition(":")[2]

    async def joined() -> bool:
        try:
            await guest.join(room_id, via)
        except MatrixRefused:
            return False
        return True

    await eventually(joined, "the guest joins")
    return room_id


async def test_what_was_set_before_the_other_came(pair: Pair) -> None:
    async with two(pair) as (alice, bob):
        await set_presence(alice, "online", "before")

        await meet(alice, bob.raw)

        await bob.hears(alice, "online", "before")


async def test_what_was_set_before_one_came_to_the_other(pair: Pair) -> None:
    async with two(pair) as (alice, bob):
        await set_presence(alice, "unavailable", "before")

        await meet(bob.raw, alice)

        await bob.hears(alice, "unavailable", "before")


async def test_what_is_set_just_after_the_other_came(pair: Pair) -> None:
    async with two(pair) as (alice, bob):
        await set_presence(alice, "unavailable", "alone")
        await asyncio.sleep(1.5)  # so that it has been found out that nobody is to be told
        await meet(alice, bob.raw)

        await set_presence(alice, "unavailable", "together")

        await bob.hears(alice, "unavailable", "together")


async def test_the_last_of_quick_changes(pair: Pair) -> None:
    async with two(pair) as (alice, bob):
        await meet(alice, bob.raw)

        for number in range(10):
            await set_presence(alice, "online" if number % 2 else "unavailable", str(number))

        await bob.hears(alice, "online", "9")
        await set_presence(alice, "unavailable", "10")
        await bob.hears(alice, "unavailable", "10")


async def test_who_is_known_already_is_told_of_to_who_meets_them(pair: Pair) -> None:
    if pair.name != "comity-comity":
        pytest.skip("another server than Comity tells its users when it likes")
    async with two(pair) as (alice, first), raw_session() as session:
        await meet(alice, first.raw)
        await set_presence(alice, "online", "known")
        await first.hears(alice, "online", "known")
        second = Watcher(RawClient(session, first.raw.base_url))
        await second.raw.register(f"second{next(_serial)}")
        listening = asyncio.create_task(second.listen())
        await asyncio.sleep(1)

        await meet(alice, second.raw)

        try:
            await second.hears(alice, "online", "known")
        finally:
            listening.cancel()


async def test_what_was_set_while_the_other_server_was_down(pair: Pair) -> None:
    async with two(pair) as (alice, bob):
        room_id = await meet(alice, bob.raw)
        await set_presence(alice, "unavailable", "first")
        await bob.hears(alice, "unavailable", "first")

        await pair.servers[1].kill_async()
        await set_presence(alice, "unavailable", "second")
        await alice.send(room_id, "are you there?")
        await asyncio.sleep(3)  # so that it was tried, and has failed
        syncing = asyncio.create_task(stay(alice))
        await pair.servers[1].start_async()

        try:
            await bob.hears(alice, "unavailable", "second", AFTER_AN_OUTAGE_SECONDS)
        finally:
            syncing.cancel()


async def stay(person: RawClient) -> None:
    """Sync as somebody who is away from the keyboard."""
    query: dict[str, Any] = {"timeout": 5_000, "set_presence": "unavailable"}
    while True:
        query["since"] = (await person.call("GET", "sync", query=query))["next_batch"]
