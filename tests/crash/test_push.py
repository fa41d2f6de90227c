"""kill -9 under load: each acknowledged message is pushed; twice at most what was in flight.

The gateway, which outlives the server, refuses every seventh request.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter

from aiohttp import web

from tests.harness import World, eventually, raw_session
from tests.harness.push_gateway import PushGateway, push_gateway
from tests.integration.push_world import pusher

from .members import writer_and_reader

ROUNDS = int(os.environ.get("COMITY_CRASH_ROUNDS", "4"))
SEED = int(os.environ.get("COMITY_CRASH_SEED", str(random.randrange(1_000_000))))
SETTLE_SECONDS = 120.0


class WaywardGateway(PushGateway):
    """A gateway that has enough now and then."""

    async def _notify(self, request: web.Request) -> web.Response:
        self.status = 503 if self.attempts % 7 == 6 else 200
        return await super()._notify(request)


async def test_kill_9_under_load_loses_no_push() -> None:
    print(f"\nseed {SEED}, rounds {ROUNDS} (COMITY_CRASH_SEED={SEED})", flush=True)
    rng = random.Random(SEED)
    settings = {"push": {"allow_private_networks": True}}
    with World() as world:
        server = world.comity("one", overrides=settings)
        await server.start_async()
        async with raw_session() as session, push_gateway(WaywardGateway()) as gateway:
            writer, reader = await writer_and_reader(server, session)
            await reader.call("POST", "pushers", "set", body=pusher(gateway.url))

            stop = asyncio.Event()
            writing = asyncio.create_task(writer.write(stop, rng))
            for number in range(ROUNDS):
                await asyncio.sleep(rng.uniform(0.3, 1.5))
                await server.kill_async()
                seconds = await server.start_async()
                print(f"round {number}: back after {seconds:.2f} s", flush=True)
            await asyncio.sleep(0.5)
            stop.set()
            await writing

            async def all_pushed() -> bool:
                return writer.acknowledged.keys() <= set(_pushed(gateway))

            await eventually(all_pushed, "every message at the gateway", SETTLE_SECONDS)
            pushed = Counter(_pushed(gateway))
            print(f"{len(writer.acknowledged)} messages, {gateway.attempts} requests")
            assert gateway.problems == []
            assert sum(pushed.values()) - len(pushed) <= ROUNDS


def _pushed(gateway: PushGateway) -> list[str]:
    """The events that the gateway took."""
    return [n["event_id"] for n in gateway.notifications if "event_id" in n]
