"""The WebSocket of the Conversations API: throughput, latency, fan-out, and what idle sockets cost.

The load generator is a process of its own; with everybody connected it takes a good part of the
other core, so the server has one.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import orjson

from tests.harness import Comity, World

from .http import Connection
from .load import NANOSECONDS_PER_MS, Samples
from .measures import MIB, WARM_UP_SECONDS, Figures, Scale
from .people import Room, User, in_batches, join_room, open_room
from .websocket import Client, sent_ns

SETTINGS = {
    "websocket": {"frames_per_second": 1_000_000, "frames_at_once": 1_000_000},
    "presence": {"enabled": False},
}
IN_FLIGHT = 8
PACE_PER_SECOND = 1_000.0
DRAIN_SECONDS = 20.0
IDLE_MEMBERS = 10
CONNECTED_AT_ONCE = 100
FAN_OUTS = 20


async def new_users(server: Comity, count: int) -> list[User]:
    """Accounts with a device each, written into the database: hashing passwords takes its time."""
    names = [f"u{secrets.token_hex(6)}" for _ in range(count)]
    tokens = await server.add_accounts(names)
    return [
        User(server, f"@{name}:{server.server_name}", token)
        for name, token in zip(names, tokens, strict=True)
    ]


@dataclass(slots=True)
class Tally:
    """What a phase has measured."""

    acks: int = 0
    deliveries: int = 0
    delivery_ms: Samples | None = None


class Crowd:
    """Connected members of rooms, some of whom send."""

    def __init__(self, rooms: Sequence[Room], *, only: Comity | None = None) -> None:
        """``only``: deliveries count to members on this server."""
        self.rooms = rooms
        self.clients = {m.user_id: Client(m) for room in rooms for m in room.members}
        self.tally = Tally()
        self._only = only
        self._ids = itertools.count()

    async def connect(self) -> None:
        """Everybody connects."""
        await in_batches(self.clients.values(), lambda client: client.connect())
        for client in self.clients.values():
            if self._only is None or client.user.server is self._only:
                client.on_created = self._created

    def _created(self, client: Client, payload: bytes) -> None:
        tally = self.tally
        tally.deliveries += 1
        if tally.delivery_ms is not None:
            elapsed = time.monotonic_ns() - sent_ns(payload)
            tally.delivery_ms.values.append(elapsed / NANOSECONDS_PER_MS)

    def close(self) -> None:
        """Everybody goes."""
        for client in self.clients.values():
            client.close()

    async def drained(self, expected: int) -> None:
        """Wait until so many were delivered, or nothing comes any more."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.tally.deliveries < expected and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def flat_out(self, senders: int, seconds: float) -> float:
        """Each sender keeps some messages on their way; acknowledged sends per second."""
        self.tally = tally = Tally()
        count, running = 0, True
        chosen = [
            (self.clients[room.members[n // len(self.rooms) % len(room.members)].user_id], room)
            for n in range(senders)
            for room in [self.rooms[n % len(self.rooms)]]
        ]
        by_client = {id(client): room for client, room in chosen}

        def send(client: Client) -> None:
            nonlocal count
            count += 1
            client.send(str(next(self._ids)), by_client[id(client)].room_id)

        def acknowledged(client: Client, payload: bytes) -> None:
            tally.acks += 1
            if running:
                send(client)

        started = time.monotonic()
        for client, _ in chosen:
            client.on_ok = acknowledged
            for _ in range(IN_FLIGHT):
                send(client)
        await asyncio.sleep(seconds)
        rate = tally.acks / (time.monotonic() - started)
        running = False
        deadline = time.monotonic() + DRAIN_SECONDS
        while tally.acks < count and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return rate

    async def paced(self, seconds: float, per_second: float) -> Samples:
        """Messages at a fixed rate, whether or not they were acknowledged; delivery times."""
        self.tally = Tally(delivery_ms=Samples())
        assert self.tally.delivery_ms is not None
        started, sent, total = time.monotonic(), 0, int(seconds * per_second)
        rooms = self.rooms
        while sent < total:
            due = min(total, int((time.monotonic() - started) * per_second) + 1)
            for number in range(sent, due):
                room = rooms[number % len(rooms)]
                member = room.members[number // len(rooms) % len(room.members)]
                self.clients[member.user_id].send(str(next(self._ids)), room.room_id)
            sent = due
            await asyncio.sleep(0.001)
        listening = sum(1 for m in rooms[0].members if self._only in (None, m.server))
        await self.drained(total * listening)
        return self.tally.delivery_ms

    @property
    def problems(self) -> int:
        """How many sends were refused, or sockets lost."""
        return sum(len(c.problems) + c.lost for c in self.clients.values())


async def rest(server: Comity, rooms: Sequence[Room], senders: int, seconds: float) -> float:
    """Sends per second through POST, one after another on each of some connections."""
    deadline, count = time.monotonic() + seconds, 0

    async def loop(number: int) -> None:
        nonlocal count
        room = rooms[number % len(rooms)]
        user = room.members[number // len(rooms) % len(room.members)]
        connection: Connection = user.connection()
        try:
            while time.monotonic() < deadline:
                body = {
                    "text": f"{time.monotonic_ns():020}: soft",
                    "client_id": secrets.token_hex(8),
                }
                path = f"/api/v1/conversations/{room.room_id}/messages"
                status, answer = await connection.request("POST", path, orjson.dumps(body))
                assert status == 201, answer
                count += 1
        finally:
            connection.close()

    await asyncio.gather(*(loop(number) for number in range(senders)))
    return count / seconds


async def throughput(server: Comity, scale: Scale) -> Figures:
    """Sends over WebSocket and REST, every member connected."""
    users = await new_users(server, scale.rooms * scale.members)
    rooms = [await open_room(users[n :: scale.rooms]) for n in range(scale.rooms)]
    crowd = Crowd(rooms)
    await crowd.connect()
    gc.collect()
    gc.freeze()
    await crowd.flat_out(scale.senders, WARM_UP_SECONDS)
    samples = await crowd.paced(scale.seconds, PACE_PER_SECOND)
    cpu, started = server.cpu_seconds(), time.monotonic()
    rate = await crowd.flat_out(scale.senders, scale.seconds)
    cpu = (server.cpu_seconds() - cpu) / crowd.tally.acks
    delivered = crowd.tally.deliveries
    share = delivered / (crowd.tally.acks * scale.members)
    elapsed = time.monotonic() - started
    by_rest = await rest(server, rooms, scale.senders, scale.seconds)
    figures = {
        "ws: sends per second, flat out": rate,
        "ws: a send and its deliveries (µs of CPU)": cpu * 1e6,
        "ws: deliveries per second, flat out": delivered / elapsed,
        "ws: delivered (share)": share,
        "rest: sends per second, flat out": by_rest,
        "ws: delivery p50, 1,000/s (ms)": samples.percentile(50),
        "ws: delivery p99, 1,000/s (ms)": samples.percentile(99),
        "ws: problems": crowd.problems,
    }
    crowd.close()
    return figures


async def pair(first: Comity, second: Comity, scale: Scale) -> Figures:
    """Deliveries to the members of another instance."""
    half = scale.members // 2
    here = await new_users(first, scale.rooms * half)
    there = await new_users(second, scale.rooms * half)
    rooms = []
    for n in range(scale.rooms):
        room = await open_room([*here[n :: scale.rooms], *there[n :: scale.rooms]])
        rooms.append(room)
    crowd = Crowd(rooms, only=second)
    await crowd.connect()
    # Those of the first send, so that all that is delivered on the second came from there.
    crowd.rooms = [Room(room.room_id, room.members[:half]) for room in rooms]
    listening = len(rooms[0].members) - half
    rate = PACE_PER_SECOND / 4
    crowd.tally = Tally(delivery_ms=Samples())
    samples = await _paced_across(crowd, scale.seconds, rate, listening)
    figures = {
        f"ws, two instances: delivery p50, {rate:.0f}/s (ms)": samples.percentile(50),
        f"ws, two instances: delivery p99, {rate:.0f}/s (ms)": samples.percentile(99),
        "ws, two instances: delivered (share)": crowd.tally.deliveries
        / (int(scale.seconds * rate) * listening),
    }
    crowd.close()
    return figures


async def _paced_across(crowd: Crowd, seconds: float, rate: float, listening: int) -> Samples:
    total = int(seconds * rate)
    samples = await crowd.paced(seconds, rate)
    await crowd.drained(total * listening)
    return samples


async def idle(server: Comity, count: int) -> Figures:
    """Memory that sockets take which only listen, each in a conversation of ten."""
    users = await new_users(server, count)
    groups = [users[n : n + IDLE_MEMBERS] for n in range(0, count, IDLE_MEMBERS)]
    await in_batches(groups, open_room)
    await server.stop_async()
    await server.start_async()
    await asyncio.sleep(1)
    before, cpu = server.resident_bytes(), server.cpu_seconds()
    clients = [Client(user) for user in users]
    started = time.monotonic()
    for n in range(0, count, CONNECTED_AT_ONCE):
        await asyncio.gather(*(c.connect() for c in clients[n : n + CONNECTED_AT_ONCE]))
    elapsed, cpu = time.monotonic() - started, server.cpu_seconds() - cpu
    await asyncio.sleep(3)
    after, cpu_idle = server.resident_bytes(), server.cpu_seconds()
    await asyncio.sleep(10)
    cpu_idle = (server.cpu_seconds() - cpu_idle) / 10
    lost = sum(client.lost for client in clients)
    for client in clients:
        client.close()
    return {
        f"{count:,} idle sockets, more memory (MiB)": (after - before) / MIB,
        "an idle socket (KiB)": (after - before) / 1024 / count,
        "sockets opened per second": count / elapsed,
        "opening a socket (µs of CPU)": cpu / count * 1e6,
        "idle sockets, share of a core": cpu_idle,
        "idle sockets lost": lost,
    }


async def fan_out(server: Comity, count: int) -> Figures:
    """The time until a message has reached every connected member of a large group."""
    users = await new_users(server, count)
    room = await open_room(users[:2])
    await in_batches(users[2:], lambda user: join_room(room, user))
    crowd = Crowd([Room(room.room_id, users)])
    await crowd.connect()
    await asyncio.sleep(3)
    last: list[float] = []
    for number in range(FAN_OUTS):
        crowd.tally = Tally(delivery_ms=Samples())
        crowd.clients[users[0].user_id].send(f"f{number}", room.room_id)
        await crowd.drained(count)
        assert crowd.tally.delivery_ms is not None
        last.append(max(crowd.tally.delivery_ms.values, default=float("nan")))
        await asyncio.sleep(0.2)
    crowd.close()
    last.sort()
    return {
        f"fan-out to {count:,} sockets, the last one, p50 (ms)": last[len(last) // 2],
        f"fan-out to {count:,} sockets, the last one, worst (ms)": last[-1],
    }


async def sockets(world: World, scale: Scale) -> Figures:
    """All of it."""
    server = world.comity("sockets", overrides=SETTINGS)
    await server.start_async()
    figures = await throughput(server, scale)
    with suppress(OSError):
        figures |= await fan_out(server, scale.fan_out)
    figures |= await idle(server, scale.idle_sockets)
    other = world.comity("socketsafar", overrides=SETTINGS)
    await other.start_async()
    figures |= await pair(server, other, scale)
    return figures
