"""A Comity that holds messages until a moderator lets them through, with others in its rooms."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest_asyncio

from tests.harness import Comity, RawClient, World, eventually, raw_session
from tests.harness.comity import executable

from .conftest import Pair

RULE = {"name": "wait", "match": {"keywords": ["casino"]}, "action": "hold"}
_serial = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moderated(world: World) -> AsyncIterator[Comity]:
    """A Comity with a rule that holds."""
    server = world.comity("moderated", overrides={"policy": {"rules": [RULE]}})
    await server.start_async()
    yield server
    await server.stop_async()


class Reader(RawClient):
    """Somebody who follows their syncs."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        super().__init__(session, url)
        self.token = ""
        self.seen: list[str] = []

    async def sync(self, room_id: str) -> list[str]:
        """Sync; all texts that came so far, in their order."""
        query = {"since": self.token} if self.token else {}
        answer: Any = await self.call("GET", "sync", query=query)
        self.token = answer["next_batch"]
        part = answer.get("rooms", {}).get("join", {}).get(room_id, {})
        for event in part.get("timeline", {}).get("events", ()):
            if "body" in event["content"]:
                self.seen.append(event["content"]["body"])
        return self.seen

    async def reads(self, room_id: str, text: str) -> None:
        """Wait until a text has come."""

        async def has_come() -> bool:
            return text in await self.sync(room_id)

        await eventually(has_come, f"{self.user_id} reads {text!r}")


async def _comity(server: Comity, *arguments: str) -> str:
    """The moderator's command line."""
    process = await asyncio.create_subprocess_exec(
        executable(),
        "policy",
        "queue",
        *arguments,
        "--config",
        server.config_file,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_what_is_held_here_reaches_others_once_it_is_released(
    moderated: Comity, pair: Pair
) -> None:
    """Bob, elsewhere, gets the first message only after the second."""
    bob = pair.bob
    async with raw_session() as session:
        carol = Reader(session, moderated.client_url)
        await carol.register(f"carol{next(_serial)}")
        room_id = await carol.create_room(preset="public_chat")
        await carol.invite(room_id, bob.user_id)
        await bob.wait(lambda: room_id in bob.invites, "the invite")
        await bob.join(room_id)
        await carol.send(room_id, "a casino")
        await carol.send(room_id, "after")
        await bob.sees_text(room_id, "after")
        assert bob.texts(room_id) == ["after"]

        await _comity(moderated, "release", "--sender", carol.user_id)

        await bob.sees_text(room_id, "a casino")
        await carol.reads(room_id, "a casino")
        await bob.send(room_id, "an answer")
        await carol.reads(room_id, "an answer")
        history = await carol.history(room_id)
        texts = [e["content"]["body"] for e in history if "body" in e["content"]]
        assert texts == ["a casino", "after", "an answer"]


async def test_what_others_send_is_held_and_built_on(moderated: Comity, pair: Pair) -> None:
    """Bob's room goes on for everybody, while Carol's server keeps his message from her.

    Released, it reaches her once, although her server is killed before her next sync.
    """
    bob = pair.bob
    async with raw_session() as session:
        carol = Reader(session, moderated.client_url)
        await carol.register(f"carol{next(_serial)}")
        room_id = await carol.create_room(preset="public_chat")
        await carol.invite(room_id, bob.user_id)
        await bob.wait(lambda: room_id in bob.invites, "the invite")
        await bob.join(room_id)
        await bob.send(room_id, "a casino")
        await bob.send(room_id, "after")
        await carol.reads(room_id, "after")
        await carol.send(room_id, "an answer")
        await bob.sees_text(room_id, "an answer")
        assert "a casino" not in await carol.sync(room_id)
        listed = await _comity(moderated, "list", "--kind", "held")
        assert bob.user_id in listed

        await _comity(moderated, "release", "--sender", bob.user_id)
        await moderated.kill_async()
        await moderated.start_async()

        await carol.reads(room_id, "a casino")
        assert (await carol.sync(room_id)).count("a casino") == 1
        history = await carol.history(room_id)
        texts = [e["content"]["body"] for e in history if "body" in e["content"]]
        assert texts == ["a casino", "after", "an answer"]
