"""Server-sent events, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from homeserver.storage.database import Database
from tests.integration.single import running

from .conftest import ApiUser, new_user

SECONDS = 30


class Stream:
    """A client of the stream: its events, as a browser would have them."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.last_id: str | None = None
        self.comments = 0

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event's type and data."""
        kind, data = "message", ""
        while True:
            line = await asyncio.wait_for(self.response.content.readline(), SECONDS)
            assert line, "the stream has ended"
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                self.last_id = value
            elif name == "data":
                data = value
            elif line.startswith(b":"):
                self.comments += 1
            elif line == b"\n" and data:
                return kind, orjson.loads(data)

    async def until(self, kind: str) -> dict[str, Any]:
        """The next update of a type."""
        while True:
            _, update = await self.next()
            if update["type"] == kind:
                return update

    async def ended(self) -> None:
        """Wait for the end."""
        while await asyncio.wait_for(self.response.content.readline(), SECONDS):
            pass


@asynccontextmanager
async def streaming(user: ApiUser, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    """A stream of a user's whose first event has come."""
    headers["Authorization"] = f"Bearer {user.token}"
    path = f"/api/v1/events{query}"
    async with user.instance.client.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        stream = Stream(response)
        kind, hello = await stream.next()
        assert (kind, str(hello["position"])) == ("hello", stream.last_id)
        yield stream


async def a_room(host: ApiUser, *members: ApiUser) -> str:
    room_id = await host.instance.room(host.token)
    for member in members:
        await member.matrix("POST", f"/join/{room_id}", {})
    return room_id


async def is_online(user: ApiUser) -> None:
    """Wait until a user is told live."""
    feed = user.instance.wiring.conversations.feed_parts.feed
    for _ in range(3000):
        if user.user_id in feed.online:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the stream did not begin")


async def test_updates_are_streamed_with_their_positions(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_room(alice, bob)
    async with streaming(bob) as stream:
        await alice.instance.say(alice.token, room_id, "hello\nworld")

        update = await stream.until("message.created")

    assert update["message"]["text"] == "hello\nworld"
    assert str(update["position"]) == stream.last_id


async def test_who_comes_back_misses_nothing(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_room(alice, bob)
    async with streaming(bob) as stream:
        await alice.instance.say(alice.token, room_id, "one")
        await stream.until("message.created")
        last = stream.last_id or ""
    for text in ("two", "three"):
        await alice.instance.say(alice.token, room_id, text)

    async with streaming(bob, **{"Last-Event-ID": last}) as stream:
        told = [(await stream.until("message.created"))["message"]["text"] for _ in range(2)]
    async with streaming(bob, f"?since={last}") as stream:
        again = [(await stream.until("message.created"))["message"]["text"] for _ in range(2)]

    assert told == again == ["two", "three"]


async def test_an_unknown_position_is_told_to_start_anew(bob: ApiUser) -> None:
    async with streaming(bob, "?since=1000000000") as stream:
        reset = await stream.until("reset")

    assert reset["reason"] == "unknown_position"
    assert stream.last_id == str(reset["position"])


async def test_what_is_of_the_moment_has_no_position(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_room(alice, bob)
    async with streaming(bob) as stream:
        before = stream.last_id
        await is_online(bob)
        await alice.matrix("PUT", f"/rooms/{room_id}/typing/{alice.user_id}", {"typing": True})

        update = await stream.until("typing")

    assert (update["person"], "position" in update) == (alice.address, False)
    assert stream.last_id == before


async def test_a_token_may_stand_in_the_query(alice: ApiUser) -> None:
    path = f"/api/v1/events?access_token={alice.token}"
    async with alice.instance.client.get(path) as response:
        assert (await Stream(response).next())[0] == "hello"


async def test_an_impossible_position_is_a_problem(alice: ApiUser) -> None:
    await alice.get("/events?since=x", status=422)
    await alice.call("GET", "/events", headers={"Last-Event-ID": "x"}, status=400)


async def test_nobody_listens_without_a_token(nobody: ApiUser) -> None:
    await nobody.get("/events", status=401)


async def test_logging_out_ends_the_stream(alice: ApiUser) -> None:
    async with streaming(alice) as stream:
        await alice.matrix("POST", "/logout", {})

        await stream.ended()


async def test_the_server_ends_streams_when_it_stops(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as instance:
        alice = await new_user(instance, "alice")
        async with streaming(alice) as stream:
            instance.wiring.stop_waiting()

            await stream.ended()


async def test_a_user_has_so_many_streams(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, websocket={"sockets_per_user": 2}) as instance:
        alice = await new_user(instance, "alice")
        async with streaming(alice), streaming(alice):
            told = await alice.get("/events", status=429)

        assert told["code"] == "rate_limited"
        async with streaming(alice):
            pass
