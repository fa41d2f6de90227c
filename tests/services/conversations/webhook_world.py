"""Webhooks over a log that the test writes, to a server that does as the test says."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from homeserver.services.conversations.webhooks.happenings import Happening, Stretch
from homeserver.services.conversations.webhooks.registry import Owner, Registry
from homeserver.services.conversations.webhooks.sending import Sender
from homeserver.services.conversations.webhooks.service import Limits, NewWebhook, Webhooks
from homeserver.services.rate_limits import RateLimits
from homeserver.storage import accounts
from homeserver.storage.accounts import Account
from homeserver.storage.database import Database
from homeserver.storage.webhook_deliveries import Delivery
from homeserver.storage.webhooks import WebhookRow
from tests.harness.ports import free_port

ALICE = "@alice:one.test"
DAY_MS = 86_400_000
HANG = "hang"
MINE = Owner(user_id=ALICE)
DELIVERED, PENDING, FAILED, GONE = "delivered", "pending", "failed", "gone"


@dataclass(frozen=True)
class Received:
    """A request, as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """A real server, which answers as it is told: a status, or it hangs."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[Received], int | str] = lambda _: 204
        self.headers: dict[str, str] = {}
        self.under_way = self.most_under_way = 0
        self.url = ""
        self._more = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        headers = {key.lower(): value for key, value in request.headers.items()}
        received = Received(headers, await request.read())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self.received.append(received)
            self._more.set()
            status = self.answer(received)
            if isinstance(status, str):
                await asyncio.sleep(3_600)
            await asyncio.sleep(0)
            return web.Response(status=int(status), headers=self.headers, text="as you like")
        finally:
            self.under_way -= 1

    async def wait_for(self, count: int) -> list[Received]:
        """The requests, once there are so many."""
        async with asyncio.timeout(60):
            while len(self.received) < count:
                self._more.clear()
                await self._more.wait()
        return self.received

    def texts(self) -> list[str]:
        return [request.json["data"]["text"] for request in self.received]


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver on a socket of its own."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port or free_port())
    await site.start()
    _, bound = runner.addresses[0][:2]
    receiver.url = f"http://127.0.0.1:{bound}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


class WrittenLog:
    """A log that the test writes: each happening is told to Alice unless it says otherwise."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []
        self.texts: dict[str, str | None] = {}
        self.position = 0
        self.stretches = 0

    def say(self, text: str, type_: str = "message.created", **options: Any) -> Happening:
        """Something happens."""
        self.position += 1
        happening = Happening(
            type_, self.position, "!room", event_id=f"$event{self.position}", **options
        )
        self.texts[f"$event{self.position}"] = text
        self.happenings.append(happening)
        return happening

    async def after(self, position: int, limit: int) -> Stretch:
        self.stretches += 1
        found = [each for each in self.happenings if each.position > position][:limit]
        return Stretch(found, found[-1].position if len(found) == limit else self.position)

    async def happening_of(self, event_id: str, type_: str) -> Happening | None:
        text = self.texts[event_id]
        if text is None:
            return None
        update = json.dumps({"type": type_, "text": text}).encode()
        return Happening(type_, 0, event_id=event_id, update=update)


class ForEverybody:
    """An audience that is told everything."""

    def restart(self) -> None:
        return None

    def note(self, happening: Happening) -> None:
        return None

    async def told(self, happening: Happening, owner: str) -> Happening | None:
        return happening

    async def still_told(self, happening: Happening, owner: str) -> bool:
        return True


class World:
    """A process with webhooks, which can be stopped dead and started again."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.log = WrittenLog()
        self.audience: Any = ForEverybody()
        self.ahead_ms = 0
        self.deadline_seconds = 10.0
        self._sessions: list[aiohttp.ClientSession] = []
        self._registries: list[Registry] = []

    def clock_ms(self) -> int:
        """The real time, and what the test has put it forward by."""
        return time.time_ns() // 1_000_000 + self.ahead_ms

    async def begin(self) -> None:
        """Start a process."""
        session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._sessions.append(session)
        self.registry = Registry(
            database=self.database,
            source=self.log,
            audience=self.audience,
            sender=Sender(
                session=lambda: session,
                clock_ms=self.clock_ms,
                deadline_seconds=self.deadline_seconds,
            ),
            clock_ms=self.clock_ms,
        )
        self._registries.append(self.registry)
        self.webhooks = Webhooks(
            database=self.database,
            registry=self.registry,
            position=lambda: self.log.position,
            rate_limits=RateLimits(enabled=False),
            limits=Limits(allow_http=True, keep_log_ms=7 * DAY_MS),
            clock_ms=self.clock_ms,
        )
        await self.registry.start()

    async def stop(self) -> None:
        """Stop it wherever it stands; nothing is written any more."""
        await self.registry.close()

    async def end(self) -> None:
        """Clean up."""
        for registry in self._registries:
            await registry.close()
        for session in self._sessions:
            await session.close()

    async def pass_time(self, ms: int) -> None:
        """Later, everybody looks at the clock again."""
        self.ahead_ms += ms
        await self.registry.refresh()

    async def add(self, receiver: Receiver, *events: str, **options: Any) -> WebhookRow:
        """A webhook of Alice's."""
        new = NewWebhook(receiver.url, events or ("*",), **options)
        return await self.webhooks.create(Owner(user_id=ALICE), new)

    def say(self, *texts: str) -> None:
        """Messages, at once."""
        for text in texts:
            self.log.say(text)
        self.registry.wake()

    async def log_of(self, row: WebhookRow) -> list[Delivery]:
        """The deliveries of a webhook, the oldest first."""
        found = await self.webhooks.deliveries_of(
            Owner(user_id=ALICE), row.webhook_id, state=None, before=None, limit=1000
        )
        return found[::-1]

    async def settled(
        self, row: WebhookRow, states: Iterable[str], *, attempts: int = 0
    ) -> list[Delivery]:
        """The deliveries, once they are in these states, after so many attempts at least."""
        wanted = list(states)
        found: list[Delivery] = []
        for _ in range(2000):
            found = await self.log_of(row)
            done = sum(delivery.attempts for delivery in found) >= attempts
            if [delivery.state for delivery in found] == wanted and done:
                return found
            await asyncio.sleep(0.02)
        raise AssertionError([(each.state, each.attempts, each.error) for each in found])

    async def current(self, row: WebhookRow) -> WebhookRow:
        """A webhook as it is on disk."""
        return await self.webhooks.get(Owner(user_id=ALICE), row.webhook_id)


@asynccontextmanager
async def webhook_world(database: Database) -> AsyncIterator[World]:
    """A world with Alice's account."""
    await accounts.insert_account(database, Account(ALICE, None, False, False, 0))
    world = World(database)
    await world.begin()
    try:
        yield world
    finally:
        await world.end()
