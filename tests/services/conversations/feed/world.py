"""An instance whose users listen to the feed, and can be told again what they were told."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from homeserver.services.conversations.feed.feed import Feed
from homeserver.services.conversations.feed.subscriptions import Subscription
from homeserver.services.conversations.feed.updates import Update
from homeserver.storage.database import Database
from tests.integration.single import Instance, running

PATIENCE_SECONDS = 30.0


class Ear:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.cut: str | None = None

    def deliver(self, update: Update) -> None:
        self.updates.append(update)

    def cut_off(self, reason: str) -> None:
        self.cut = reason

    async def ready(self) -> None:
        await asyncio.sleep(0)

    @property
    def told(self) -> list[dict[str, Any]]:
        """What came, durable or not."""
        return [orjson.loads(update.json) for update in self.updates]

    @property
    def durable(self) -> list[dict[str, Any]]:
        """What came of the log."""
        return [told for told in self.told if "position" in told]


class Person:
    """A user, what they do over Matrix, and what they hear."""

    def __init__(self, world: World, name: str, token: str) -> None:
        self.world = world
        self.name = name
        self.token = token
        self.user_id = f"@{name}:one.test"
        self.address = f"{name}@one.test"

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        return await self.world.instance.call(
            method, path, body or ({} if method != "GET" else None), token=self.token, status=status
        )

    async def send(self, room_id: str, type: str, content: dict[str, Any]) -> str:
        """Send an event; its ID."""
        path = f"/rooms/{room_id}/send/{type}/{secrets.token_hex(6)}"
        event_id: str = (await self.call("PUT", path, content))["event_id"]
        return event_id

    async def say(self, room_id: str, text: str, **content: Any) -> str:
        return await self.send(
            room_id, "m.room.message", {"msgtype": "m.text", "body": text, **content}
        )

    async def edit(self, room_id: str, event_id: str, text: str) -> str:
        return await self.say(
            room_id,
            f"* {text}",
            **{
                "m.new_content": {"msgtype": "m.text", "body": text},
                "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
            },
        )

    async def react(self, room_id: str, event_id: str, key: str) -> str:
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self.send(room_id, "m.reaction", {"m.relates_to": relation})

    async def redact(self, room_id: str, event_id: str) -> None:
        path = f"/rooms/{room_id}/redact/{event_id}/{secrets.token_hex(6)}"
        await self.call("PUT", path, {"reason": "spam"})

    async def room(self, *members: Person, **options: Any) -> str:
        room_id = await self.world.instance.room(self.token, **options)
        for member in members:
            await member.join(room_id)
        return room_id

    async def join(self, room_id: str) -> None:
        await self.call("POST", f"/join/{room_id}")

    async def leave(self, room_id: str) -> None:
        await self.call("POST", f"/rooms/{room_id}/leave")

    async def invite(self, room_id: str, other: Person) -> None:
        await self.call("POST", f"/rooms/{room_id}/invite", {"user_id": other.user_id})

    async def ignore(self, *others: Person) -> None:
        path = f"/user/{self.user_id}/account_data/m.ignored_user_list"
        await self.call("PUT", path, {"ignored_users": {o.user_id: {} for o in others}})

    async def listen(self, since: int | None = None) -> tuple[Ear, Subscription]:
        """Begin to hear."""
        ear = Ear()
        subscription = await self.world.feed.open(self.user_id, None, since, ear)
        self.world.subscriptions.append(subscription)
        return ear, subscription

    async def told_since(self, since: int) -> list[dict[str, Any]]:
        """What they are told on coming back with a position."""
        ear, subscription = await self.listen(since)
        self.world.feed.shut(subscription)
        self.world.subscriptions.remove(subscription)
        return ear.durable


class World:
    """One instance and its people."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.subscriptions: list[Subscription] = []

    @property
    def feed(self) -> Feed:
        return self.instance.wiring.conversations.feed_parts.feed

    @property
    def position(self) -> int:
        return self.instance.wiring.log.position

    async def person(self, name: str) -> Person:
        return Person(self, name, await self.instance.register(name))

    async def settled(self, is_so: Callable[[], bool] | None = None) -> None:
        """Wait until all is told, and something is so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                await asyncio.sleep(0.002)
                idle = all(reader.is_idle for reader in self.feed._readers.by_user.values())
                told = idle and self.feed.position == self.position
                if told and (is_so is None or is_so()):
                    return


@asynccontextmanager
async def new_world(database: Database, directory: Path, **settings: Any) -> AsyncIterator[World]:
    """A world for one test."""
    async with running(database, directory, **settings) as instance:
        world = World(instance)
        yield world
        for subscription in world.subscriptions:
            world.feed.shut(subscription)


Doing = Callable[[], Awaitable[Any]]
