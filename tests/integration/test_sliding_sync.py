"""Sliding sync (MSC4186): lists, ranges, subscriptions, state."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog

from homeserver.storage.database import Database
from tests.integration.single import running
from tests.integration.sliding import LEGACY, SlidingClient, alone, state_keys, texts


@pytest.mark.parametrize("legacy", [True, False])
async def test_a_first_answer_has_the_last_active_rooms_and_counts_all(
    database: Database, tmp_path: Path, legacy: bool
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        rooms = [await one.room(alice, name=f"Room {n}") for n in range(4)]
        await one.say(alice, rooms[0], "newest")
        client = SlidingClient(one, alice, legacy=legacy)
        client.list("all", 1)

        answer = await client.sync()

        assert answer["lists"] == {"all": {"count": 4}}
        assert set(answer["rooms"]) == {rooms[0], rooms[3]}
        part = answer["rooms"][rooms[0]]
        assert part["initial"] and part["name"] == "Room 0" and part["membership"] == "join"
        assert (part["joined_count"], part["invited_count"]) == (1, 0)
        assert texts(part) == ["newest"] and part["num_live"] == 0
        assert part["bump_stamp"] > answer["rooms"][rooms[3]]["bump_stamp"]
        assert ("lists" in part) is not legacy


async def test_growing_the_range_brings_the_rooms_that_are_new_in_it(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        rooms = [await one.room(alice) for _ in range(4)]
        client = SlidingClient(one, alice)
        client.list("all", 0)
        first = await client.sync()
        client.list("all", 99)

        second = await client.sync()
        third = await client.sync()

        assert set(first["rooms"]) == {rooms[3]}
        assert set(second["rooms"]) == set(rooms[:3])
        assert third["rooms"] == {}


async def test_an_incremental_answer_has_only_what_is_new(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room, other = await one.room(alice), await one.room(alice)
        client = SlidingClient(one, alice)
        client.list("all", 99, limit=1, state=[["m.room.topic", ""], ["m.room.create", ""]])
        first = await client.sync()
        await one.say(alice, room, "hello")
        await one.call("PUT", f"/rooms/{room}/state/m.room.topic", {"topic": "t"}, token=alice)
        await one.call("PUT", f"/rooms/{room}/state/m.room.name", {"name": "n"}, token=alice)

        answer = await client.sync()

        assert state_keys(first["rooms"][room]) == {("m.room.create", "")}
        assert set(answer["rooms"]) == {room} and other not in answer["rooms"]
        part = answer["rooms"][room]
        assert "initial" not in part and part["limited"] and part["num_live"] == 1
        assert part["name"] == "n" and state_keys(part) == {("m.room.topic", "")}
        assert "joined_count" not in part


async def test_what_is_new_ends_a_wait(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, room, client = await alone(one)
        client.list("all", 99)
        await client.sync()

        waiting = asyncio.create_task(client.sync(timeout=30_000))
        await asyncio.sleep(0)
        await one.say(alice, room, "wake")
        answer = await waiting

        assert texts(answer["rooms"][room]) == ["wake"]


async def test_a_room_that_fell_out_of_the_range_comes_back_with_all_that_it_missed(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        old, new = await one.room(alice), await one.room(alice)
        client = SlidingClient(one, alice)
        client.list("all", 99)
        await client.sync()
        client.list("all", 0)
        await one.say(alice, old, "missed")
        await one.say(alice, new, "seen")
        narrow = await client.sync()
        await one.say(alice, new, "seen, too")
        await client.sync()
        client.list("all", 99)

        wide = await client.sync()

        assert set(narrow["rooms"]) == {new}
        assert set(wide["rooms"]) == {old}
        assert texts(wide["rooms"][old]) == ["missed"]
        assert "initial" not in wide["rooms"][old] and wide["rooms"][old]["num_live"] == 0


@pytest.mark.parametrize("legacy", [True, False])
async def test_a_larger_timeline_limit_brings_older_events_at_once(
    database: Database, tmp_path: Path, legacy: bool
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room = await one.room(alice)
        for text in "abc":
            await one.say(alice, room, text)
        client = SlidingClient(one, alice, legacy=legacy)
        client.list("all", 99, limit=1)
        first = await client.sync()
        await one.say(alice, room, "d")
        await client.sync()
        client.subscribe(room, limit=3)

        expanded = await client.sync(timeout=30_000)
        again = await client.sync()

        name = "unstable_expanded_timeline" if legacy else "expanded_timeline"
        part = expanded["rooms"][room]
        assert texts(first["rooms"][room]) == ["c"]
        assert texts(part) == ["b", "c", "d"] and part[name] and part["num_live"] == 0
        assert "initial" not in part
        assert again["rooms"] == {}


async def test_more_required_state_is_told_at_once_and_once(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room = await one.room(alice, topic="t")
        client = SlidingClient(one, alice)
        client.list("all", 99, state=[["m.room.create", ""]])
        await client.sync()
        client.list("all", 99, state=[["m.room.create", ""], ["m.room.topic", ""]])

        more = await client.sync(timeout=30_000)
        again = await client.sync()

        assert state_keys(more["rooms"][room]) == {("m.room.topic", "")}
        assert "timeline" not in more["rooms"][room] and again["rooms"] == {}


async def test_members_are_lazy_and_told_once(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.room(alice)
        for name in ("carol", "dave"):
            await one.call("POST", f"/join/{room}", {}, token=await one.register(name))
        await one.call("POST", f"/join/{room}", {}, token=bob)
        client = SlidingClient(one, alice)
        client.list("all", 99, limit=1, state=[["m.room.member", "$LAZY"], ["*", "*"]])
        first = await client.sync()
        await one.say(alice, room, "mine")
        mine = await client.sync()
        await one.say(bob, room, "his")

        his = await client.sync()

        members = {key for kind, key in state_keys(first["rooms"][room]) if kind == "m.room.member"}
        assert members == {"@bob:one.test"}  # whose joining the timeline shows
        assert ("m.room.create", "") in state_keys(first["rooms"][room])
        assert state_keys(mine["rooms"][room]) == {("m.room.member", "@alice:one.test")}
        assert state_keys(his["rooms"][room]) == set()


async def test_members_of_a_lost_answer_are_told_again(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.room(alice)
        await one.call("POST", f"/join/{room}", {}, token=bob)
        await one.say(alice, room, "x")
        client = SlidingClient(one, alice)
        client.list("all", 99, limit=1, state=[["m.room.member", "$LAZY"]])
        await client.sync()
        await one.say(bob, room, "his")
        await client.sync(lose=True)

        answer = await client.sync()

        assert state_keys(answer["rooms"][room]) == {("m.room.member", "@bob:one.test")}


async def test_a_room_without_a_name_has_heroes(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.room(alice)
        await one.call("POST", f"/join/{room}", {}, token=bob)
        client = SlidingClient(one, alice, legacy=False)
        client.list("all", 99)
        first = await client.sync()
        await one.call(
            "PUT", "/profile/@bob:one.test/displayname", {"displayname": "Bob B."}, token=bob
        )
        renamed = await client.sync()
        await one.call("PUT", f"/rooms/{room}/state/m.room.name", {"name": "Us"}, token=alice)
        named = await client.sync()
        await one.call("PUT", f"/rooms/{room}/state/m.room.name", {}, token=alice)

        unnamed = await client.sync()

        assert first["rooms"][room]["heroes"] == [
            {"user_id": "@bob:one.test", "displayname": "bob"}
        ]
        assert "name" not in first["rooms"][room]
        assert renamed["rooms"][room]["heroes"][0]["displayname"] == "Bob B."
        assert named["rooms"][room]["name"] == "Us" and "heroes" not in named["rooms"][room]
        assert unnamed["rooms"][room]["name"] is None and unnamed["rooms"][room]["heroes"]


@pytest.mark.parametrize("legacy", [True, False])
async def test_invites_joins_and_leaves_are_told(
    database: Database, tmp_path: Path, legacy: bool
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.room(alice, preset="private_chat", name="Den")
        client = SlidingClient(one, bob, legacy=legacy)
        client.list("all", 99)
        await client.sync()
        invite = {"user_id": "@bob:one.test"}
        await one.call("POST", f"/rooms/{room}/invite", invite, token=alice)
        invited = await client.sync()
        await one.call("POST", f"/join/{room}", {}, token=bob)
        joined = await client.sync()
        await one.say(alice, room, "hi")
        await one.call("POST", f"/rooms/{room}/leave", {}, token=bob)
        await one.say(alice, room, "secret")
        left = await client.sync()
        after = await client.sync()
        await one.call("POST", f"/rooms/{room}/invite", invite, token=alice)
        await one.call("POST", f"/join/{room}", {}, token=bob)

        back = await client.sync()

        stripped = invited["rooms"][room]["invite_state" if legacy else "stripped_state"]
        assert {"m.room.member", "m.room.name"} <= {event["type"] for event in stripped}
        assert "timeline" not in invited["rooms"][room]
        assert invited["rooms"][room]["membership"] == "invite"
        assert joined["rooms"][room]["initial"] and joined["rooms"][room]["name"] == "Den"
        part = left["rooms"][room]
        assert part["membership"] == "leave" and texts(part) == ["hi"]
        assert part["timeline"][-1]["content"]["membership"] == "leave"
        assert after["rooms"] == {}
        assert back["rooms"][room]["initial"] and back["rooms"][room]["membership"] == "join"


async def test_who_was_kicked_is_told_by_a_new_connection_and_who_left_is_not(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        kicked, left, banned = [await one.room(alice) for _ in range(3)]
        for room in (kicked, left):
            await one.call("POST", f"/join/{room}", {}, token=bob)
        await one.call("POST", f"/rooms/{left}/leave", {}, token=bob)
        about = {"user_id": "@bob:one.test"}
        await one.call("POST", f"/rooms/{kicked}/kick", about, token=alice)
        await one.call("POST", f"/rooms/{banned}/ban", about, token=alice)
        client = SlidingClient(one, bob)
        client.list("all", 99)

        answer = await client.sync()

        assert set(answer["rooms"]) == {kicked} and answer["lists"]["all"]["count"] == 1
        assert answer["rooms"][kicked]["membership"] == "leave"


async def test_a_room_of_others_cannot_be_subscribed_to(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.room(alice)
        client = SlidingClient(one, bob)
        client.subscribe(room)
        client.subscribe("!nowhere:one.test")

        answer = await client.sync()

        assert answer["rooms"] == {}


BAD_BODIES: list[dict[str, Any]] = [
    {"lists": []},
    {"lists": {"a": {"ranges": [[1]]}}},
    {"lists": {"a": {"ranges": [[3, 1]]}}},
    {"lists": {"a": {"ranges": [[0, -1]]}}},
    {"lists": {"a": {"timeline_limit": "x"}}},
    {"lists": {"a": {"required_state": [["m.room.name"]]}}},
    {"lists": {"a": {"required_state": {"include": [1]}}}},
    {"lists": {"a": {"filters": {"tags": "x"}}}},
    {"lists": {"": {}}},
    {"lists": {str(n): {} for n in range(101)}},
    {"room_subscriptions": {f"!{n}:one.test": {} for n in range(101)}},
    {"extensions": {"to_device": {"enabled": True, "limit": 0}}},
    {"extensions": {"to_device": {"enabled": True, "since": "x"}}},
    {"extensions": {"typing": {"enabled": 1}}},
    {"conn_id": "x" * 300},
    {"set_presence": "sleepy"},
]


async def test_a_transaction_id_is_not_sent_back(database: Database, tmp_path: Path) -> None:
    """matrix-rust-sdk would take it to mean that extensions need not be asked for again."""
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")

        answer = await one.call("POST", LEGACY, {"txn_id": "x"}, token=alice)

        assert set(answer) == {"pos", "lists", "rooms", "extensions"}


async def test_what_makes_no_sense_is_refused(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")

        refused = [
            await one.call("POST", LEGACY, body, token=alice, status=400) for body in BAD_BODIES
        ]

        assert {error["errcode"] for error in refused} == {"M_BAD_JSON", "M_INVALID_PARAM"}


async def test_clients_find_that_it_is_there(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        features = (await one.call("GET", "/_matrix/client/versions"))["unstable_features"]

        assert features["org.matrix.simplified_msc3575"] is True


async def test_a_wake_costs_the_same_however_many_rooms_there_are(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, str]] = []  # by which request, and what

    def count(name: str) -> None:
        original = getattr(Database, name)

        async def counted(self: Database, query: str, *args: Any) -> Any:
            asked.append((structlog.contextvars.get_contextvars().get("request_id"), query))
            return await original(self, query, *args)

        monkeypatch.setattr(Database, name, counted)

    for method in ("fetch", "fetchrow", "fetchval"):
        count(method)
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        rooms = [await one.room(alice) for _ in range(2)]
        client = SlidingClient(one, alice)
        client.list("all", 99, state=[["m.room.name", ""], ["m.room.member", "$LAZY"]])
        for name in ("account_data", "receipts", "typing", "e2ee", "to_device"):
            client.extend(name)

        async def cost() -> int:
            """How often the answer with one message asks the database."""
            before = await client.sync()
            client.extend("to_device", since=before["extensions"]["to_device"]["next_batch"])
            await one.say(alice, rooms[0], "hello")
            earlier = {request_id for request_id, _ in asked} | {None}
            answer = await client.sync()
            assert texts(answer["rooms"][rooms[0]])[-1] == "hello"
            return sum(request_id not in earlier for request_id, _ in asked)

        await cost()
        few = await cost()
        rooms.extend([await one.room(alice) for _ in range(12)])
        await cost()

        assert await cost() <= few <= 4


async def test_what_a_limited_timeline_leaves_out_is_before_its_token(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, room, client = await alone(one)
        client.list("all", 99, limit=2)
        since = (await client.sync())["pos"]
        for text in "abcdef":
            await one.say(alice, room, text)

        part = (await client.sync())["rooms"][room]
        path = f"/rooms/{room}/messages?dir=b&limit=50&from={part['prev_batch']}&to={since}"
        rest = (await one.call("GET", path, token=alice))["chunk"]

        assert part["limited"] and part["num_live"] == 2 and texts(part) == ["e", "f"]
        assert [event["content"]["body"] for event in rest] == ["d", "c", "b", "a"]


async def test_a_timeline_of_no_events_says_that_there_are_some(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room = await one.room(alice, name="n")
        client = SlidingClient(one, alice)
        client.list("all", 99, limit=0)
        first = await client.sync()
        await one.say(alice, room, "hello")

        part = (await client.sync())["rooms"][room]

        assert first["rooms"][room]["name"] == "n" and "timeline" not in first["rooms"][room]
        assert part["limited"] and "timeline" not in part and "prev_batch" in part


async def test_a_held_message_comes_when_it_is_released(database: Database, tmp_path: Path) -> None:
    rule = {"name": "r-hold", "match": {"keywords": ["holdme"]}, "action": "hold"}
    async with running(database, tmp_path, policy={"rules": [rule]}) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        await one.wiring.accounts.set_admin("@alice:one.test", True)
        room = await one.room(alice)
        await one.call("POST", f"/join/{room}", {}, token=bob)
        client = SlidingClient(one, bob)
        client.list("all", 99)
        await client.sync()
        await one.say(alice, room, "holdme")
        await one.say(alice, room, "after")
        held = await client.sync()
        path = "/_comity/admin/v1/moderation/queue/release"
        await one.call("POST", path, {"rule": "r-hold", "note": "fine"}, token=alice)

        released = await client.sync(timeout=30_000)
        again = await client.sync()

        assert texts(held["rooms"][room]) == ["after"]
        assert texts(released["rooms"][room]) == ["holdme"]
        assert again["rooms"] == {}
