"""Who is told of changed devices: clients by sync, other instances by EDU, in both directions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from homeserver.errors import PeerFailed
from homeserver.services import remote_devices as remote_devices_module
from homeserver.services.device_lists import DeviceListService
from homeserver.services.device_sharing import DeviceSharing
from homeserver.services.remote_devices import RemoteDevices
from homeserver.storage import end_to_end_keys as key_storage
from homeserver.storage.device_lists import get_tracked
from homeserver.storage.devices import delete_devices
from homeserver.storage.log import Log, Notice
from tests.harness.client import eventually
from tests.services.doubles import (
    ALICE,
    BOB,
    CAROL,
    PEER,
    ROOM,
    Clock,
    Edus,
    Peers,
    add_device,
    device_keys,
    join_record,
    set_membership,
)

OTHER_ROOM = "!other:one.example"


@dataclass
class Stage:
    """The services, and what stands around them."""

    database: Any
    log: Log
    lists: DeviceListService
    remote: RemoteDevices
    edus: Edus
    peers: Peers

    async def changed_for(self, reader: str, since: int = 0) -> tuple[list[str], list[str]]:
        """Whose keys a reader must fetch again, and whose they may forget."""
        changes = await self.lists.changes_since(reader, since, 10**9)
        return changes.changed, changes.left

    async def track_carol(self, stream_id: int = 5) -> None:
        """Have Carol's list, with one device, cached here."""
        self.peers.lists[CAROL] = {
            "stream_id": stream_id,
            "devices": [{"device_id": "DESK", "keys": device_keys(CAROL, "DESK")}],
        }
        await self.remote.fetch(CAROL)

    async def carols_devices(self) -> dict[str, str]:
        """Carol's devices as cached: ID -> Curve25519 key."""
        rows = await key_storage.get_device_keys(self.database, [CAROL])
        return {row.device_id: row.keys["keys"][f"curve25519:{row.device_id}"] for row in rows}

    async def is_stale(self) -> bool:
        """Whether Carol's list must be fetched again."""
        return (await get_tracked(self.database, [CAROL]))[CAROL].stale

    async def is_fresh(self) -> bool:
        """Whether it has been fetched."""
        return not await self.is_stale()


@pytest.fixture
async def stage(database):
    log = Log(database)
    await log.start()
    edus, peers = Edus(), Peers()
    lists = DeviceListService(database=database, log=log, edus=edus)
    remote = RemoteDevices(database=database, log=log, remote=peers, clock_ms=Clock())
    await add_device(database, ALICE, "LAPTOP")
    await add_device(database, BOB, "PHONE", "Bob's phone")
    for user_id in (ALICE, BOB, CAROL):
        await set_membership(database, user_id)
    log.position = await database.fetchval("SELECT last_value FROM log_position")
    yield Stage(database, log, lists, remote, edus, peers)
    await remote.close()
    await log.close()


def update(stream_id: int, prev_id: list[int], device_id: str = "DESK", **more: Any) -> Any:
    """An ``m.device_list_update`` of Carol's."""
    return {
        "user_id": CAROL,
        "device_id": device_id,
        "stream_id": stream_id,
        "prev_id": prev_id,
        **more,
    }


# ---------------------------------------------------------------- ours


async def test_who_shares_a_room_is_told_and_nobody_else(stage):
    since = stage.log.position
    await set_membership(stage.database, "@dora:one.example", room_id=OTHER_ROOM)

    await stage.lists.changed(BOB, "PHONE")

    assert await stage.changed_for(ALICE, since) == ([BOB], [])
    assert await stage.changed_for(BOB, since) == ([BOB], [])
    assert BOB not in (await stage.changed_for("@dora:one.example", since))[0]


async def test_other_instances_get_updates_that_follow_each_other(stage):
    await stage.lists.keys_uploaded(BOB, "PHONE", device_keys(BOB, "PHONE"))
    await stage.lists.changed(BOB, "PHONE")

    (to, kind, first), (_, _, second) = stage.edus.durable
    assert (to, kind) == (PEER, "m.device_list_update")
    assert first["keys"]["keys"] == device_keys(BOB, "PHONE")["keys"]
    assert first["device_display_name"] == "Bob's phone"
    assert first["prev_id"] == []
    assert second["prev_id"] == [first["stream_id"]]


async def test_a_deleted_device_leaves_nothing_behind(stage):
    await stage.lists.keys_uploaded(BOB, "PHONE", device_keys(BOB, "PHONE"))

    await stage.lists.deleted(BOB, ["PHONE"])

    assert stage.edus.durable[-1][2]["deleted"] is True
    assert await key_storage.get_device_keys(stage.database, [BOB]) == []


async def test_keys_that_come_when_their_device_is_gone_are_not_published(stage):
    await delete_devices(stage.database, BOB, ["PHONE"])

    await stage.lists.keys_uploaded(BOB, "PHONE", device_keys(BOB, "PHONE"))

    assert await key_storage.get_device_keys(stage.database, [BOB]) == []


