"""Requests that wait end at once when their caller is locked, deactivated or logged out.

Spec: client-server API, account locking, soft logout.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.protocol.identifiers import UserId
from homeserver.storage.database import Database
from tests.conversations.sockets import ClientSocket

from .single import Instance, running

ALICE = "@alice:one.test"
LONG = 120_000  # ms: nothing in these tests lasts so long
SOON = 20  # s: far from the above, however slow the machine
SLIDING = "/_matrix/client/unstable/org.matrix.msc4186/sync"

Ending = Callable[["World"], Coroutine[Any, Any, Any]]


class World:
    """An instance with an admin, and Alice, of whose requests one waits."""

    def __init__(self, one: Instance, root: str, alice: str, room_id: str) -> None:
        self.one = one
        self.root = root
        self.alice = alice
        self.room_id = room_id
        self.polls = one.wiring.account_access.long_polls

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """A request of Alice's, whatever comes of it."""
        headers = {"Authorization": f"Bearer {self.alice}"}
        url = path if path.startswith("/_") else f"/_matrix/client/v3{path}"
        async with self.one.client.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def wait_with(self, kind: str) -> asyncio.Task[tuple[int, dict[str, Any]]]:
        """A request of one kind, which waits."""
        since = (await self.one.call("GET", "/sync", token=self.alice))["next_batch"]
        end = (await self.one.call("GET", "/events", token=self.alice))["end"]
        start: dict[str, Any] = {"extensions": {}}
        room = quote(self.room_id)
        if kind == "sliding":
            start["pos"] = (await self.request("POST", SLIDING, start))[1]["pos"]
        method, path, body = {
            "sync": ("GET", f"/sync?since={since}&timeout={LONG}", None),
            "events": ("GET", f"/events?from={end}&timeout={LONG}", None),
            "peek": ("GET", f"/events?room_id={room}&timeout={LONG}", None),
            "sliding": ("POST", f"{SLIDING}?timeout={LONG}&pos={start.get('pos')}", {}),
        }[kind]
        waiting = asyncio.create_task(self.request(method, path, body))
        for _ in range(1_000):
            if len(self.polls):
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # so that it has found that there is no news
        assert not waiting.done()
        return waiting


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with running(database, tmp_path) as one:
        root, alice = await one.register("root"), await one.register("alice")
        await one.wiring.accounts.set_admin("@root:one.test", True)
        yield World(one, root, alice, await one.room(alice))


async def lock(world: World) -> None:
    path = f"/_matrix/client/v1/admin/lock/{ALICE}"
    await world.one.call("PUT", path, {"locked": True}, token=world.root)


async def log_out(world: World) -> None:
    await world.one.call("POST", "/logout", {}, token=world.alice)


async def log_out_everywhere(world: World) -> None:
    await world.one.call("POST", "/logout/all", {}, token=world.alice)


async def deactivate(world: World) -> None:
    await world.one.wiring.accounts.deactivate(UserId(ALICE))


async def deactivate_elsewhere(world: World) -> None:
    await world.one.wiring.database.execute(
        "UPDATE accounts SET deactivated_at = 1 WHERE user_id = $1", ALICE
    )
    await world.polls.look()


async def log_out_elsewhere(world: World) -> None:
    await world.one.wiring.database.execute("DELETE FROM access_tokens WHERE user_id = $1", ALICE)
    await world.polls.look()


@pytest.mark.parametrize("kind", ["sync", "events", "peek", "sliding"])
async def test_a_locked_users_request_ends(world: World, kind: str) -> None:
    waiting = await world.wait_with(kind)

    await lock(world)

    status, answer = await asyncio.wait_for(waiting, SOON)
    assert (status, answer["errcode"], answer["soft_logout"]) == (401, "M_USER_LOCKED", True)


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("sync", log_out),
        ("events", log_out_everywhere),
        ("peek", deactivate),
        ("sliding", log_out),
        ("sync", deactivate_elsewhere),
        ("sync", log_out_elsewhere),
    ],
)
async def test_a_request_ends_with_its_session(world: World, kind: str, end: Ending) -> None:
    waiting = await world.wait_with(kind)

    await end(world)

    status, answer = await asyncio.wait_for(waiting, SOON)
    assert (status, answer["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    assert not answer.get("soft_logout")


async def test_what_another_process_locks_ends_a_request_here(world: World) -> None:
    waiting = await world.wait_with("sync")

    await world.one.wiring.database.execute(
        "UPDATE accounts SET locked_at = 1 WHERE user_id = $1", ALICE
    )
    await world.one.wiring.standing.reload()

    assert (await asyncio.wait_for(waiting, SOON))[1]["errcode"] == "M_USER_LOCKED"


async def test_a_request_outlives_another_device(world: World) -> None:
    login = {"type": "m.login.password", "user": "alice", "password": "sesame"}
    other = (await world.one.call("POST", "/login", login))["access_token"]
    waiting = await world.wait_with("sync")

    await world.one.call("POST", "/logout", {}, token=other)
    await world.polls.look()

    await world.one.say(world.alice, world.room_id, "news")
    status, answer = await asyncio.wait_for(waiting, SOON)
    while status == 200 and world.room_id not in answer.get("rooms", {}).get("join", {}):
        status, answer = await world.request("GET", f"/sync?since={answer['next_batch']}")
    assert status == 200


async def test_a_request_outlives_the_token_that_its_client_has_refreshed(world: World) -> None:
    login = {
        "type": "m.login.password",
        "user": "alice",
        "password": "sesame",
        "refresh_token": True,
    }
    tokens = await world.one.call("POST", "/login", login)
    world.alice = tokens["access_token"]
    waiting = await world.wait_with("sync")

    refreshed = await world.one.call("POST", "/refresh", {"refresh_token": tokens["refresh_token"]})
    await world.one.call("GET", "/account/whoami", token=refreshed["access_token"])
    await world.polls.look()

    await world.one.say(refreshed["access_token"], world.room_id, "news")
    status, _ = await asyncio.wait_for(waiting, SOON)
    assert status == 200


@pytest.mark.parametrize("end", [lock, log_out, deactivate])
async def test_sockets_and_event_streams_end(world: World, end: Ending) -> None:
    headers = {"Authorization": f"Bearer {world.alice}"}
    client = world.one.client
    async with (
        client.ws_connect("/api/v1/ws", headers=headers) as ws,
        client.get("/api/v1/events", headers=headers) as events,
    ):
        socket = ClientSocket(ws)
        await socket.until("hello")
        await events.content.readuntil(b"\n\n")

        await end(world)

        assert await socket.closed() == 4001
        await asyncio.wait_for(events.content.read(), SOON)
