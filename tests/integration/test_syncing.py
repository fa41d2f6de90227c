"""Syncing through a whole instance: what is beside the rooms' events, and rooms one is not in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.services import sync_extras
from homeserver.storage.database import Database

from .single import Instance, running

ALICE, BOB = "@alice:one.test", "@bob:one.test"
KNOCKING = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}


class Device:
    """Somebody's device, which syncs from where it was."""

    def __init__(self, instance: Instance, token: str, device_id: str) -> None:
        self.instance = instance
        self.token = token
        self.device_id = device_id
        self.since = ""

    @classmethod
    async def of(cls, instance: Instance, name: str) -> Device:
        """The device of a new account."""
        token = await instance.register(name)
        who = await instance.call("GET", "/account/whoami", token=token)
        return cls(instance, token, who["device_id"])

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """One request."""
        return await self.instance.call(method, path, body, token=self.token, status=status)

    async def sync(self, filter_: Any = None, **query: Any) -> dict[str, Any]:
        """One sync."""
        if filter_ is not None:
            query["filter"] = quote(json.dumps(filter_))
        if self.since:
            query["since"] = self.since
        path = "/sync?" + "&".join(f"{key}={value}" for key, value in query.items())
        answer: dict[str, Any] = await self.call("GET", path)
        self.since = answer["next_batch"]
        return answer


