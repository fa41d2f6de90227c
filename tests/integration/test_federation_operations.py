"""Operations of the Server-Server API that no other test asks of a whole instance."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.protocol.canonical import content_hash, encode_base64
from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import ROOM_VERSIONS, V12
from homeserver.protocol.signing import sign_event
from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey, save_keys

from .single import Instance, running
from .test_lying_peer import DAY_MS, KEY, MALLORY, PEER, LyingPeer

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"


class World:
    """An instance, a peer, and Alice's room."""

    def __init__(self, one: Instance, alice: str, room_id: str) -> None:
        self.one, self.alice, self.room_id = one, alice, room_id
        self.peer = LyingPeer(one)
        self.room = quote(room_id, safe="")

    async def get(self, path: str) -> dict[str, Any]:
        """What the peer is answered."""
        status, answer = await self.peer.ask("GET", path)
        assert status == 200, answer
        return answer

    async def put(self, path: str, body: Any) -> Any:
        """What the peer is answered."""
        status, answer = await self.peer.ask("PUT", path, body)
        assert status == 200, answer
        return answer

    async def open_and_join(self) -> None:
        """Anybody may join from now on, and the peer does."""
        path = f"/rooms/{self.room_id}/state/m.room.join_rules"
        await self.one.call("PUT", path, {"join_rule": "public"}, token=self.alice)
        await self.peer.join(self.room_id)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """An instance with a listed room on which anybody may knock."""
    consent = {"cross_instance": "implied"}
    settings: dict[str, Any] = {"consent": consent, "well_known_server": "one.test:443"}
    async with running(database, tmp_path, **settings) as one:
        now = time.time_ns() // 1_000_000
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        alice = await one.register("alice")
        knock = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
        room_id = await one.room(
            alice,
            name="Tea",
            room_alias_name="tea",
            visibility="public",
            initial_state=[knock],
            room_version="12",
        )
        yield World(one, alice, room_id)


