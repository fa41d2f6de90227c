"""Uploading, querying and claiming keys."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from homeserver.errors import BadJson, InvalidParam
from homeserver.services.device_lists import DeviceListService
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.remote_devices import RemoteDevices
from homeserver.storage.log import Log
from tests.services.doubles import (
    ALICE,
    BOB,
    CAROL,
    PEER,
    SERVER,
    Clock,
    Edus,
    Peers,
    add_device,
    device_keys,
    set_membership,
)

ALGORITHM = "signed_curve25519"


@dataclass
class Stage:
    """The service, and what stands around it."""

    database: Any
    keys: EndToEndKeyService
    lists: DeviceListService
    edus: Edus
    peers: Peers

    async def upload(self, count: int, *, first: int = 0) -> dict[str, int]:
        """Bob uploads one-time keys."""
        keys = {f"{ALGORITHM}:K{n:04}": {"key": f"k{n}"} for n in range(first, first + count)}
        return await self.keys.upload(
            BOB, "PHONE", device_keys=None, one_time_keys=keys, fallback_keys={}
        )

    async def claim(self) -> dict[str, Any]:
        """Somebody claims a key of Bob's phone."""
        result = await self.keys.claim({BOB: {"PHONE": ALGORITHM}})
        return result.one_time_keys.get(BOB, {}).get("PHONE", {})


@pytest.fixture
async def stage(database):
    log = Log(database)
    await log.start()
    edus, peers, clock = Edus(), Peers(), Clock()
    lists = DeviceListService(database=database, log=log, edus=edus)
    remote_devices = RemoteDevices(database=database, log=log, remote=peers, clock_ms=clock)
    keys = EndToEndKeyService(
        server_name=SERVER,
        database=database,
        device_lists=lists,
        remote_devices=remote_devices,
        remote=peers,
    )
    await add_device(database, ALICE, "LAPTOP")
    await add_device(database, BOB, "PHONE", "Bob's phone")
    yield Stage(database, keys, lists, edus, peers)
    await remote_devices.close()
    await log.close()


async def test_uploaded_keys_are_found_with_the_devices_name(stage):
    keys = device_keys(BOB, "PHONE")
    await stage.keys.upload(BOB, "PHONE", device_keys=keys, one_time_keys={}, fallback_keys={})

    found = await stage.keys.query(ALICE, {BOB: []})

    assert found.keys.device_keys == {
        BOB: {"PHONE": {**keys, "unsigned": {"device_display_name": "Bob's phone"}}}
    }
    assert found.failures == {}


async def test_a_device_without_a_name_has_something_unsigned_too(stage):
    keys = device_keys(ALICE, "LAPTOP")
    await stage.keys.upload(ALICE, "LAPTOP", device_keys=keys, one_time_keys={}, fallback_keys={})

    found = await stage.keys.query(BOB, {ALICE: []})

    assert found.keys.device_keys == {ALICE: {"LAPTOP": {**keys, "unsigned": {}}}}


async def test_a_query_for_one_device_leaves_out_the_others(stage):
    await stage.keys.upload(
        BOB, "PHONE", device_keys=device_keys(BOB, "PHONE"), one_time_keys={}, fallback_keys={}
    )

    found = await stage.keys.query(ALICE, {BOB: ["TABLET"]})

    assert found.keys.device_keys == {BOB: {}}


async def test_a_user_without_keys_has_no_devices_and_one_who_is_unknown_is_missing(stage):
    await set_membership(stage.database, ALICE)
    await set_membership(stage.database, CAROL)
    stage.peers.lists[CAROL] = {"user_id": CAROL, "stream_id": 7, "devices": []}

    found = await stage.keys.query(ALICE, {BOB: [], CAROL: [], f"@nobody:{SERVER}": []})

    assert found.keys.device_keys == {BOB: {}, CAROL: {}}


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        (device_keys(ALICE, "PHONE"), InvalidParam),
        (device_keys(BOB, "OTHER"), InvalidParam),
        ({"user_id": BOB, "device_id": "PHONE"}, BadJson),
        ({**device_keys(BOB, "PHONE"), "keys": {"ed25519:PHONE": 1}}, BadJson),
    ],
)
async def test_malformed_device_keys_are_refused(stage, keys, error):
    with pytest.raises(error):
        await stage.keys.upload(BOB, "PHONE", device_keys=keys, one_time_keys={}, fallback_keys={})


async def test_the_same_one_time_keys_again_change_nothing(stage):
    first = await stage.upload(5)

    again = await stage.upload(5)

    assert first == again == {ALGORITHM: 5}


async def test_another_key_under_a_known_id_is_refused_and_nothing_is_stored(stage):
    await stage.upload(1)
    keys = {f"{ALGORITHM}:NEW": {"key": "new"}, f"{ALGORITHM}:K0000": {"key": "other"}}

    with pytest.raises(InvalidParam):
        await stage.keys.upload(
            BOB, "PHONE", device_keys=None, one_time_keys=keys, fallback_keys={}
        )

    counts = await stage.keys.counts(BOB, "PHONE")
    assert counts.one_time_keys == {ALGORITHM: 1}


