"""What other instances are told of our rooms: spaces, events by their dates, the directory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.integration.single import Instance, running
from tests.integration.test_lying_peer import DAY_MS, KEY, PEER, LyingPeer

WORLD = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}


class Scene:
    """An instance, somebody on it, and a peer whose requests are signed."""

    def __init__(self, one: Instance, alice: str) -> None:
        self.one, self.alice, self.peer = one, alice, LyingPeer(one)

    async def get(self, *path: str, **query: str) -> tuple[int, dict[str, Any]]:
        """A question of the peer's."""
        target = "/_matrix/federation/v1/" + "/".join(quote(part, safe="") for part in path)
        return await self.peer.ask("GET", f"{target}?{urlencode(query)}" if query else target)


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    consent = {"cross_instance": "implied"}
    async with running(database, tmp_path, consent=consent) as one:
        now = time.time_ns() // 1_000_000
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        yield Scene(one, await one.register("alice"))


async def test_a_peer_is_told_of_a_space_what_its_users_may_see(scene: Scene) -> None:
    one, alice = scene.one, scene.alice
    space = await one.room(alice, creation_content={"type": "m.space"}, name="Space")
    public = await one.room(alice, name="Public")
    private = await one.room(alice, preset="private_chat")
    for_peer = await one.room(alice, preset="private_chat", initial_state=[WORLD])
    for child in (public, private, for_peer):
        path = f"/rooms/{space}/state/m.space.child/{child}"
        await one.call("PUT", path, {"via": ["one.test"]}, token=alice)

    status, answer = await scene.get("hierarchy", space)

    assert status == 200
    assert answer["room"]["name"] == "Space"
    assert len(answer["room"]["children_state"]) == 3
    assert {room["room_id"] for room in answer["children"]} == {public, for_peer}
    assert answer["inaccessible_children"] == [private]
    assert (await scene.get("hierarchy", space, suggested_only="true"))[1]["children"] == []
    assert (await scene.get("hierarchy", private))[0] == 404
    assert (await scene.get("hierarchy", "!nowhere:one.test"))[0] == 404


async def test_a_peer_finds_events_by_their_dates_in_rooms_that_it_is_in(scene: Scene) -> None:
    room_id = await scene.one.room(scene.alice)
    event_id = (await scene.one.say(scene.alice, room_id, "hello"))["event_id"]
    later = str(time.time_ns() // 1_000_000 + DAY_MS)

    outside, _ = await scene.get("timestamp_to_event", room_id, ts=later, dir="b")
    await scene.peer.join(room_id)
    before = await scene.get("timestamp_to_event", room_id, ts=later, dir="b")
    first = await scene.get("timestamp_to_event", room_id, ts="0", dir="f")
    nothing, _ = await scene.get("timestamp_to_event", room_id, ts=later, dir="f")

    assert outside == 403
    assert before[0] == first[0] == 200
    assert before[1]["event_id"] != first[1]["event_id"]
    assert event_id not in (before[1]["event_id"], first[1]["event_id"])  # it lies between
    assert nothing == 404
    for wrong in ({}, {"ts": "0"}, {"ts": "0", "dir": "x"}, {"ts": "x", "dir": "f"}):
        assert (await scene.get("timestamp_to_event", room_id, **wrong))[0] == 400


async def test_a_peer_reads_the_directory_and_its_networks(scene: Scene) -> None:
    listed = await scene.one.room(scene.alice, visibility="public")
    bridged = await scene.one.room(scene.alice)
    await scene.one.wiring.database.execute(
        "INSERT INTO appservice_room_lists (appservice_id, network_id, room_id)"
        " VALUES ('bridge', 'irc', $1)",
        bridged,
    )

    async def rooms(**query: str) -> set[str]:
        _, answer = await scene.get("publicRooms", **query)
        return {room["room_id"] for room in answer["chunk"]}

    assert await rooms(limit="0") == {listed}
    assert await rooms(third_party_instance_id="irc") == {bridged}
    assert await rooms(include_all_networks="true") == {listed, bridged}
    status, _ = await scene.get(
        "publicRooms", include_all_networks="true", third_party_instance_id="irc"
    )
    assert status == 400


async def test_a_query_that_nobody_knows_is_refused(scene: Scene) -> None:
    status, answer = await scene.get("query", "org.example.weather")

    assert (status, answer["errcode"]) == (404, "M_UNRECOGNIZED")
