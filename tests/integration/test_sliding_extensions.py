"""Extensions of sliding sync.  Spec: MSC4508, MSC4538, MSC4543, MSC3959, MSC3960."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running
from tests.integration.sliding import SlidingClient

KEY = {"signed_curve25519:AAAAAQ": {"key": "x", "signatures": {}}}


async def device_of(one: Instance, token: str) -> str:
    """The device behind a token."""
    device: str = (await one.call("GET", "/account/whoami", token=token))["device_id"]
    return device


async def send(one: Instance, token: str, device: str, text: str) -> None:
    """Send a message to one of alice's devices."""
    body = {"messages": {"@alice:one.test": {device: {"text": text}}}}
    await one.call("PUT", f"/sendToDevice/dev.test/{text}", body, token=token)


@pytest.mark.parametrize("legacy", [True, False])
async def test_to_device_messages_come_until_they_are_acknowledged(
    database: Database, tmp_path: Path, legacy: bool
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        device = await device_of(one, alice)
        for text in ("one", "two", "three"):
            await send(one, alice, device, text)
        client = SlidingClient(one, alice, legacy=legacy)
        name = "to_device" if legacy else "org.matrix.msc4538.to_device"
        client.extend(name, limit=2)

        async def received(answer: dict[str, Any]) -> list[str]:
            return [event["content"]["text"] for event in answer["extensions"][name]["events"]]

        first = await client.sync()
        again = await client.sync()
        client.extend(name, limit=2, since=again["extensions"][name]["next_batch"])
        rest = await client.sync(timeout=30_000)
        other = SlidingClient(one, alice, legacy=legacy, conn_id="other")
        other.extend(name)
        fresh = await other.sync()

        assert await received(first) == await received(again) == ["one", "two"]
        assert await received(rest) == ["three"]
        assert await received(fresh) == ["three"]  # the others were acknowledged, on any connection
        assert other.pos is not None
        client.extend(name, since=rest["extensions"][name]["next_batch"])
        done = await client.sync()
        if legacy:
            assert await received(done) == []
        else:
            assert done["extensions"] == {}


async def test_a_message_to_the_device_ends_a_wait(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        device = await device_of(one, alice)
        client = SlidingClient(one, alice)
        client.extend("to_device")
        first = await client.sync()
        client.extend("to_device", since=first["extensions"]["to_device"]["next_batch"])
        await send(one, alice, device, "hello")

        answer = await client.sync(timeout=30_000)

        assert len(answer["extensions"]["to_device"]["events"]) == 1


async def test_encryption_tells_of_devices_and_keys(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.room(alice)
        await one.call("POST", f"/join/{room}", {}, token=bob)
        client = SlidingClient(one, alice, legacy=False)
        client.extend("org.matrix.msc4543.e2ee")
        client.list("all", 99)
        first = await client.sync()
        quiet = await client.sync()
        await one.call("POST", "/keys/upload", {"one_time_keys": KEY}, token=alice)
        keys = {
            "user_id": "@bob:one.test",
            "device_id": await device_of(one, bob),
            "algorithms": [],
            "keys": {},
            "signatures": {},
        }
        await one.call("POST", "/keys/upload", {"device_keys": keys}, token=bob)
        lost = await client.sync(lose=True)
        answer = await client.sync()
        path = f"/keys/changes?from={quiet['pos']}&to={answer['pos']}"
        between = await one.call("GET", path, token=alice)

        section = first["extensions"]["org.matrix.msc4543.e2ee"]
        assert "device_lists" not in section and "device_one_time_keys_count" in section
        assert quiet["extensions"] == {}
        assert lost["extensions"] == answer["extensions"]
        section = answer["extensions"]["org.matrix.msc4543.e2ee"]
        assert section["device_lists"]["changed"] == ["@bob:one.test"]
        assert section["device_one_time_keys_count"] == {"signed_curve25519": 1}
        assert between["changed"] == ["@bob:one.test"]


async def test_account_data_comes_whole_and_then_as_it_changes(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        old, new = await one.room(alice), await one.room(alice)
        me = "/user/@alice:one.test"
        await one.call("PUT", f"{me}/account_data/dev.a", {"n": 1}, token=alice)
        for room in (old, new):
            await one.call("PUT", f"{me}/rooms/{room}/account_data/dev.b", {"n": 1}, token=alice)
        client = SlidingClient(one, alice)
        client.extend("account_data")
        client.list("all", 0)
        first = await client.sync()
        await one.call("PUT", f"{me}/account_data/dev.a", {"n": 2}, token=alice)
        await one.call("PUT", f"{me}/rooms/{old}/account_data/dev.b", {"n": 2}, token=alice)
        changed = await client.sync()
        client.list("all", 99)
        wider = await client.sync()
        quiet = await client.sync()

        section = first["extensions"]["account_data"]
        assert {"m.push_rules", "dev.a"} <= {event["type"] for event in section["global"]}
        assert set(section["rooms"]) == {new}
        assert changed["extensions"]["account_data"] == {
            "global": [{"type": "dev.a", "content": {"n": 2}}]
        }
        assert wider["extensions"]["account_data"] == {
            "rooms": {old: [{"type": "dev.b", "content": {"n": 2}}]}
        }
        assert quiet["extensions"] == {}


async def test_receipts_are_of_what_is_shown_and_then_all_new_ones(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room, other = await one.room(alice), await one.room(alice)
        for each in (room, other):
            await one.call("POST", f"/join/{each}", {}, token=bob)
        old = (await one.say(alice, room, "old"))["event_id"]
        new = (await one.say(alice, room, "new"))["event_id"]
        last = (await one.say(alice, other, "last"))["event_id"]

        async def read(token: str, where: str, event_id: str, kind: str = "m.read") -> None:
            await one.call("POST", f"/rooms/{where}/receipt/{kind}/{event_id}", {}, token=token)

        await read(bob, room, old)
        await read(alice, room, old, "m.read.private")
        client = SlidingClient(one, alice)
        client.extend("receipts")
        client.list("all", 99, limit=1)
        first = await client.sync()
        client.list("all", 0, limit=1)
        await client.sync()
        await read(bob, room, new)
        narrow = await client.sync()
        client.list("all", 99, limit=1)
        wide = await client.sync()
        await read(bob, other, last)
        live = await client.sync(timeout=30_000)
        quiet = await client.sync()

        shown = first["extensions"]["receipts"]["rooms"][room]
        assert shown["type"] == "m.receipt"
        assert set(shown["content"]) == {old} and set(shown["content"][old]) == {"m.read.private"}
        assert "receipts" not in narrow["extensions"]
        assert set(wide["extensions"]["receipts"]["rooms"][room]["content"]) == {new}
        assert set(live["extensions"]["receipts"]["rooms"]) == {other}
        assert quiet["extensions"] == {}


async def test_typing_is_told_of_rooms_in_scope(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        old, new = await one.room(alice), await one.room(alice)
        for room in (old, new):
            await one.call("POST", f"/join/{room}", {}, token=bob)
        await one.say(alice, new, "x")

        async def types(room: str, typing: bool) -> None:
            path = f"/rooms/{room}/typing/@bob:one.test"
            await one.call("PUT", path, {"typing": typing}, token=bob)

        client = SlidingClient(one, alice, legacy=False)
        client.extend("typing", lists=["top"])
        client.list("top", 0)
        client.list("all", 99)
        await client.sync()
        await types(old, True)
        out_of_scope = await client.sync()
        await types(new, True)
        started = await client.sync(timeout=30_000)
        await types(new, False)
        stopped = await client.sync(timeout=30_000)
        await one.say(alice, old, "to the top")
        entered = await client.sync()

        def typists(answer: dict[str, Any]) -> dict[str, list[str]]:
            rooms = answer["extensions"].get("typing", {}).get("rooms", {})
            return {room: event["content"]["user_ids"] for room, event in rooms.items()}

        assert typists(out_of_scope) == {}
        assert typists(started) == {new: ["@bob:one.test"]}
        assert typists(stopped) == {new: []}
        assert typists(entered) == {old: ["@bob:one.test"]}


async def test_unread_counts_move_with_what_the_reader_reads(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.room(alice)
        await one.call("POST", f"/join/{room}", {}, token=bob)
        client = SlidingClient(one, alice)
        client.list("all", 99)
        await client.sync()
        event_id = (await one.say(bob, room, "hello @alice"))["event_id"]
        unread = await client.sync()
        await one.call("POST", f"/rooms/{room}/receipt/m.read/{event_id}", {}, token=alice)

        read = await client.sync(timeout=30_000)

        assert unread["rooms"][room]["notification_count"] == 1
        assert read["rooms"][room]["notification_count"] == 0
        assert "timeline" not in read["rooms"][room]
