"""The measures: each takes running servers of one kind and returns figures by name."""

import asyncio
import gc
import statistics
import time
from collections.abc import Sized
from dataclasses import dataclass
from urllib.parse import quote

from tests.harness import Homeserver

from .load import Audience, Record, Sender, flat_out, paced
from .people import Room, User, join_room, open_room, register_many

MIB = 2**20
WARM_UP_SECONDS = 2.0
CALM_SECONDS = 2.0  # the first message at a fixed rate does not come in the wake of a rush
STARTS = 3
JOIN_SECONDS = 300.0
IDLE_SECONDS = 5.0
# What a Synapse on two cores can keep up with, alone and as a pair.
PACE_PER_SECOND = 5.0

Figures = dict[str, float]


@dataclass(frozen=True)
class Scale:
    """How big everything is."""

    seconds: float = 15.0
    rooms: int = 8
    members: int = 10
    senders: int = 32
    many_members: int = 1000
    long_history: int = 5000
    sends: int = 200
    # Where two sides are compared: how often each starts anew, and its turns each time.
    rounds: int = 12
    turns: int = 6
    idle_sockets: int = 10_000
    fan_out: int = 1_500
    # Accounts, audiences and histories that are big.
    rooms_of_one: int = 1_000
    connected: int = 1_000
    long_room: int = 1_000_000


QUICK = Scale(
    seconds=5.0,
    many_members=100,
    long_history=500,
    sends=60,
    rounds=3,
    idle_sockets=1_000,
    fan_out=200,
    rooms_of_one=100,
    connected=100,
    long_room=20_000,
)


async def send(server: Homeserver, scale: Scale) -> Figures:
    """Sends flat out and at a fixed rate, on one server, with every member syncing."""
    users = await register_many(server, scale.rooms * scale.members)
    rooms = [await open_room(users[n :: scale.rooms]) for n in range(scale.rooms)]
    senders = spread_senders(rooms, scale.senders)
    audience = Audience(users)

    full, calm = await _two_phases(audience, senders, scale, PACE_PER_SECOND, scale.members - 1)

    return {
        "sends per second": full.sends_per_second,
        "send p50, flat out (ms)": full.send_ms.percentile(50),
        "send p99, flat out (ms)": full.send_ms.percentile(99),
        "delivery p50, flat out (ms)": full.delivery_ms.percentile(50),
        "delivery p99, flat out (ms)": full.delivery_ms.percentile(99),
        f"send p50, {PACE_PER_SECOND:.0f}/s (ms)": calm.send_ms.percentile(50),
        f"send p99, {PACE_PER_SECOND:.0f}/s (ms)": calm.send_ms.percentile(99),
        f"delivery p50, {PACE_PER_SECOND:.0f}/s (ms)": calm.delivery_ms.percentile(50),
        f"delivery p99, {PACE_PER_SECOND:.0f}/s (ms)": calm.delivery_ms.percentile(99),
        "load generator, share of a core": full.generator_share,
        "errors": full.errors + calm.errors,
        "memory after load (MiB)": server.resident_bytes() / MIB,
    }


async def pair(first: Homeserver, second: Homeserver, scale: Scale) -> Figures:
    """The same across two instances; deliveries are to the members on the other one."""
    half = scale.members // 2
    count = scale.rooms // 2
    here = await register_many(first, count * half)
    there = await register_many(second, count * half)
    rooms = []
    for n in range(count):
        sides = [here[n::count], there[n::count]]
        rooms.append(await open_room([*sides[n % 2], *sides[1 - n % 2]]))
    senders = spread_senders(rooms, scale.senders)
    audience = Audience([*here, *there], only_remote=True)

    full, calm = await _two_phases(audience, senders, scale, PACE_PER_SECOND, half)

    pace = f"{PACE_PER_SECOND:.0f}/s"
    arrived = len(full.delivery_ms.values) / half / len(full.send_ms.values)
    return {
        "pair: sends per second": full.sends_per_second,
        "pair: arrived within 20 s of the end (share)": arrived,
        "pair: delivery p50, flat out (ms)": full.delivery_ms.percentile(50),
        "pair: delivery p99, flat out (ms)": full.delivery_ms.percentile(99),
        f"pair: delivery p50, {pace} (ms)": calm.delivery_ms.percentile(50),
        f"pair: delivery p99, {pace} (ms)": calm.delivery_ms.percentile(99),
        "pair: errors": full.errors + calm.errors,
    }


async def crowd(server: Homeserver, scale: Scale) -> Room:
    """A room with many members, for the measures that need one."""
    return await open_room(await register_many(server, scale.many_members))