async def test_a_stranger_knocks_and_withdraws(world: World) -> None:
    user = quote(MALLORY, safe="")
    template = await world.get(f"{V1}/make_knock/{world.room}/{user}?ver=12")
    knock = world.peer.finished({**template["event"], "origin_server_ts": time.time_ns() // 10**6})
    path = f"{V1}/send_knock/{world.room}/{quote(id_of(knock, V12), safe='')}"
    known = await world.put(path, knock)

    template = await world.get(f"{V1}/make_leave/{world.room}/{user}")
    leave = world.peer.finished({**template["event"], "origin_server_ts": time.time_ns() // 10**6})
    path = f"{V2}/send_leave/{world.room}/{quote(id_of(leave, V12), safe='')}"
    answer = await world.put(path, leave)

    assert "m.room.join_rules" in {event["type"] for event in known["knock_room_state"]}
    assert answer == {}


@pytest.mark.parametrize("version", ["1", "10"])
async def test_a_user_of_ours_is_invited_in_both_spellings(world: World, version: str) -> None:
    room_version = ROOM_VERSIONS[version]
    pdu: dict[str, Any] = {
        "type": "m.room.member",
        "room_id": f"!theirs:{PEER}",
        "sender": MALLORY,
        "state_key": "@alice:one.test",
        "content": {"membership": "invite"},
        "prev_events": [],
        "auth_events": [],
        "depth": 5,
        "origin": PEER,
        "origin_server_ts": time.time_ns() // 1_000_000,
    }
    if version == "1":
        pdu["event_id"] = f"$invite:{PEER}"
    pdu["hashes"] = {"sha256": encode_base64(content_hash(pdu))}
    pdu = sign_event(pdu, PEER, KEY, room_version)
    event_id = pdu.get("event_id") or id_of(pdu, room_version)
    path = f"invite/{quote(pdu['room_id'], safe='')}/{quote(event_id, safe='')}"

    if version == "1":
        _, answer = await world.put(f"{V1}/{path}", pdu)
    else:
        body = {"room_version": version, "event": pdu, "invite_room_state": []}
        answer = await world.put(f"{V2}/{path}", body)

    assert set(answer["event"]["signatures"]) == {PEER, "one.test"}


async def test_the_directory_names_and_profiles_are_told(world: World) -> None:
    listed = await world.get(f"{V1}/publicRooms")
    _, searched = await world.peer.ask(
        "POST", f"{V1}/publicRooms", {"filter": {"generic_search_term": "tea"}}
    )
    named = await world.get(f"{V1}/query/directory?room_alias={quote('#tea:one.test')}")
    profile = await world.get(f"{V1}/query/profile?user_id={quote('@alice:one.test')}")

    for answer in (listed, searched):
        assert [room["room_id"] for room in answer["chunk"]] == [world.room_id]
    assert (named["room_id"], named["servers"]) == (world.room_id, ["one.test"])
    assert profile["displayname"] == "alice"


async def test_spaces_and_times_of_a_room_are_told(world: World) -> None:
    await world.open_and_join()

    space = await world.get(f"{V1}/hierarchy/{world.room}")
    first = await world.get(f"{V1}/timestamp_to_event/{world.room}?ts=0&dir=f")

    assert space["room"]["room_id"] == world.room_id
    assert first["event_id"].startswith("$")


async def test_keys_are_passed_on_to_those_who_ask(world: World) -> None:
    body = {"server_keys": {"one.test": {}}}

    async with world.one.client.post("/_matrix/key/v2/query", json=body) as response:
        answer = await response.json()

    assert [key["server_name"] for key in answer["server_keys"]] == ["one.test"]


async def test_the_graph_of_a_room_is_told_to_who_is_in_it(world: World) -> None:
    await world.open_and_join()
    said = (await world.one.say(world.alice, world.room_id, "hello"))["event_id"]
    event = quote(said, safe="")

    backfilled = await world.get(f"{V1}/backfill/{world.room}?v={event}&limit=3")
    state = await world.get(f"{V1}/state/{world.room}?event_id={event}")
    ids = await world.get(f"{V1}/state_ids/{world.room}?event_id={event}")
    auth = await world.get(f"{V1}/event_auth/{world.room}/{event}")
    one = await world.get(f"{V1}/event/{event}")
    body = {"earliest_events": world.peer.tip, "latest_events": [said], "limit": 5}
    status, missing = await world.peer.ask("POST", f"{V1}/get_missing_events/{world.room}", body)

    assert len(backfilled["pdus"]) == 3
    assert len(state["pdus"]) == len(ids["pdu_ids"]) > 3
    assert auth["auth_chain"]
    assert [pdu["content"]["body"] for pdu in one["pdus"]] == ["hello"]
    assert (status, missing) == (200, {"events": []})


async def test_devices_and_keys_are_told_to_who_shares_a_room(world: World) -> None:
    await world.open_and_join()
    who = await world.one.call("GET", "/account/whoami", token=world.alice)
    device_id, user_id = who["device_id"], who["user_id"]
    keys = {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {f"ed25519:{device_id}": "x", f"curve25519:{device_id}": "y"},
        "signatures": {user_id: {f"ed25519:{device_id}": "z"}},
    }
    one_time = {"signed_curve25519:A": {"key": "a", "signatures": {}}}
    body = {"device_keys": keys, "one_time_keys": one_time}
    await world.one.call("POST", "/keys/upload", body, token=world.alice)

    devices = await world.get(f"{V1}/user/devices/{quote(user_id, safe='')}")
    _, queried = await world.peer.ask(
        "POST", f"{V1}/user/keys/query", {"device_keys": {user_id: []}}
    )
    wanted = {"one_time_keys": {user_id: {device_id: "signed_curve25519"}}}
    _, claimed = await world.peer.ask("POST", f"{V1}/user/keys/claim", wanted)

    assert [device["device_id"] for device in devices["devices"]] == [device_id]
    assert queried["device_keys"][user_id][device_id]["keys"] == keys["keys"]
    assert claimed["one_time_keys"] == {user_id: {device_id: one_time}}


async def test_media_are_given_to_other_instances(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.alice}", "Content-Type": "image/png"}
    async with world.one.client.post(
        "/_matrix/media/v3/upload", data=PIXEL, headers=headers
    ) as response:
        media_id = (await response.json())["content_uri"].rpartition("/")[2]
    event = {"msgtype": "m.image", "body": "dot", "url": f"mxc://one.test/{media_id}"}
    await world.one.say(world.alice, world.room_id, **{"text": "dot", **event})

    for path in (f"download/{media_id}", f"thumbnail/{media_id}?width=1&height=1"):
        uri = f"{V1}/media/{path}"
        signed = {"Authorization": world.peer.signed("GET", uri)}
        async with world.one.client.get(uri, headers=signed) as response:
            assert response.status == 200
            assert response.content_type == "multipart/mixed"


async def test_what_needs_no_signature_is_told_to_anybody(world: World) -> None:
    asked = await world.one.call(
        "POST", "/user/@alice:one.test/openid/request_token", {}, token=world.alice
    )
    found = {}
    for path in (
        f"{V1}/version",
        "/_matrix/key/v2/server",
        "/.well-known/matrix/server",
        "/_matrix/key/v2/query/one.test",
        f"{V1}/openid/userinfo?access_token={asked['access_token']}",
    ):
        async with world.one.client.get(path) as response:
            assert response.status == 200, path
            name = "/".join(path.partition("?")[0].split("/")[-2:])
            found[name] = await response.json()

    assert found["v1/version"]["server"]["name"]
    assert found["v2/server"]["server_name"] == "one.test"
    assert found["matrix/server"] == {"m.server": "one.test:443"}
    assert [key["server_name"] for key in found["query/one.test"]["server_keys"]] == ["one.test"]
    assert found["openid/userinfo"] == {"sub": "@alice:one.test"}


async def test_questions_that_there_are_not_are_refused(world: World) -> None:
    status, answer = await world.peer.ask("GET", f"{V1}/query/horoscope")

    assert (status, answer["errcode"]) in ((404, "M_NOT_FOUND"), (404, "M_UNRECOGNIZED"))
