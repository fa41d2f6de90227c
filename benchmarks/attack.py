"""Local traffic while a hostile instance does its worst."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from tests.attack import barrage
from tests.attack.hostile import Hostile, SharedRoom
from tests.harness import Identity, World

from .load import Audience, Record, paced
from .measures import Figures, Scale, spread_senders
from .people import open_room, register_many

HOSTILE_MEMBERS = 20
PER_SECOND = 20.0
# As installed, but for the rates that would hamper the making of accounts and rooms.
SETTINGS = {
    "rate_limits": {
        "enabled": True,
        "registration": {"per_second": 1000, "burst": 1000},
        "join": {"per_second": 1000, "burst": 1000},
        "message": {"per_second": 1000, "burst": 1000},
    },
    "consent": {"defaults": {"message": "ask", "group": "ask"}},
}


async def attack(world: World, scale: Scale) -> Figures:
    """What a message takes between two local users, without an attack and during one.

    The hostile instance sends whatever ``tests/attack`` has, over and over, as fast as it is let.
    """
    server = world.comity("besieged", overrides=SETTINGS)
    await server.start_async()
    users = await register_many(server, scale.members)
    room = await open_room(users)
    senders = spread_senders([room], 4)
    audience = Audience(users)
    calm, under = Record(), Record()
    context = multiprocessing.get_context("spawn")
    requests, begin = context.Value("l"), context.Event()
    scene = (room.room_id, users[0].user_id)
    evil = world.network.add("evil")
    siege = context.Process(
        target=_besiege,
        args=(evil, server.identity, world.network.authority_file, scene, requests, begin),
        daemon=True,
    )
    siege.start()
    try:
        async with audience.listening():
            for record in (Record(), calm):
                audience.record = record
                await paced(senders, record, scale.seconds, PER_SECOND)
                await asyncio.sleep(1)
            audience.record = None
            begin.set()
            await asyncio.sleep(2)
            audience.record, before = under, requests.value
            await paced(senders, under, scale.seconds, PER_SECOND)
            await asyncio.sleep(1)
            audience.record = None
            rate = (requests.value - before) / (under.seconds + 1)
    finally:
        siege.kill()
        siege.join()
    expected = len(under.send_ms.values) * (scale.members - 1)
    return {
        "no attack: delivery p50 (ms)": calm.delivery_ms.percentile(50),
        "no attack: delivery p99 (ms)": calm.delivery_ms.percentile(99),
        "under attack: delivery p50 (ms)": under.delivery_ms.percentile(50),
        "under attack: delivery p99 (ms)": under.delivery_ms.percentile(99),
        "under attack: delivered (share)": len(under.delivery_ms.values) / expected,
        "under attack: requests of the attack per second": rate,
        "errors, attack": calm.errors + under.errors,
    }


def _besiege(
    identity: Identity,
    target: Identity,
    authority_file: Path,
    room: tuple[str, str],
    requests: Any,
    begin: Any,
) -> None:
    """The hostile instance, in a process of its own, until it is killed."""

    async def run() -> None:
        async with Hostile(identity, target, authority_file).running() as hostile:
            shared = SharedRoom(hostile, room[0])
            for user in hostile.users[:HOSTILE_MEMBERS]:
                await shared.join(user)
            await asyncio.to_thread(begin.wait)
            siege = asyncio.create_task(_siege(hostile, shared, room[1]))
            while not siege.done():
                requests.value = hostile.statuses.total()
                await asyncio.sleep(0.1)
            siege.result()

    uvloop.run(run())


async def _siege(hostile: Hostile, shared: SharedRoom, victim: str) -> None:
    """All parts of the attack at once, each again when it is over."""

    async def again(part: Callable[[], Awaitable[object]]) -> None:
        while True:
            await part()

    parts = (
        partial(barrage.invites, hostile, victim),
        partial(barrage.pictures, shared),
        partial(barrage.questions, hostile, victim),
        partial(barrage.edus, shared, victim),
        partial(barrage.malformed, hostile),
        partial(barrage.garbage_signatures, hostile),
        partial(barrage.slow_bodies, hostile, asyncio.Event()),
    )
    await asyncio.gather(*(again(part) for part in parts))