@pytest.fixture
async def instance(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """One instance."""
    async with running(database, tmp_path) as instance:
        yield instance


@pytest.fixture
async def alice(instance: Instance) -> Device:
    """Somebody."""
    return await Device.of(instance, "alice")


@pytest.fixture
async def bob(instance: Instance) -> Device:
    """Somebody else."""
    return await Device.of(instance, "bob")


@pytest.fixture
async def room_id(instance: Instance, alice: Device, bob: Device) -> str:
    """A room that both are in."""
    room_id = await instance.room(alice.token, name="Tea")
    await bob.call("POST", f"/join/{room_id}", {})
    return room_id


async def test_a_knock_is_shown_until_it_is_withdrawn(
    instance: Instance, alice: Device, bob: Device
) -> None:
    closed = await instance.room(alice.token, preset="private_chat", initial_state=[KNOCKING])
    await bob.sync()
    await bob.call("POST", f"/knock/{closed}", {"reason": "please"})

    knocked = await bob.sync()
    events = knocked["rooms"]["knock"][closed]["knock_state"]["events"]
    await bob.call("POST", f"/rooms/{closed}/leave", {})
    withdrawn = await bob.sync()

    assert ("m.room.member", BOB) in {(e["type"], e["state_key"]) for e in events}
    assert "knock" not in withdrawn["rooms"]
    assert [e["type"] for e in withdrawn["rooms"]["leave"][closed]["timeline"]["events"]] == [
        "m.room.member"
    ]


async def test_a_knock_that_is_answered_becomes_an_invite(
    instance: Instance, alice: Device, bob: Device
) -> None:
    closed = await instance.room(alice.token, preset="private_chat", initial_state=[KNOCKING])
    await bob.call("POST", f"/knock/{closed}", {})
    await bob.sync()

    await alice.call("POST", f"/rooms/{closed}/invite", {"user_id": BOB})
    answer = await bob.sync()

    assert list(answer["rooms"]) == ["invite"]
    assert list(answer["rooms"]["invite"]) == [closed]


async def test_the_full_state_has_the_invites_that_wait(
    instance: Instance, alice: Device, bob: Device
) -> None:
    other = await instance.room(alice.token, preset="private_chat", invite=[BOB])
    await bob.sync()

    quiet = await bob.sync()
    whole = await bob.sync(full_state="true")

    assert "rooms" not in quiet
    assert list(whole["rooms"]["invite"]) == [other]


async def test_the_full_state_is_given_at_once_whatever_the_timeout(
    bob: Device, room_id: str
) -> None:
    await bob.sync()

    answer = await bob.sync(full_state="true", timeout=300_000)

    assert answer["rooms"]["join"][room_id]["state"]["events"]


async def test_nothing_new_is_told_when_the_time_is_up(bob: Device, room_id: str) -> None:
    await bob.sync()

    answer = await bob.sync(timeout=10)

    assert "rooms" not in answer
    assert answer["to_device"] == {"events": []}
    assert answer["device_unused_fallback_key_types"] == []


async def test_messages_that_one_answer_did_not_hold_are_not_waited_for(
    alice: Device, bob: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_extras, "MESSAGES_PER_SYNC", 2)
    await bob.sync(set_presence="offline")
    for number in range(3):
        body = {"messages": {BOB: {bob.device_id: {"n": number}}}}
        await alice.call("PUT", f"/sendToDevice/x/t{number}", body)

    answers = [await bob.sync(timeout=300_000, set_presence="offline") for _ in range(2)]

    told = [[event["content"]["n"] for event in a["to_device"]["events"]] for a in answers]
    assert told == [[0, 1], [2]]


async def test_who_does_not_want_to_be_seen_online_is_not(
    alice: Device, bob: Device, room_id: str
) -> None:
    await bob.sync(set_presence="offline")
    hidden = await alice.call("GET", f"/presence/{BOB}/status")
    waiting = asyncio.create_task(bob.sync(set_presence="unavailable", timeout=5_000))
    await asyncio.sleep(0.1)
    away = await alice.call("GET", f"/presence/{BOB}/status")
    await alice.instance.say(alice.token, room_id, "hello")
    await waiting

    assert hidden["presence"] == "offline"
    assert away["presence"] == "unavailable"


async def test_presence_is_told_as_its_filter_has_it(
    alice: Device, bob: Device, room_id: str
) -> None:
    await bob.call("PUT", f"/presence/{BOB}/status", {"presence": "online", "status_msg": "tea"})

    everybody = await alice.sync()
    alice.since = ""
    nobody = await alice.sync({"presence": {"types": []}})
    alice.since = ""
    others = await alice.sync({"presence": {"not_senders": [BOB]}})

    assert BOB in {event["sender"] for event in everybody["presence"]["events"]}
    assert "presence" not in nobody
    assert BOB not in {e["sender"] for e in others.get("presence", {"events": []})["events"]}


async def test_receipts_and_typing_are_told_as_their_filter_has_it(
    alice: Device, bob: Device, room_id: str
) -> None:
    said = await alice.instance.say(alice.token, room_id, "hello")
    await bob.call("POST", f"/rooms/{room_id}/receipt/m.read/{said['event_id']}", {})
    await bob.call("PUT", f"/rooms/{room_id}/typing/{BOB}", {"typing": True, "timeout": 30_000})

    kinds = {}
    for name, ephemeral in {
        "all": {},
        "typing": {"types": ["m.typing"]},
        "receipts": {"not_types": ["m.typ*"]},
        "elsewhere": {"not_rooms": [room_id]},
    }.items():
        alice.since = ""
        part = (await alice.sync({"room": {"ephemeral": ephemeral}}))["rooms"]["join"][room_id]
        kinds[name] = sorted(event["type"] for event in part["ephemeral"]["events"])

    assert kinds == {
        "all": ["m.receipt", "m.typing"],
        "typing": ["m.typing"],
        "receipts": ["m.receipt"],
        "elsewhere": [],
    }


async def test_unread_threads_are_counted_apart_if_asked_for(
    alice: Device, bob: Device, room_id: str
) -> None:
    say = alice.instance.say
    root = (await say(alice.token, room_id, "root"))["event_id"]
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    for text in ("one", "two"):
        await say(alice.token, room_id, text, **thread)

    together = (await bob.sync())["rooms"]["join"][room_id]
    bob.since = ""
    wanted = {"room": {"timeline": {"unread_thread_notifications": True}}}
    apart = (await bob.sync(wanted))["rooms"]["join"][room_id]

    assert together["unread_notifications"]["notification_count"] == 3
    assert "unread_thread_notifications" not in together
    assert apart["unread_notifications"]["notification_count"] == 1
    assert apart["unread_thread_notifications"] == {
        root: {"notification_count": 2, "highlight_count": 0}
    }


async def test_whose_keys_changed_and_who_is_out_of_sight_is_told(
    alice: Device, bob: Device, room_id: str
) -> None:
    first = await alice.sync()
    keys = {
        "user_id": BOB,
        "device_id": bob.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {f"ed25519:{bob.device_id}": "x", f"curve25519:{bob.device_id}": "y"},
        "signatures": {BOB: {f"ed25519:{bob.device_id}": "z"}},
    }
    await bob.call("POST", "/keys/upload", {"device_keys": keys})
    changed = await alice.sync()
    await bob.call("POST", f"/rooms/{room_id}/leave", {})
    left = await alice.sync()

    assert "device_lists" not in first
    assert changed["device_lists"] == {"changed": [BOB], "left": []}
    assert left["device_lists"] == {"changed": [], "left": [BOB]}


async def test_how_many_one_time_keys_are_left_is_told_each_time(bob: Device) -> None:
    key = {"key": "x", "signatures": {}}
    body = {
        "one_time_keys": {"signed_curve25519:A": key},
        "fallback_keys": {"signed_curve25519:F": {**key, "fallback": True}},
    }
    await bob.call("POST", "/keys/upload", body)

    first = await bob.sync()
    second = await bob.sync()

    for answer in (first, second):
        assert answer["device_one_time_keys_count"]["signed_curve25519"] == 1
        assert answer["device_unused_fallback_key_types"] == ["signed_curve25519"]


async def test_events_in_the_federation_format_are_whole(
    alice: Device, bob: Device, room_id: str
) -> None:
    await alice.instance.say(alice.token, room_id, "hello")

    part = (await bob.sync({"event_format": "federation"}))["rooms"]["join"][room_id]

    event = part["timeline"]["events"][-1]
    assert {"auth_events", "prev_events", "depth", "hashes", "signatures"} <= event.keys()


async def test_a_filter_is_kept_and_used_by_its_name(
    alice: Device, bob: Device, room_id: str
) -> None:
    wanted = {"room": {"timeline": {"types": ["m.room.message"], "limit": 1}}}
    filter_id = (await bob.call("POST", f"/user/{BOB}/filter", wanted))["filter_id"]
    for text in ("one", "two"):
        await alice.instance.say(alice.token, room_id, text)

    kept = await bob.call("GET", f"/user/{BOB}/filter/{filter_id}")
    answer = await bob.sync(filter=filter_id)
    unknown = await bob.call("GET", "/sync?filter=nonsense", status=400)

    timeline = answer["rooms"]["join"][room_id]["timeline"]
    assert kept == wanted
    assert [event["content"]["body"] for event in timeline["events"]] == ["two"]
    assert timeline["limited"]
    assert unknown["errcode"] == "M_INVALID_PARAM"


async def test_who_declines_where_they_could_read_is_told_of_that_alone(
    database: Database, tmp_path: Path
) -> None:
    readable = {"history_visibility": "world_readable"}
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        visibility = {"type": "m.room.history_visibility", "state_key": "", "content": readable}
        room_id = await one.room(alice, initial_state=[visibility])
        since = (await one.call("GET", "/sync", token=bob))["next_batch"]
        who = {"user_id": "@bob:one.test"}
        await one.call("POST", f"/rooms/{room_id}/invite", who, token=alice)
        await one.say(alice, room_id, "will he come?")
        await one.call("POST", f"/rooms/{room_id}/leave", {}, token=bob)

        synced = await one.call("GET", f"/sync?since={since}", token=bob)

        told = synced["rooms"]["leave"][room_id]["timeline"]["events"]
        assert {event["state_key"] for event in told} == {"@bob:one.test"}
        assert told[-1]["content"]["membership"] == "leave"
