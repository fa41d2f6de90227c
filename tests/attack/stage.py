"""The scene: a server with its people, the hostile instance, and what is counted afterwards."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import yaml

from tests.harness import Comity, World, eventually, raw_session
from tests.harness.comity import executable

from . import barrage
from .hostile import Hostile, SharedRoom
from .locals import Local

HOSTILE_MEMBERS = 20
CAROL_SAYS = 30
UNLIMITED = {"per_second": 100_000, "burst": 1_000_000}
NO_REFILL = 0.0005  # per second: nothing comes back while a test runs
MAX_PENDING = 40
PER_INSTANCE = 60
PER_SENDER = 4


def settings(default: str) -> dict[str, Any]:
    """What users have who said nothing is ``default``.

    The general rate of requests is lifted, so that the narrower limits have to hold alone.
    """
    return {
        "rate_limits": {"enabled": True, "federation": UNLIMITED},
        "consent": {
            "defaults": {"message": default, "group": default},
            "requests": {
                "max_pending": MAX_PENDING,
                "per_instance": {"burst": PER_INSTANCE, "per_second": NO_REFILL},
                "per_sender": {"burst": PER_SENDER, "per_second": NO_REFILL},
            },
        },
    }


@dataclass
class Stage:
    """The server, its people, and the hostile instance."""

    server: Comity
    hostile: Hostile
    alice: Local
    bob: Local
    victim: Local
    room_id: str
    shared: SharedRoom
    honest: SharedRoom
    carol_said: list[str] = field(default_factory=list)
    slow_refused: int = 0
    memory_before: int = 0
    statuses: dict[str, Counter[int]] = field(default_factory=dict)

    @property
    def evil(self) -> str:
        """The name of the hostile instance."""
        return self.hostile.name

    @property
    def carol(self) -> str:
        """A user of the honest instance."""
        return next(iter(self.honest.members))

    async def count(self, query: str, *args: Any) -> int:
        """A number out of the server's database."""
        dsn = yaml.safe_load(self.server.config_file.read_text())["database"]["dsn"]
        connection = await asyncpg.connect(dsn)
        try:
            return int(await connection.fetchval(query, *args))
        finally:
            await connection.close()

    async def attack(self) -> None:
        """Everything at once, while Alice, Bob and Carol of an honest instance talk."""
        over = asyncio.Event()
        victim = self.victim.user_id
        talk = [
            asyncio.create_task(self.alice.talk(self.room_id, over)),
            asyncio.create_task(self.bob.talk(self.room_id, over)),
            asyncio.create_task(self._carol_talks()),
        ]
        slow = asyncio.create_task(barrage.slow_bodies(self.hostile, over))
        parts = {
            "invites": barrage.invites(self.hostile, victim),
            "smuggled": barrage.smuggled_invites(self.shared, victim),
            "pictures": barrage.pictures(self.shared),
            "questions": barrage.questions(self.hostile, victim),
            "edus": barrage.edus(self.shared, victim),
            "malformed": barrage.malformed(self.hostile),
            "garbage": barrage.garbage_signatures(self.hostile),
        }
        answers = await asyncio.gather(*parts.values())
        self.statuses = dict(zip(parts, answers, strict=True))
        over.set()
        self.slow_refused = await slow
        await asyncio.gather(*talk)
        await self.alice.hears(self.bob.said[-1])
        await self.bob.hears(self.alice.said[-1])
        await self.alice.hears(self.carol_said[-1])
        await eventually(self._all_is_placed, "an empty inbox")

    async def _all_is_placed(self) -> bool:
        return await self.count("SELECT count(*) FROM inbox") == 0

    async def _carol_talks(self) -> None:
        """Somebody of an honest instance, in the room that the hostile users flood."""
        for number in range(CAROL_SAYS):
            text = f"{self.carol} {number}"
            status, _ = await self.honest.hostile.transaction(
                [self.honest.message(self.carol, text)]
            )
            assert status == 200
            self.carol_said.append(text)

    async def command(self, *words: str) -> str:
        """``comity WORDS``, as the admin types it while the server runs."""
        process = await asyncio.create_subprocess_exec(
            str(executable()),
            *words,
            "--config",
            str(self.server.config_file),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    def log(self) -> list[Mapping[str, Any]]:
        """What the server has logged, a line each; what it says when it is set up is no log."""
        lines = self.server.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@asynccontextmanager
async def stage(world: World, label: str, overrides: Mapping[str, Any]) -> AsyncIterator[Stage]:
    """A server of its own, everybody in their places, the attack not begun."""
    server = world.comity(label, overrides=overrides)
    await server.start_async()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(raw_session())
        alice, bob, victim = [
            await Local.arrive(name, server, session) for name in ("alice", "bob", "victim")
        ]
        room_id = await alice.client.create_room(preset="private_chat")
        await alice.client.invite(room_id, bob.user_id)
        await bob.client.join(room_id)
        open_room = await alice.client.create_room(
            preset="public_chat", power_level_content_override={"invite": 0}
        )
        await bob.client.join(open_room)
        network = world.network
        hostile = Hostile(network.add(f"evil-{label}"), server.identity, network.authority_file)
        await stack.enter_async_context(hostile.running())
        shared = SharedRoom(hostile, open_room)
        for user in hostile.users[:HOSTILE_MEMBERS]:
            await shared.join(user)
        fine = Hostile(network.add(f"fine-{label}"), server.identity, network.authority_file)
        await stack.enter_async_context(fine.running())
        honest = SharedRoom(fine, open_room)
        await honest.join(f"@carol:{fine.name}")
        for local in (alice, bob, victim):
            await stack.enter_async_context(local.listening())
        made = Stage(server, hostile, alice, bob, victim, room_id, shared, honest)
        made.memory_before = server.resident_bytes()
        yield made
    await server.stop_async()