async def test_an_instance_that_comes_to_share_a_room_is_told_of_every_device(stage):
    await add_device(stage.database, BOB, "TABLET")

    await stage.lists.announce_to(BOB, ["three.example"])

    told = [(to, content["device_id"]) for to, _, content in stage.edus.durable]
    assert told == [("three.example", "PHONE"), ("three.example", "TABLET")]


async def test_who_joins_a_room_has_changed_for_its_members(stage):
    since = stage.log.position
    await set_membership(stage.database, "@dora:one.example")

    changed, left = await stage.changed_for(ALICE, since)

    assert (changed, left) == (["@dora:one.example"], [])


async def test_all_members_have_changed_for_who_joins(stage):
    since = stage.log.position
    await set_membership(stage.database, "@dora:one.example")

    changed, _ = await stage.changed_for("@dora:one.example", since)

    assert set(changed) >= {ALICE, BOB, CAROL}


async def test_all_members_have_changed_for_who_left_and_came_back_between_syncs(stage):
    since = stage.log.position
    await set_membership(stage.database, BOB, "leave")
    await set_membership(stage.database, BOB)

    assert await stage.changed_for(BOB, since) == ([ALICE, BOB, CAROL], [])


async def test_who_leaves_the_last_shared_room_has_left(stage):
    since = stage.log.position
    await set_membership(stage.database, BOB, "leave")

    assert await stage.changed_for(ALICE, since) == ([], [BOB])
    assert await stage.changed_for(BOB, since) == ([], [ALICE, CAROL])


async def test_who_leaves_one_of_two_shared_rooms_has_not_left(stage):
    for user_id in (ALICE, BOB):
        await set_membership(stage.database, user_id, room_id=OTHER_ROOM)
    since = await stage.database.fetchval("SELECT last_value FROM log_position")
    await set_membership(stage.database, BOB, "leave")

    assert await stage.changed_for(ALICE, since) == ([], [])


# ---------------------------------------------------------------- theirs


async def test_an_update_that_follows_is_applied(stage):
    await stage.track_carol(5)
    since = stage.log.position

    keys = device_keys(CAROL, "PAD", "new")
    await stage.remote.receive_update(PEER, update(6, [5], "PAD", keys=keys))

    assert await stage.carols_devices() == {"DESK": "curve", "PAD": "new"}
    assert await stage.changed_for(ALICE, since) == ([CAROL], [])
    assert stage.peers.asked == [f"devices {CAROL}"]


async def test_a_deletion_that_follows_is_applied(stage):
    await stage.track_carol(5)

    await stage.remote.receive_update(PEER, update(6, [5], deleted=True))

    assert await stage.carols_devices() == {}


async def test_a_gap_makes_the_list_stale_on_disk_until_it_is_fetched_again(stage):
    await stage.track_carol(5)
    stage.peers.down = True

    await stage.remote.receive_update(PEER, update(9, [8], keys=device_keys(CAROL, "DESK", "x")))
    stale_at_once = await stage.is_stale()
    stage.peers.down = False
    stage.peers.lists[CAROL]["stream_id"] = 9
    stage.peers.lists[CAROL]["devices"][0]["keys"] = device_keys(CAROL, "DESK", "new")
    stage.remote.peer_alive(PEER)
    await eventually(stage.is_fresh, "the list is fetched again")

    assert stale_at_once
    assert await stage.carols_devices() == {"DESK": "new"}