async def test_no_key_is_claimed_twice_however_many_claim_at_once(stage):
    await stage.upload(100)

    claimed = await asyncio.gather(*(stage.claim() for _ in range(150)))

    names = Counter(name for keys in claimed for name in keys)
    assert len(names) == 100
    assert set(names.values()) == {1}
    assert (await stage.keys.counts(BOB, "PHONE")).one_time_keys == {ALGORITHM: 0}


async def test_a_claimed_key_uploaded_again_is_spent_and_another_of_its_id_is_not(stage):
    await stage.upload(2)
    claimed = await stage.claim()

    again = await stage.upload(2)
    other = {name: {"key": "other"} for name in claimed}
    counts = await stage.keys.upload(
        BOB, "PHONE", device_keys=None, one_time_keys=other, fallback_keys={}
    )

    assert again == {ALGORITHM: 1}
    assert counts == {ALGORITHM: 2}


async def test_keys_are_claimed_in_the_order_of_their_upload(stage):
    await stage.upload(1, first=9)
    await stage.upload(1, first=5)
    await stage.upload(1, first=7)

    claimed = [await stage.claim() for _ in range(3)]

    assert [next(iter(keys)) for keys in claimed] == [
        f"{ALGORITHM}:K0009",
        f"{ALGORITHM}:K0005",
        f"{ALGORITHM}:K0007",
    ]


async def test_a_fallback_key_is_given_again_and_again_and_then_counts_as_used(stage):
    fallback = {f"{ALGORITHM}:F": {"key": "f", "fallback": True}}
    await stage.keys.upload(
        BOB, "PHONE", device_keys=None, one_time_keys={}, fallback_keys=fallback
    )
    before = await stage.keys.counts(BOB, "PHONE")

    claimed = [await stage.claim() for _ in range(2)]

    assert claimed == [fallback, fallback]
    assert before.unused_fallback_algorithms == [ALGORITHM]
    assert (await stage.keys.counts(BOB, "PHONE")).unused_fallback_algorithms == []


async def test_who_counts_keys_is_told_of_uploads_and_claims(stage):
    told: list[tuple[str, str]] = []
    stage.keys.on_counts_changed = lambda *device: told.append(device)

    await stage.upload(1)
    await stage.claim()
    await stage.claim()

    assert told == [(BOB, "PHONE")] * 2


async def test_the_used_fallback_key_uploaded_again_stays_used(stage):
    fallback = {f"{ALGORITHM}:F": {"key": "f", "fallback": True}}
    upload = {"device_keys": None, "one_time_keys": {}, "fallback_keys": fallback}
    await stage.keys.upload(BOB, "PHONE", **upload)
    await stage.claim()

    await stage.keys.upload(BOB, "PHONE", **upload)

    assert (await stage.keys.counts(BOB, "PHONE")).unused_fallback_algorithms == []


async def test_a_remote_list_is_fetched_once_and_then_served_from_here(stage):
    await set_membership(stage.database, ALICE)
    await set_membership(stage.database, CAROL)
    keys = device_keys(CAROL, "DESK")
    stage.peers.lists[CAROL] = {
        "user_id": CAROL,
        "stream_id": 7,
        "devices": [{"device_id": "DESK", "keys": keys, "device_display_name": "Desk"}],
    }

    first = await stage.keys.query(ALICE, {CAROL: []})
    second = await stage.keys.query(ALICE, {CAROL: ["DESK"]})

    shown = {"DESK": {**keys, "unsigned": {"device_display_name": "Desk"}}}
    assert first.keys.device_keys == second.keys.device_keys == {CAROL: shown}
    assert stage.peers.asked == [f"devices {CAROL}"]


async def test_a_stranger_is_asked_for_every_time(stage):
    stage.peers.lists[CAROL] = {
        "stream_id": 7,
        "devices": [{"device_id": "DESK", "keys": device_keys(CAROL, "DESK")}],
    }

    found = [await stage.keys.query(ALICE, {CAROL: []}) for _ in range(2)]

    assert all(list(result.keys.device_keys[CAROL]) == ["DESK"] for result in found)
    assert stage.peers.asked == ["query", "query"]


async def test_an_instance_that_is_down_is_named_among_the_failures(stage):
    stage.peers.down = True

    found = await stage.keys.query(ALICE, {CAROL: []})
    claimed = await stage.keys.claim({CAROL: {"DESK": ALGORITHM}})

    assert list(found.failures) == list(claimed.failures) == [PEER]


async def test_what_an_instance_answers_unasked_is_dropped(stage):
    stage.peers.one_time_keys = {
        CAROL: {"DESK": {f"{ALGORITHM}:A": {"key": "a"}}, "OTHER": {f"{ALGORITHM}:B": "b"}},
        BOB: {"PHONE": {f"{ALGORITHM}:C": "c"}},
    }

    claimed = await stage.keys.claim({CAROL: {"DESK": ALGORITHM}})

    assert claimed.one_time_keys == {CAROL: {"DESK": {f"{ALGORITHM}:A": {"key": "a"}}}}


async def test_another_instance_gets_the_device_list_with_its_stream_id(stage):
    keys = device_keys(BOB, "PHONE")
    await stage.keys.upload(BOB, "PHONE", device_keys=keys, one_time_keys={}, fallback_keys={})

    answer = await stage.keys.user_devices(BOB)

    assert answer["stream_id"] > 0
    assert [device["device_id"] for device in answer["devices"]] == ["PHONE"]
    assert answer["devices"][0]["device_display_name"] == "Bob's phone"
