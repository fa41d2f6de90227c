"""Readers in a long-polling sync, and senders; every message carries when it was sent."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from .http import Connection
from .people import Room, User

FILTER = quote(
    orjson.dumps(
        {
            "room": {
                "timeline": {"limit": 100},
                "state": {"lazy_load_members": True},
                "ephemeral": {"types": []},
                "account_data": {"types": []},
            },
            "presence": {"types": []},
            "account_data": {"types": []},
        }
    )
)
LONG_POLL_MS = 30_000
SENT_AT = "sent_ns"
NANOSECONDS_PER_MS = 1e6
DRAIN_SECONDS = 20.0


@dataclass
class Samples:
    """Times in milliseconds."""

    values: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """The smallest value that `percent` of the values do not exceed."""
        ordered = sorted(self.values)
        if not ordered:
            return float("nan")
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@dataclass
class Record:
    """What one phase of a load has measured."""

    send_ms: Samples = field(default_factory=Samples)
    delivery_ms: Samples = field(default_factory=Samples)
    seconds: float = 0.0
    generator_share: float = 0.0
    errors: int = 0

    @property
    def sends_per_second(self) -> float:
        """Answered sends per second."""
        return len(self.send_ms.values) / self.seconds


class Audience:
    """Everybody's sync. What arrives is added to `record`, where there is one."""

    def __init__(self, users: Iterable[User], *, only_remote: bool = False) -> None:
        self.record: Record | None = None
        self.limited = 0
        self._users = list(users)
        self._only_remote = only_remote
        self._ready = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Sync until the block ends; the block starts when everyone's first sync is done."""
        tasks = [asyncio.create_task(self._listen(user)) for user in self._users]
        while self._ready < len(self._users):
            await asyncio.sleep(0.05)
            for task in tasks:
                if task.done():
                    task.result()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def drained(self, expected: int) -> None:
        """Wait until as many deliveries as expected are in, or nothing comes any more."""
        assert self.record is not None
        deadline = time.monotonic() + DRAIN_SECONDS
        values = self.record.delivery_ms.values
        while len(values) < expected and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _listen(self, user: User) -> None:
        connection = user.connection()
        base = f"/_matrix/client/v3/sync?filter={FILTER}&set_presence=offline"
        first = await connection.json("GET", f"{base}&timeout=0")
        since = first["next_batch"]
        self._ready += 1
        try:
            while True:
                target = f"{base}&timeout={LONG_POLL_MS}&since={quote(since)}"
                try:
                    status, body = await connection.request("GET", target)
                except ConnectionError:
                    status = 0
                if status != 200:
                    self._count_error()
                    await asyncio.sleep(0.1)
                    continue
                now = time.monotonic_ns()
                answer = orjson.loads(body)
                since = answer["next_batch"]
                self._take(user, answer, now)
        finally:
            connection.close()

    def _take(self, user: User, answer: Any, now: int) -> None:
        rooms = answer.get("rooms", {}).get("join", {})
        for room in rooms.values():
            timeline = room.get("timeline", {})
            self.limited += bool(timeline.get("limited"))
            if self.record is None:
                continue
            values = self.record.delivery_ms.values
            for event in timeline.get("events", ()):
                sent = event["content"].get(SENT_AT)
                if sent is None or event["sender"] == user.user_id:
                    continue
                if self._only_remote and event["sender"].endswith(user.server.server_name):
                    continue
                values.append((now - sent) / NANOSECONDS_PER_MS)

    def _count_error(self) -> None:
        if self.record is not None:
            self.record.errors += 1


class Sender:
    """Sends messages to one room on a connection of its own."""

    def __init__(self, user: User, room: Room) -> None:
        self._connection: Connection = user.connection()
        self._target = f"/_matrix/client/v3/rooms/{quote(room.room_id)}/send/m.room.message/"
        self._transaction = f"{time.monotonic_ns()}."
        self._count = 0

    async def send(self, record: Record | None) -> None:
        """Send one message and wait for the answer."""
        self._count += 1
        started = time.monotonic_ns()
        content = {"msgtype": "m.text", "body": "But, soft! what light?", SENT_AT: started}
        target = f"{self._target}{self._transaction}{self._count}"
        status, _ = await self._connection.request("PUT", target, orjson.dumps(content))
        if record is not None:
            if status == 200:
                elapsed = time.monotonic_ns() - started
                record.send_ms.values.append(elapsed / NANOSECONDS_PER_MS)
            else:
                record.errors += 1

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


async def flat_out(senders: Sequence[Sender], record: Record, seconds: float) -> None:
    """Each sender sends as soon as its last message was answered."""
    deadline = time.monotonic() + seconds
    cpu = time.process_time()

    async def loop(sender: Sender) -> None:
        while time.monotonic() < deadline:
            await sender.send(record)

    started = time.monotonic()
    await asyncio.gather(*(loop(sender) for sender in senders))
    record.seconds = time.monotonic() - started
    record.generator_share = (time.process_time() - cpu) / record.seconds


async def paced(
    senders: Sequence[Sender], record: Record, seconds: float, per_second: float
) -> None:
    """The senders take turns at a fixed rate, whether or not the last one was answered."""
    cpu, started = time.process_time(), time.monotonic()
    tasks = []
    for number in range(int(seconds * per_second)):
        await asyncio.sleep(max(0.0, started + number / per_second - time.monotonic()))
        tasks.append(asyncio.create_task(senders[number % len(senders)].send(record)))
        if len(tasks) >= len(senders):
            await tasks.pop(0)
    await asyncio.gather(*tasks)
    record.seconds = time.monotonic() - started
    record.generator_share = (time.process_time() - cpu) / record.seconds