async def test_who_is_heard_from_while_a_fetch_fails_is_asked_again_at_once(stage, monkeypatch):
    monkeypatch.setattr(remote_devices_module, "FIRST_RETRY_SECONDS", 3_600)
    await stage.track_carol(5)
    answer, asked = stage.peers.user_devices, 0

    async def away_at_first(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            stage.remote.peer_alive(PEER)
            raise PeerFailed("It hung up")
        return await answer(*arguments)

    stage.peers.user_devices = away_at_first

    await stage.remote.receive_update(PEER, update(9, [8]))
    await eventually(stage.is_fresh, "the list is fetched again")

    assert asked == 2


async def test_what_was_stale_when_the_server_stopped_is_fetched_when_it_starts(stage, monkeypatch):
    monkeypatch.setattr(remote_devices_module, "FIRST_RETRY_SECONDS", 0.05)
    await stage.track_carol(5)
    stage.peers.down = True
    await stage.remote.receive_update(PEER, update(9, [8]))
    await stage.remote.close()
    stage.peers.down = False

    again = RemoteDevices(
        database=stage.database, log=stage.log, remote=stage.peers, clock_ms=Clock()
    )
    await again.start()
    await eventually(stage.is_fresh, "the list is fetched again")
    await again.close()


async def test_the_same_update_twice_is_applied_once(stage):
    await stage.track_carol(5)
    await stage.remote.receive_update(PEER, update(6, [5], keys=device_keys(CAROL, "DESK", "a")))
    position = stage.log.position

    await stage.remote.receive_update(PEER, update(6, [5], keys=device_keys(CAROL, "DESK", "b")))

    assert await stage.carols_devices() == {"DESK": "a"}
    assert stage.log.position == position


@pytest.mark.parametrize(
    "content",
    [
        update(6, [5], deleted=True) | {"user_id": BOB},
        update(6, [5], deleted=True) | {"device_id": 3},
        update(6, [5], deleted=True) | {"stream_id": "6"},
        update(2**70, [5], deleted=True),
        {},
    ],
)
async def test_a_forged_or_malformed_update_changes_nothing(stage, content):
    await stage.track_carol(5)

    await stage.remote.receive_update(PEER, content)

    assert await stage.carols_devices() == {"DESK": "curve"}


@pytest.mark.parametrize("localpart", ["", "jürgen", "a b", "tab\t"])
async def test_clients_are_not_told_of_the_devices_of_users_with_historical_names(stage, localpart):
    user_id = f"@{localpart}:{PEER}"
    since = await set_membership(stage.database, user_id)

    await stage.remote.receive_update(PEER, update(6, [5]) | {"user_id": user_id})
    await stage.remote.receive_signing_keys(PEER, {"user_id": user_id})

    assert await stage.changed_for(ALICE, since) == ([], [])


async def test_a_list_that_an_update_overtook_while_it_was_fetched_is_fetched_again(stage):
    await stage.track_carol(5)
    answer = stage.peers.user_devices
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> Any:
        old = await answer(*arguments)
        arrived.set()
        await go_on.wait()
        return old

    stage.peers.user_devices = slowly
    fetch = asyncio.create_task(stage.remote.fetch(CAROL))
    await arrived.wait()
    new = device_keys(CAROL, "DESK", "new")
    stage.peers.lists[CAROL] = {
        "stream_id": 6,
        "devices": [{"device_id": "DESK", "keys": new}],
    }
    await asyncio.wait_for(stage.remote.receive_update(PEER, update(6, [5], keys=new)), 30)
    go_on.set()
    await fetch
    await eventually(stage.is_fresh, "the list is fetched again")

    assert await stage.carols_devices() == {"DESK": "new"}


async def test_new_signing_keys_of_a_peer_are_announced_to_clients(stage):
    await stage.track_carol(5)
    since = stage.log.position
    master = {"user_id": CAROL, "usage": ["master"], "keys": {"ed25519:pub": "pub"}}

    await stage.remote.receive_signing_keys(PEER, {"user_id": CAROL, "master_key": master})

    stored = await key_storage.get_cross_signing_keys(stage.database, [CAROL])
    assert stored == {CAROL: {"master": master}}
    assert await stage.changed_for(ALICE, since) == ([CAROL], [])


async def test_lists_are_forgotten_when_we_come_into_a_room_anew(stage):
    await stage.track_carol(5)

    await stage.remote.room_joined("!room:one.example")

    assert await get_tracked(stage.database, [CAROL]) == {}


INSERT_MEMBER_EVENT = """
INSERT INTO events (event_id, position, room_id, timeline_order, type, state_key, sender, depth,
    origin_server_ts, auth_event_ids, prev_event_ids, pdu)
VALUES ($1, $2, '!room:one.example', $2, 'm.room.member', $3, $3, $2, 1, '{}', '{}', $4)
"""
JOINED = b'{"content": {"membership": "join", "displayname": "\\u0000"}}'


async def test_who_only_changes_their_name_has_not_changed(stage):
    await stage.database.execute(INSERT_MEMBER_EVENT, "$join", 1, BOB, JOINED)
    since = await stage.database.fetchval("SELECT last_value FROM log_position")
    position = await set_membership(stage.database, BOB)
    await stage.database.execute(INSERT_MEMBER_EVENT, "$e", position, BOB, JOINED)

    assert await stage.changed_for(ALICE, since) == ([], [])


# ---------------------------------------------------------------- joins


async def test_a_join_tells_the_instances_that_did_not_share_a_room_before(stage):
    sharing = DeviceSharing(
        database=stage.database,
        log=stage.log,
        device_lists=stage.lists,
        remote_devices=stage.remote,
    )
    await stage.track_carol()
    for user_id in ("@dave:three.example", CAROL, BOB):
        position = await set_membership(stage.database, user_id, room_id=OTHER_ROOM)

    sharing._on_notice(Notice(position, [(position, join_record(OTHER_ROOM, BOB))]))
    await sharing.close()

    told = [(to, content["device_id"]) for to, _, content in stage.edus.durable]
    assert told == [("three.example", "PHONE")]
    assert await get_tracked(stage.database, [CAROL]) == {}


async def test_a_changed_name_tells_nobody_anything(stage):
    sharing = DeviceSharing(
        database=stage.database,
        log=stage.log,
        device_lists=stage.lists,
        remote_devices=stage.remote,
    )
    await stage.track_carol()
    position = await set_membership(stage.database, BOB)

    sharing._on_notice(Notice(position, [(position, join_record(ROOM, BOB))]))
    await sharing.close()

    assert stage.edus.durable == []
    assert CAROL in await get_tracked(stage.database, [CAROL])
