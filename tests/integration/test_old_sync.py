"""Clients that sync as they did before ``/sync``: a snapshot, then a stream of events; peeking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.services.event_stream import EVENTS_AT_ONCE
from homeserver.storage.database import Database

from .single import Instance, running

WORLD_READABLE = {
    "type": "m.room.history_visibility",
    "state_key": "",
    "content": {"history_visibility": "world_readable"},
}


@pytest.fixture
async def instance(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """One instance."""
    async with running(database, tmp_path) as instance:
        yield instance


async def snapshot(instance: Instance, token: str, query: str = "") -> dict[str, Any]:
    """The whole answer of ``/initialSync``."""
    return await instance.call("GET", f"/initialSync{query}", token=token)


async def events(
    instance: Instance, token: str, since: str, timeout: int = 0, **more: str
) -> dict[str, Any]:
    """What came after a token."""
    params = "".join(f"&{name}={value}" for name, value in more.items())
    path = f"/events?from={since}&timeout={timeout}{params}"
    return await instance.call("GET", path, token=token)


def bodies(chunk: list[dict[str, Any]]) -> list[str]:
    """The texts of messages."""
    return [event["content"]["body"] for event in chunk if "body" in event["content"]]


async def test_a_snapshot_has_the_rooms_with_their_newest_events_and_state(
    instance: Instance,
) -> None:
    alice = await instance.register("alice")
    room_id = await instance.room(alice, visibility="public")
    for number in range(3):
        await instance.say(alice, room_id, f"text {number}")

    found = await snapshot(instance, alice, "?limit=2")

    (room,) = found["rooms"]
    assert (room["room_id"], room["membership"], room["visibility"]) == (room_id, "join", "public")
    assert bodies(room["messages"]["chunk"]) == ["text 1", "text 2"]
    assert {event["type"] for event in room["state"]} >= {"m.room.create", "m.room.member"}
    assert {event["room_id"] for event in room["state"]} == {room_id}
    assert "m.push_rules" in {event["type"] for event in found["account_data"]}


async def test_a_snapshot_leads_back_into_the_history(instance: Instance) -> None:
    alice = await instance.register("alice")
    room_id = await instance.room(alice)
    for number in range(3):
        await instance.say(alice, room_id, f"text {number}")

    (room,) = (await snapshot(instance, alice, "?limit=1"))["rooms"]
    start = room["messages"]["start"]
    older = await instance.call(
        "GET", f"/rooms/{room_id}/messages?dir=b&limit=2&from={start}", token=alice
    )

    assert bodies(older["chunk"]) == ["text 1", "text 0"]


async def test_a_snapshot_shows_invites_and_archived_rooms(instance: Instance) -> None:
    alice, bob = await instance.register("alice"), await instance.register("bob")
    left, invited = await instance.room(alice), await instance.room(alice, invite=["@bob:one.test"])
    await instance.call("POST", f"/join/{left}", {}, token=bob)
    await instance.call("POST", f"/rooms/{left}/leave", {}, token=bob)

    plain = await snapshot(instance, bob)
    with_left = await snapshot(instance, bob, "?archived=true")

    assert [(r["room_id"], r["membership"]) for r in plain["rooms"]] == [(invited, "invite")]
    assert plain["rooms"][0]["invite"]["sender"] == "@alice:one.test"
    assert {(r["room_id"], r["membership"]) for r in with_left["rooms"]} == {
        (left, "leave"),
        (invited, "invite"),
    }


async def test_the_stream_goes_on_where_the_snapshot_ended(instance: Instance) -> None:
    alice = await instance.register("alice")
    room_id = await instance.room(alice)
    end = (await snapshot(instance, alice))["end"]
    await instance.say(alice, room_id, "one")

    first = await events(instance, alice, end)
    await instance.say(alice, room_id, "two")
    second = await events(instance, alice, first["end"])
    third = await events(instance, alice, second["end"])

    assert (bodies(first["chunk"]), bodies(second["chunk"])) == (["one"], ["two"])
    assert (first["start"], third["chunk"]) == (end, [])


async def test_the_stream_leaves_nothing_out_however_much_there_is(instance: Instance) -> None:
    alice = await instance.register("alice")
    room_id = await instance.room(alice)
    end = (await snapshot(instance, alice))["end"]
    other = await instance.room(alice)
    for number in range(EVENTS_AT_ONCE + 3):
        await instance.say(alice, (room_id, other)[number % 2], str(number))

    first = await events(instance, alice, end)
    second = await events(instance, alice, first["end"])
    third = await events(instance, alice, second["end"])

    assert len(first["chunk"]) == EVENTS_AT_ONCE
    told = bodies(first["chunk"]) + bodies(second["chunk"])
    assert told == [str(number) for number in range(EVENTS_AT_ONCE + 3)]
    assert third["chunk"] == []


async def test_the_stream_tells_of_each_thing_once_whatever_happened_in_the_gap(
    instance: Instance,
) -> None:
    alice, bob = await instance.register("alice"), await instance.register("bob")
    stays, left, joined = [await instance.room(alice) for _ in range(3)]
    for room_id in (stays, left):
        await instance.call("POST", f"/join/{room_id}", {}, token=bob)
    end = (await snapshot(instance, bob))["end"]
    expected: list[str] = []

    async def say(room_id: str, count: int, *, seen: bool = True) -> None:
        for _ in range(count):
            event_id = (await instance.say(alice, room_id, "x"))["event_id"]
            if seen:
                expected.append(event_id)

    await say(stays, 60)
    await say(left, 30)
    await instance.room(alice, invite=["@bob:one.test"])
    await instance.call("POST", f"/rooms/{left}/leave", {}, token=bob)
    await say(left, 30, seen=False)
    await instance.call("POST", f"/join/{joined}", {}, token=bob)
    await say(joined, 60)
    await say(stays, 60)

    told: list[dict[str, Any]] = []
    ends = [end]
    while True:
        found = await events(instance, bob, ends[-1])
        assert len(found["chunk"]) <= EVENTS_AT_ONCE + 1  # an invite
        ends.append(found["end"])
        if not found["chunk"]:
            break
        told += found["chunk"]

    messages = [e["event_id"] for e in told if e["type"] == "m.room.message"]
    assert messages == expected
    assert len({e["event_id"] for e in told}) == len(told)
    moves = [
        e["content"]["membership"]
        for e in told
        if e["type"] == "m.room.member" and e["state_key"] == "@bob:one.test"
    ]
    assert moves == ["invite", "leave", "join"]
    assert len(ends) == 5


async def test_an_invite_that_was_taken_back_is_told_of(instance: Instance) -> None:
    alice, bob = await instance.register("alice"), await instance.register("bob")
    room_id = await instance.room(alice, preset="private_chat", invite=["@bob:one.test"])
    end = (await snapshot(instance, bob))["end"]
    await instance.say(alice, room_id, "for members")
    body = {"user_id": "@bob:one.test"}
    await instance.call("POST", f"/rooms/{room_id}/kick", body, token=alice)

    found = await events(instance, bob, end)

    (event,) = found["chunk"]
    assert (event["state_key"], event["content"]["membership"]) == ("@bob:one.test", "leave")


async def test_the_stream_waits_for_an_event_and_not_for_anything_else(
    instance: Instance,
) -> None:
    alice = await instance.register("alice")
    room_id = await instance.room(alice)
    end = (await snapshot(instance, alice))["end"]

    waiting = asyncio.create_task(events(instance, alice, end, 30_000))
    await instance.call(
        "PUT", f"/rooms/{room_id}/typing/@alice:one.test", {"typing": True}, token=alice
    )
    await instance.call("PUT", "/user/@alice:one.test/account_data/x", {}, token=alice)
    await instance.say(alice, room_id, "hello")
    found = await waiting

    assert bodies(found["chunk"]) == ["hello"]


async def test_without_a_token_the_stream_begins_now(instance: Instance) -> None:
    alice = await instance.register("alice")
    await instance.say(alice, await instance.room(alice), "before")

    found = await instance.call("GET", "/events", token=alice)

    assert found["chunk"] == []


async def test_the_stream_tells_of_invites_and_of_being_removed(instance: Instance) -> None:
    alice, bob = await instance.register("alice"), await instance.register("bob")
    room_id = await instance.room(alice)
    await instance.call("POST", f"/join/{room_id}", {}, token=bob)
    end = (await snapshot(instance, bob))["end"]
    other = await instance.room(alice, invite=["@bob:one.test"])
    body = {"user_id": "@bob:one.test"}
    await instance.call("POST", f"/rooms/{room_id}/kick", body, token=alice)

    found = await events(instance, bob, end)

    moves = {(event["room_id"], event["content"]["membership"]) for event in found["chunk"]}
    assert moves == {(other, "invite"), (room_id, "leave")}


async def test_the_stream_leaves_messages_to_devices_for_the_sync(instance: Instance) -> None:
    alice = await instance.register("alice")
    end = (await snapshot(instance, alice))["end"]
    messages = {"messages": {"@alice:one.test": {"*": {"secret": 1}}}}
    await instance.call("PUT", "/sendToDevice/x.test/1", messages, token=alice)

    first = await events(instance, alice, end)
    await events(instance, alice, first["end"])
    synced = await instance.call("GET", "/sync", token=alice)

    assert [e["content"] for e in synced["to_device"]["events"]] == [{"secret": 1}]


@pytest.mark.parametrize("token", ["nonsense", "s1", "t_"])
async def test_tokens_that_are_none_are_refused(instance: Instance, token: str) -> None:
    alice = await instance.register("alice")

    answer = await instance.call("GET", f"/events?from={token}", token=alice, status=400)

    assert answer["errcode"] == "M_INVALID_PARAM"


async def test_a_stranger_peeks_into_a_room_that_the_world_may_read(instance: Instance) -> None:
    alice, eve = await instance.register("alice"), await instance.register("eve")
    room_id = await instance.room(alice, initial_state=[WORLD_READABLE])
    await instance.say(alice, room_id, "before")
    seen = await instance.call("GET", f"/rooms/{room_id}/initialSync", token=eve)
    end = seen["messages"]["end"]

    waiting = asyncio.create_task(events(instance, eve, end, 30_000, room_id=room_id))
    await instance.say(alice, await instance.room(alice), "elsewhere")
    await instance.say(alice, room_id, "after")
    found = await waiting
    quiet = await events(instance, eve, found["end"], room_id=room_id)

    assert bodies(seen["messages"]["chunk"]) == ["before"]
    assert "membership" not in seen
    assert (bodies(found["chunk"]), quiet["chunk"]) == (["after"], [])


async def test_a_stranger_does_not_peek_into_other_rooms(instance: Instance) -> None:
    alice, eve = await instance.register("alice"), await instance.register("eve")
    room_id = await instance.room(alice)

    for path in (f"/rooms/{room_id}/initialSync", f"/events?room_id={room_id}"):
        answer = await instance.call("GET", path, token=eve, status=403)

        assert answer["errcode"] == "M_FORBIDDEN"


async def test_who_has_left_has_the_room_as_it_was_then(instance: Instance) -> None:
    alice, bob = await instance.register("alice"), await instance.register("bob")
    room_id = await instance.room(alice, name="Then")
    await instance.call("POST", f"/join/{room_id}", {}, token=bob)
    await instance.call("POST", f"/rooms/{room_id}/leave", {}, token=bob)
    await instance.call("PUT", f"/rooms/{room_id}/state/m.room.name", {"name": "Now"}, token=alice)
    await instance.say(alice, room_id, "after")

    seen = await instance.call("GET", f"/rooms/{room_id}/initialSync", token=bob)

    names = [e["content"]["name"] for e in seen["state"] if e["type"] == "m.room.name"]
    assert (seen["membership"], names, bodies(seen["messages"]["chunk"])) == ("leave", ["Then"], [])


async def test_an_event_is_found_by_its_id_alone_by_those_who_may_see_it(
    instance: Instance,
) -> None:
    alice, eve = await instance.register("alice"), await instance.register("eve")
    room_id = await instance.room(alice)
    event_id = (await instance.say(alice, room_id, "hello"))["event_id"]

    found = await instance.call("GET", f"/events/{event_id}", token=alice)
    refused = await instance.call("GET", f"/events/{event_id}", token=eve, status=404)
    missing = await instance.call("GET", "/events/$nothing", token=alice, status=404)

    assert (found["event_id"], found["room_id"]) == (event_id, room_id)
    assert (refused["errcode"], missing["errcode"]) == ("M_NOT_FOUND", "M_NOT_FOUND")


async def test_those_who_wait_are_answered_when_the_server_stops(instance: Instance) -> None:
    alice = await instance.register("alice")
    room_id = await instance.room(alice)
    end = (await snapshot(instance, alice))["end"]

    stream = asyncio.create_task(events(instance, alice, end, 300_000))
    peeking = asyncio.create_task(events(instance, alice, end, 300_000, room_id=room_id))
    await asyncio.sleep(0.1)
    instance.wiring.stop_waiting()

    assert [answer["chunk"] for answer in await asyncio.gather(stream, peeking)] == [[], []]