async def size(many: Room, scale: Scale) -> Figures:
    """What one send costs in small and large, young and old rooms."""
    users = many.members
    few = await open_room(users[: scale.members])
    old = await open_room(users[: scale.members])
    await _fill(old, scale.long_history)

    costs = {}
    async with Audience(users[1:2]).listening():
        for name, room in (("few", few), ("many", many), ("old", old)):
            costs[name] = await _cost_of_a_send(users[0], room, scale.sends)

    return {
        f"one send, {scale.members} members (ms)": costs["few"],
        f"one send, {scale.many_members} members (ms)": costs["many"],
        f"one send, {scale.long_history} events of history (ms)": costs["old"],
        f"cost at {scale.many_members} to {scale.members} members": costs["many"] / costs["few"],
        "cost with long to short history": costs["old"] / costs["few"],
    }


async def connections(many: Room) -> Figures:
    """Memory that a long-polling sync of every member of the large room takes."""
    server = many.members[0].server
    before = server.resident_bytes()
    async with Audience(many.members).listening():
        await asyncio.sleep(WARM_UP_SECONDS)
        after = server.resident_bytes()
    return {f"{len(many.members)} open syncs, more memory (MiB)": (after - before) / MIB}


async def join(many: Room, other: Homeserver) -> Figures:
    """The time until a user of another instance is in the large room, and has its members.

    Both are shown, since a server may answer the join before it has the whole state.
    """
    guest = (await register_many(other, 1))[0]
    small = await open_room(many.members[:2])
    await join_room(small, guest)  # the instances have met, and know each other's keys
    started = time.monotonic()
    await join_room(many, guest)
    answered = time.monotonic() - started
    target = f"/_matrix/client/v3/rooms/{quote(many.room_id)}/joined_members"
    known: Sized = ()
    while len(known) <= len(many.members):
        known = (await guest.call("GET", target))["joined"]
        if time.monotonic() - started > JOIN_SECONDS:
            raise RuntimeError(f"only {len(known)} members after {JOIN_SECONDS:.0f} s")
    complete = time.monotonic() - started
    return {
        f"join over federation, {len(many.members)} members: answered (s)": answered,
        f"join over federation, {len(many.members)} members: complete (s)": complete,
    }


async def process(server: Homeserver) -> Figures:
    """Memory and start-up, with the data that the other measures left."""
    starts = []
    for _ in range(STARTS):
        await server.stop_async()
        starts.append(await server.start_async())
    await asyncio.sleep(IDLE_SECONDS)
    return {
        "start to first answer (s)": statistics.median(starts),
        "memory, idle (MiB)": server.resident_bytes() / MIB,
    }


def spread_senders(rooms: list[Room], count: int) -> list[Sender]:
    """Senders spread over the rooms, and over the members of each."""
    return [
        Sender(room.members[(n // len(rooms)) * 2 % len(room.members)], room)
        for n in range(count)
        for room in [rooms[n % len(rooms)]]
    ]


async def _two_phases(
    audience: Audience,
    senders: list[Sender],
    scale: Scale,
    per_second: float,
    readers_per_send: int,
) -> tuple[Record, Record]:
    """At a fixed rate, then flat out."""
    full, calm = Record(), Record()
    gc.collect()
    gc.freeze()
    async with audience.listening():
        warm_up = audience.record = Record()
        await flat_out(senders, warm_up, WARM_UP_SECONDS)
        await audience.drained(len(warm_up.send_ms.values) * readers_per_send)
        await asyncio.sleep(CALM_SECONDS)
        audience.record = calm
        await paced(senders, calm, scale.seconds, per_second)
        await audience.drained(len(calm.send_ms.values) * readers_per_send)
        audience.record = full
        await flat_out(senders, full, scale.seconds)
        await audience.drained(len(full.send_ms.values) * readers_per_send)
        audience.record = None
    for sender in senders:
        sender.close()
    return full, calm


async def _fill(room: Room, events: int) -> None:
    """Give a room a history."""
    senders = spread_senders([room], len(room.members))

    async def some(sender: Sender) -> None:
        for _ in range(events // len(senders)):
            await sender.send(None)

    await asyncio.gather(*(some(sender) for sender in senders))
    for sender in senders:
        sender.close()


async def _cost_of_a_send(user: User, room: Room, sends: int) -> float:
    """The median time of a send, one after another."""
    sender = Sender(user, room)
    record = Record()
    for _ in range(10):
        await sender.send(None)
    for _ in range(sends):
        await sender.send(record)
    sender.close()
    return record.send_ms.percentile(50)
