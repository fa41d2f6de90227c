"""What other instances send is pushed as what is sent here."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import V12
from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.harness.push_gateway import PushGateway, push_gateway
from tests.integration.push_world import pusher, settled
from tests.integration.single import Instance, running
from tests.integration.test_lying_peer import DAY_MS, KEY, MALLORY, PEER, LyingPeer

BOB = "@bob:one.test"
SETTINGS: dict[str, Any] = {
    "push": {"allow_private_networks": True},
    "federation": {
        "allow_private_networks": True,
        "private_zones": {"*.test": "127.0.0.1"},
        "timeout_seconds": 1,
    },
    "consent": {"cross_instance": "implied"},
}
Scene = tuple[Instance, LyingPeer, PushGateway, str]


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    """An instance, the peer, and Bob, who has a pusher."""
    async with push_gateway() as gateway, running(database, tmp_path, **SETTINGS) as one:
        now = time.time_ns() // 1_000_000
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        bob = await one.register("bob")
        await one.call("POST", "/pushers/set", pusher(gateway.url), token=bob)
        yield one, LyingPeer(one), gateway, bob
        assert not gateway.problems, gateway.problems


async def invited(peer: LyingPeer, topic: str) -> dict[str, Any]:
    """Mallory invites Bob to a room that is elsewhere."""
    create = peer.finished(
        {
            "type": "m.room.create",
            "sender": MALLORY,
            "state_key": "",
            "content": {"room_version": "12", "topic": topic},
            "prev_events": [],
            "auth_events": [],
            "depth": 1,
            "origin_server_ts": time.time_ns() // 1_000_000,
        }
    )
    room_id = "!" + id_of(create, V12)[1:]

    def state(kind: str, state_key: str, content: dict[str, Any]) -> dict[str, Any]:
        return peer.message(
            "", type=kind, state_key=state_key, content=content, room_id=room_id, origin=PEER
        )

    member = {"displayname": "Mallory M.", "membership": "join"}
    told = [
        create,
        state("m.room.name", "", {"name": "Lair"}),
        state("m.room.member", MALLORY, member),
    ]
    invite = state("m.room.member", BOB, {"membership": "invite"})
    event_id = id_of(invite, V12)
    path = f"/_matrix/federation/v2/invite/{quote(room_id, safe='')}/{quote(event_id, safe='')}"
    body = {"event": invite, "room_version": "12", "invite_room_state": told}
    status, answer = await peer.ask("PUT", path, body)
    assert status == 200, answer
    return {"event_id": event_id, "room_id": room_id}


async def test_a_message_from_elsewhere_is_pushed(scene: Scene) -> None:
    one, peer, gateway, bob = scene
    room_id = await one.room(bob)
    await peer.join(room_id)
    message = peer.message("hello")

    await peer.send(message)

    (notification,) = await gateway.take()
    assert notification["event_id"] == id_of(message, V12)
    assert notification["sender"] == MALLORY
    assert notification["room_name"] == MALLORY  # they are alone, and it has no name
    assert notification["counts"] == {"unread": 1}


async def test_an_invite_from_elsewhere_is_pushed_unless_it_has_to_be_asked_for(
    scene: Scene,
) -> None:
    one, peer, gateway, bob = scene
    peer.tip, peer.auths = ["$" + "p" * 43], ["$" + "a" * 43]
    group = "/_comity/client/v1/consent/group"

    await one.call("PUT", group, {"preset": "ask"}, token=bob)
    waiting = await invited(peer, "one")
    await settled(one)
    asked = list(gateway.notifications)
    await one.call("PUT", group, {"preset": "open"}, token=bob)
    await one.call("POST", f"/rooms/{waiting['room_id']}/leave", {}, token=bob)
    open_ = await invited(peer, "two")

    assert asked == []
    (notification,) = await gateway.take()
    assert notification["event_id"] == open_["event_id"]
    assert (notification["room_name"], notification["sender_display_name"]) == (
        "Lair",
        "Mallory M.",
    )
    assert notification["user_is_target"] is True
