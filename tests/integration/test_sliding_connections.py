"""Sliding sync (MSC4186): connections, answers that get lost, restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.single import running
from tests.integration.sliding import SlidingClient, alone, state_keys, texts
from tests.integration.test_message_ends import eventually


async def test_a_lost_answer_is_made_again_with_what_came_since(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, room, client = await alone(one)
        client.list("all", 99)
        await client.sync()
        await one.say(alice, room, "one")
        lost = await client.sync(lose=True)
        await one.say(alice, room, "two")

        answer = await client.sync()
        after = await client.sync()

        assert texts(lost["rooms"][room]) == ["one"]
        assert texts(answer["rooms"][room]) == ["one", "two"]
        assert after["rooms"] == {}


async def test_a_pos_of_another_device_or_from_long_ago_is_unknown(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        client, thief = SlidingClient(one, alice), SlidingClient(one, bob)
        old = (await client.sync())["pos"]
        await client.sync()
        await client.sync()

        thief.pos = client.pos
        stolen = await thief.sync(status=400)
        client.pos = old
        expired = await client.sync(status=400)

        assert stolen["errcode"] == expired["errcode"] == "M_UNKNOWN_POS"


async def test_connections_of_a_device_do_not_disturb_each_other(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room = await one.room(alice)
        first, second = (
            SlidingClient(one, alice, conn_id="a"),
            SlidingClient(one, alice, conn_id="b"),
        )
        for client in (first, second):
            client.list("all", 99)
            await client.sync()
        await one.say(alice, room, "hello")

        answers = [await client.sync() for client in (first, second)]

        assert [texts(answer["rooms"][room]) for answer in answers] == [["hello"], ["hello"]]


async def test_a_restart_in_order_is_not_noticed(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room, quiet = await one.room(alice), await one.room(alice)
        client = SlidingClient(one, alice)
        client.list("all", 99, state=[["m.room.member", "$ME"]])
        client.extend("account_data")
        await client.sync()
        await one.say(alice, room, "before")
        await client.sync(lose=True)
    async with running(database, tmp_path) as one:
        client.one = one
        await one.say(alice, room, "after")

        answer = await client.sync()

        assert texts(answer["rooms"][room]) == ["before", "after"]
        assert quiet not in answer["rooms"] and answer["extensions"] == {}


async def test_a_connection_that_a_crash_took_is_unknown(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        client = SlidingClient(one, alice)
        await client.sync()
        one.wiring.sliding.connections._kept.clear()

        refused = await client.sync(status=400)

        assert refused["errcode"] == "M_UNKNOWN_POS"


async def test_pos_is_taken_by_messages(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room = await one.room(alice)
        await one.say(alice, room, "old")
        client = SlidingClient(one, alice)
        await client.sync()
        await one.say(alice, room, "new")

        path = f"/rooms/{room}/messages?dir=b&limit=1&from={client.pos}"
        chunk = (await one.call("GET", path, token=alice))["chunk"]

        assert chunk[0]["content"]["body"] == "old"


async def test_the_connections_of_a_device_go_with_it(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "alice"},
            "password": "sesame",
            "device_id": "PHONE",
        }
        phone = (await one.call("POST", "/login", login))["access_token"]
        kept, put_away = SlidingClient(one, phone), SlidingClient(one, phone, conn_id="x")
        for client in (kept, put_away, SlidingClient(one, alice)):
            await client.sync()
        connections = one.wiring.sliding.connections
        await connections.put_away([("@alice:one.test", "PHONE", "x")])
        await one.call("POST", "/logout", {}, token=phone)
        phone = (await one.call("POST", "/login", login))["access_token"]

        for client in (kept, put_away):
            client.token = phone
            assert (await client.sync(status=400))["errcode"] == "M_UNKNOWN_POS"

        assert len(connections) == 1
        assert await database.fetchval("SELECT count(*) FROM sliding_connections") == 0


async def test_of_two_requests_at_once_the_later_one_counts(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, room, client = await alone(one)
        client.list("all", 99)
        pos = (await client.sync())["pos"]
        waiting = asyncio.create_task(client.sync(timeout=30_000, lose=True))

        async def waits() -> bool:
            return bool(one.wiring.sliding.sync._waiters)

        await eventually(waits)
        client.subscribe(room, limit=1, state=[["m.room.create", ""]])

        later = await client.sync()
        earlier = await waiting
        await one.say(alice, room, "hello")
        after = await client.sync()

        assert state_keys(later["rooms"][room]) == {("m.room.create", "")}
        assert earlier["pos"] == pos and earlier["rooms"] == {}
        assert texts(after["rooms"][room]) == ["hello"]


async def test_a_connection_that_waits_while_others_are_put_away_keeps_its_place(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, room_id, client = await alone(one)
        client.list("all", 9)
        await client.sync()
        await client.sync()
        waiting = asyncio.create_task(client.sync(timeout=30_000))
        (kept,) = one.wiring.sliding.connections._kept.values()
        for _ in range(1_000):
            if kept.requests:
                break
            await asyncio.sleep(0.01)

        await one.wiring.sliding.connections.sweep(quiet_seconds=-1)
        await one.say(alice, room_id, "hello")

        assert texts((await waiting)["rooms"][room_id]) == ["hello"]
        await one.say(alice, room_id, "again")
        assert texts((await client.sync())["rooms"][room_id]) == ["again"]
