"""kill -9 under load: an application's webhook is told everything that was acknowledged.

The application is made by the command line, and its endpoint refuses every fifth request.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import aiohttp

from tests.harness import World, eventually
from tests.harness.comity import Comity, executable
from tests.services.conversations.webhook_world import Received, receiving

from .members import OUTAGES

ROUNDS = int(os.environ.get("COMITY_CRASH_ROUNDS", "4"))
SEED = int(os.environ.get("COMITY_CRASH_SEED", str(random.randrange(1_000_000))))
SETTLE_SECONDS = 120.0


async def comity(server: Comity, *arguments: str) -> str:
    """What ``comity application ...`` prints."""
    process = await asyncio.create_subprocess_exec(
        executable(),
        "application",
        *arguments,
        "--config",
        str(server.config_file),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().strip()


class Shop:
    """An application's backend: it writes for its users without pause, whatever happens."""

    def __init__(self, server: Comity, session: aiohttp.ClientSession, token: str) -> None:
        self._server = server
        self._session = session
        self._token = token
        self.acknowledged: dict[str, str] = {}

    async def post(self, path: str, body: Any, user: str, key: str) -> Any:
        """A request, made again until it is answered."""
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Comity-User": user,
            "Idempotency-Key": key,
        }
        while True:
            try:
                async with self._session.post(
                    f"{self._server.client_url}/api/v1{path}", json=body, headers=headers
                ) as response:
                    answer = await response.json(content_type=None)
                    if response.status < 400:
                        return answer
                    # what the server was about when it died is begun anew after a minute
                    assert response.status in (409, 500, 502, 503), answer
            except OUTAGES:
                pass
            await asyncio.sleep(0.05)

    async def write(self, user: str, conversation: str, stop: asyncio.Event) -> None:
        """Say numbered things."""
        number = 0
        while not stop.is_set():
            text = f"{user} {number}"
            path = f"/conversations/{conversation}/messages"
            sent = await self.post(path, {"text": text}, user, f"{user}-{number}")
            self.acknowledged[sent["message"]["id"]] = text
            number += 1
            await asyncio.sleep(0.01)


async def test_kill_9_under_load_loses_no_webhook() -> None:
    print(f"\nseed {SEED}, rounds {ROUNDS} (COMITY_CRASH_SEED={SEED})", flush=True)
    rng = random.Random(SEED)
    with World() as world:
        server = world.comity("one", overrides={"webhooks": {"allow_private_networks": True}})
        await server.start_async()
        token = await _application(server)
        async with aiohttp.ClientSession() as session, receiving() as receiver:
            shop = Shop(server, session, token)
            refusals = iter(range(1_000_000))
            receiver.answer = lambda _: 503 if next(refusals) % 5 == 4 else 200
            ben = {"localpart": "shop_ben"}
            await shop.post("/application/users", ben, "shop_ann", "ben")
            hook = {"url": receiver.url, "events": ["message.created"]}
            await shop.post("/webhooks", hook, "shop_ann", "hook")
            sent = await shop.post(
                "/messages", {"to": "shop_ben@one.test", "text": "first"}, "shop_ann", "first"
            )
            conversation = sent["conversation"]["id"]

            await _storm(server, shop, conversation, rng)

            async def all_told() -> bool:
                return shop.acknowledged.keys() <= _told(receiver.received).keys()

            await eventually(all_told, "every message at the endpoint", SETTLE_SECONDS)
            told = _told(receiver.received)
            print(f"{len(shop.acknowledged)} messages, {len(receiver.received)} requests")
            bodies: dict[str, bytes] = {}
            for request in receiver.received:
                assert bodies.setdefault(request.id, request.body) == request.body
            assert all(len(ids) == 1 for ids in told.values())
            texts = {data["id"]: data["text"] for data in map(_message, receiver.received)}
            assert shop.acknowledged.items() <= texts.items()


async def _application(server: Comity) -> str:
    application_id = await comity(server, "create", "Shop", "--users", "shop_*", "--create-users")
    token = await comity(server, "token", "create", application_id, "--name", "backend")
    assert token.startswith("cta_")
    assert application_id in await comity(server, "list")
    return token


async def _storm(server: Comity, shop: Shop, conversation: str, rng: random.Random) -> None:
    stop = asyncio.Event()
    writer = asyncio.create_task(shop.write("shop_ann", conversation, stop))
    for number in range(ROUNDS):
        await asyncio.sleep(rng.uniform(0.3, 2.0))
        await server.kill_async()
        seconds = await server.start_async()
        print(f"round {number}: back after {seconds:.2f} s", flush=True)
    await asyncio.sleep(1.0)
    stop.set()
    await writer


def _message(request: Received) -> Any:
    return request.json["data"]["message"]


def _told(received: list[Received]) -> dict[str, set[str]]:
    """The messages that were told, and the IDs under which each was."""
    told: dict[str, set[str]] = {}
    for request in received:
        told.setdefault(_message(request)["id"], set()).add(request.id)
    return told
