"""Sliding sync of rooms which the user was out of, or of which the client lost an answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from homeserver.storage.sliding import SELECT_GONE
from tests.integration.single import Instance, running
from tests.integration.sliding import SlidingClient, alone, state_keys, texts


async def _show_to_members_since_they_joined(one: Instance, token: str, room: str) -> None:
    path = f"/rooms/{room}/state/m.room.history_visibility/"
    await one.call("PUT", path, {"history_visibility": "joined"}, token=token)


async def test_what_was_said_while_the_reader_was_out_stays_hidden_when_the_room_is_shown_again(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        sender, reader = await one.register("sender"), await one.register("reader")
        room = await one.room(sender)
        await _show_to_members_since_they_joined(one, sender, room)
        await one.call("POST", f"/join/{room}", {}, token=reader)
        client = SlidingClient(one, reader)
        client.subscribe(room, limit=20)
        await client.sync()
        client.body.pop("room_subscriptions")
        await client.sync()
        await one.call("POST", f"/rooms/{room}/leave", {}, token=reader)
        await client.sync()
        await client.sync()
        await one.say(sender, room, "not for the reader")
        await one.call("POST", f"/join/{room}", {}, token=reader)
        await client.sync()
        await client.sync()
        await one.say(sender, room, "for the reader")

        client.subscribe(room, limit=20)
        part = (await client.sync())["rooms"][room]

        assert part["initial"] is True
        assert "for the reader" in texts(part)
        assert "not for the reader" not in texts(part)


async def test_rooms_that_nobody_knows_are_looked_for_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = Database.fetch

    async def counted(self: Database, query: str, *args: Any) -> Any:
        asked.append(query)
        return await original(self, query, *args)

    monkeypatch.setattr(Database, "fetch", counted)
    async with running(database, tmp_path) as one:
        sender, reader = await one.register("sender"), await one.register("reader")
        room = await one.room(sender)
        await one.call("POST", f"/join/{room}", {}, token=reader)
        client = SlidingClient(one, reader)
        client.list("all", 99)
        client.subscribe("!nowhere:one.test")
        await client.sync()
        await one.call("POST", f"/rooms/{room}/leave", {}, token=reader)
        await one.call("POST", f"/rooms/{room}/forget", {}, token=reader)
        await client.sync()
        await client.sync()
        asked.clear()

        for _ in range(3):
            await client.sync()

        (kept,) = one.wiring.sliding.connections._kept.values()
        assert SELECT_GONE not in asked
        assert kept.connection.state.sent == {}

        await one.call("POST", f"/join/{room}", {}, token=reader)
        assert (await client.sync())["rooms"][room]["initial"] is True


async def test_a_restart_leaves_no_room_behind_in_which_nothing_happened(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        _token, room, client = await alone(one)
        client.subscribe(room)
        await client.sync()
        client.body.pop("room_subscriptions")
        await client.sync()
        await one.room(await one.register("bob"))  # the position moves on
    async with running(database, tmp_path) as one:
        client.one = one

        await client.sync()
        await client.sync()

        (kept,) = one.wiring.sliding.connections._kept.values()
        assert kept.connection.state.sent.keys() == {room}
        assert kept.connection.state.behind == {}


async def test_a_member_of_an_answer_that_was_superseded_is_told_later(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.room(alice)
        await one.call("POST", f"/join/{room}", {}, token=bob)
        await one.say(alice, room, "x")
        client = SlidingClient(one, alice)
        lazy = [["m.room.member", "$LAZY"]]
        client.subscribe(room, limit=1, state=lazy)
        await client.sync()
        await one.say(bob, room, "his")
        reached, goes_on = asyncio.Event(), asyncio.Event()
        extensions = one.wiring.sliding.sync._extensions
        original = extensions.answer

        async def held(*args: Any) -> Any:
            if not reached.is_set():
                reached.set()
                await goes_on.wait()
            return await original(*args)

        monkeypatch.setattr(extensions, "answer", held)
        superseded = asyncio.create_task(client.sync(lose=True))
        await reached.wait()
        client.body.pop("room_subscriptions")
        await client.sync()
        goes_on.set()
        await superseded
        client.subscribe(room, limit=1, state=lazy)

        answer = await client.sync()

        assert texts(answer["rooms"][room]) == ["his"]
        assert state_keys(answer["rooms"][room]) == {("m.room.member", "@bob:one.test")}
