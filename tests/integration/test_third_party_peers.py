"""Third-party invites where a peer has a hand in it: nobody is invited past their answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.protocol.canonical import event_id_of
from homeserver.protocol.room_versions import V12
from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.harness import eventually
from tests.harness.identity_server import IdentityServer
from tests.integration.single import running
from tests.integration.test_lying_peer import ALICE, DAY_MS, KEY, MALLORY, PEER, LyingPeer
from tests.integration.test_third_party_invites import (
    ADDRESS,
    BOB,
    OURS,
    Scene,
    identity,
    people,
    settings,
)

__all__ = ["identity"]  # a fixture


@dataclass
class Stage:
    """Alice's public room, which the peer has joined, and an identity server."""

    scene: Scene
    peer: LyingPeer

    async def exchange(self, signed: dict[str, Any], **changes: Any) -> tuple[int, dict[str, Any]]:
        """The peer asks for the invite of its Mallory, whom an address belongs to."""
        body = {
            "type": "m.room.member",
            "room_id": self.peer.room_id,
            "sender": ALICE,
            "state_key": MALLORY,
            "content": {
                "membership": "invite",
                "third_party_invite": {"display_name": "m", "signed": signed},
            },
            **changes,
        }
        room = quote(self.peer.room_id, safe="")
        path = f"/_matrix/federation/v1/exchange_third_party_invite/{room}"
        return await self.peer.ask("PUT", path, body)

    async def signed(self, **changes: Any) -> dict[str, Any]:
        """Alice invites Mallory's address, and the identity server signs who has it."""
        await self.scene.invite(self.peer.room_id)
        token = self.scene.identity.stored[-1]["token"]
        return self.scene.identity.sign({"mxid": MALLORY, "token": token, **changes})

    async def kick(self) -> None:
        """Mallory, who has been in the room, is put out."""
        path = f"/rooms/{self.peer.room_id}/kick"
        await self.scene.one.call("POST", path, {"user_id": MALLORY}, token=self.scene.alice)

    async def settled(self, text: str) -> None:
        """Wait until all that the peer has sent is in the room."""
        await self.peer.send(self.peer.message(text))

        async def is_there() -> bool:
            return text in await self.scene.one.texts(self.scene.alice, self.peer.room_id)

        await eventually(is_there, text)


@pytest.fixture
async def stage(
    database: Database, tmp_path: Path, identity: IdentityServer
) -> AsyncIterator[Stage]:
    """A room with Alice, and Mallory of the peer."""
    async with running(database, tmp_path, **settings(tmp_path)) as one:
        now = time.time_ns() // 1_000_000
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        scene, peer = await people(one, identity), LyingPeer(one)
        await peer.join(await one.room(scene.alice))
        yield Stage(scene, peer)


# ---------------------------------------------------------------- exchanging


async def test_a_valid_exchange_is_sent_to_be_signed(stage: Stage) -> None:
    signed = await stage.signed()
    await stage.kick()

    status, answer = await stage.exchange(signed)

    # Nobody answers at the peer's address: so far it got, the key checked.
    assert (status, answer["errcode"]) == (502, "M_UNKNOWN")
    assert PEER in answer["error"]
    assert stage.scene.identity.asked[-1] == "pubkey/isvalid"


async def test_an_exchange_for_a_member_changes_nothing(stage: Stage) -> None:
    signed = await stage.signed()

    status, _ = await stage.exchange(signed)

    assert status == 200
    room = await stage.scene.one.wiring.rooms.get(stage.peer.room_id)
    assert room.is_joined(MALLORY)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"state_key": "@carol:other.test"}, 403),  # not the peer's, nor signed for them
        ({"state_key": "@somebody:peer.test"}, 403),
        ({"sender": BOB}, 403),
        ({"sender": MALLORY}, 403),
        ({"sender": 7}, 400),
        ({"type": "m.room.name"}, 400),
        ({"room_id": "!other:one.test"}, 400),
        ({"content": {"membership": "invite"}}, 400),
        ({"content": {"membership": "join", "third_party_invite": {}}}, 400),
    ],
)
async def test_an_exchange_that_is_not_in_order_is_refused(
    stage: Stage, change: dict[str, Any], status: int
) -> None:
    signed = await stage.signed()
    await stage.kick()

    answer = await stage.exchange(signed, **change)

    assert answer[0] == status, answer


async def test_an_exchange_that_nobody_signed_is_refused(stage: Stage) -> None:
    signed = await stage.signed()
    await stage.kick()

    forged, _ = await stage.exchange({**signed, "extra": "field"})
    unknown, _ = await stage.exchange(stage.scene.identity.sign({"mxid": MALLORY, "token": "x"}))

    assert (forged, unknown) == (403, 403)


async def test_a_key_that_was_revoked_lets_nobody_in(stage: Stage) -> None:
    signed = await stage.signed()
    await stage.kick()
    stage.scene.identity.valid = False

    status, answer = await stage.exchange(signed)

    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert stage.scene.identity.asked[-1] == "pubkey/isvalid"


@pytest.mark.parametrize("url", ["https://other.test/isvalid", "http://{0}/x", "https://u@{0}/x"])
async def test_a_key_is_only_asked_about_at_a_listed_server(stage: Stage, url: str) -> None:
    scene = stage.scene
    url = url.format(scene.identity.name)
    content = {**scene.identity.public_keys()[0], "key_validity_url": url, "display_name": "m"}
    path = f"/rooms/{stage.peer.room_id}/state/m.room.third_party_invite/tok"
    await scene.one.call("PUT", path, content, token=scene.alice)
    await stage.kick()

    status, _ = await stage.exchange(scene.identity.sign({"mxid": MALLORY, "token": "tok"}))

    assert status == 403
    assert scene.identity.asked == []


async def test_a_server_that_the_acl_shuts_out_exchanges_nothing(stage: Stage) -> None:
    signed = await stage.signed()
    acl = {"allow": ["*"], "deny": [PEER]}
    path = f"/rooms/{stage.peer.room_id}/state/m.room.server_acl"
    await stage.scene.one.call("PUT", path, acl, token=stage.scene.alice)

    status, answer = await stage.exchange(signed)

    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


async def test_the_inviters_consent_link_is_not_shown_to_the_peer(stage: Stage) -> None:
    signed = await stage.signed()
    await stage.kick()
    path = f"{OURS}/consent/federation/{PEER}"
    await stage.scene.one.call("PUT", path, {"state": "denied"}, token=stage.scene.alice)

    status, answer = await stage.exchange(signed)

    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert "consent_uri" not in answer


# ---------------------------------------------------------------- one of ours is the owner


async def _mallory_invites(stage: Stage) -> dict[str, Any]:
    """Mallory invites Bob's address to the room; what the identity server tells Bob's server."""
    identity, peer = stage.scene.identity, stage.peer
    token = identity.invite(ADDRESS, MALLORY, peer.room_id)
    content = {**identity.public_keys()[0], "display_name": "b...@..."}
    event = peer.message("", type="m.room.third_party_invite", state_key=token, content=content)
    await peer.send(event)
    await stage.settled(f"after {token}")
    return identity.bind(ADDRESS, BOB)


async def test_an_invite_is_made_here_in_the_name_of_a_member_elsewhere(stage: Stage) -> None:
    binding = await _mallory_invites(stage)

    await stage.scene.bind(binding)

    assert await stage.scene.bobs_invites() == [stage.peer.room_id]


async def test_it_is_not_where_the_owner_is_closed(stage: Stage) -> None:
    await stage.scene.answer("closed")
    binding = await _mallory_invites(stage)

    await stage.scene.bind(binding)
    hidden = await stage.scene.bobs_invites()
    await stage.scene.answer("ask")
    await stage.scene.bind(binding)

    assert hidden == []
    (request,) = await stage.scene.requests()
    assert request["sender"] == MALLORY


async def test_a_peer_does_not_invite_in_the_name_of_one_of_ours(stage: Stage) -> None:
    scene, peer = stage.scene, stage.peer
    await scene.answer("closed")
    await scene.invite(peer.room_id)
    proof = scene.identity.bind(ADDRESS, BOB)["invites"][0]["signed"]
    content = {
        "membership": "invite",
        "third_party_invite": {"display_name": "b", "signed": proof},
    }
    room = await scene.one.wiring.rooms.get(peer.room_id)
    keys = [
        ("m.room.power_levels", ""),
        ("m.room.member", ALICE),
        ("m.room.join_rules", ""),
        ("m.room.third_party_invite", proof["token"]),
    ]
    invite = peer.message(
        "",
        type="m.room.member",
        sender=ALICE,
        state_key=BOB,
        content=content,
        prev_events=list(room.extremities),
        auth_events=[room.state[key] for key in keys],
        depth=50,
    )

    await peer.send(invite)
    await stage.settled("after it")

    assert await scene.bobs_invites() == []
    stored = await scene.one.wiring.store.get(event_id_of(invite, V12))
    assert stored is not None  # it is a valid event, and soft-failed for want of consent
    assert ("m.room.member", BOB) not in room.state
