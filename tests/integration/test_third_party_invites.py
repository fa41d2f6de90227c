"""Invites by e-mail address: who learns of it, and who is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from homeserver.storage.database import Database
from tests.harness.identity_server import TOKEN, IdentityServer
from tests.harness.ports import free_port
from tests.integration.single import Instance, running

OURS = "/_comity/client/v1"
ADDRESS = "bob@mail.example"
BOB = "@bob:one.test"


@dataclass
class Scene:
    """An instance with Alice and Bob, and the identity server that it may use."""

    one: Instance
    identity: IdentityServer
    alice: str
    bob: str

    def third_party(self, **changes: Any) -> dict[str, Any]:
        """What a client sends to invite Bob's address."""
        usual = {"id_server": self.identity.name, "id_access_token": TOKEN}
        return {**usual, "medium": "email", "address": ADDRESS, **changes}

    async def invite(self, room_id: str, *, status: int = 200, **changes: Any) -> dict[str, Any]:
        """Alice invites Bob's address."""
        body = self.third_party(**changes)
        path = f"/rooms/{room_id}/invite"
        return await self.one.call("POST", path, body, token=self.alice, status=status)

    async def bind(self, body: dict[str, Any] | None = None, *, status: int = 200) -> None:
        """The identity server tells the instance that the address is Bob's."""
        path = "/_matrix/federation/v1/3pid/onbind"
        body = body or self.identity.bind(ADDRESS, BOB)
        await self.one.call("PUT", path, body, status=status)

    async def bobs_invites(self) -> list[str]:
        """The rooms that Bob is shown invites to."""
        rooms = (await self.one.call("GET", "/sync", token=self.bob)).get("rooms", {})
        return list(rooms.get("invite", {}))

    async def requests(self) -> list[dict[str, Any]]:
        """Who waits for Bob's answer."""
        answer = await self.one.call("GET", f"{OURS}/requests", token=self.bob)
        found: list[dict[str, Any]] = answer["requests"]
        return found

    async def answer(self, preset: str) -> None:
        """Bob chooses who may add him to groups."""
        body = {"preset": preset}
        await self.one.call("PUT", f"{OURS}/consent/group", body, token=self.bob)

    async def waiting(self, room_id: str) -> list[dict[str, Any]]:
        """The invitations in the room's state."""
        state = await self.one.call("GET", f"/rooms/{room_id}/state", token=self.alice)
        events: Any = state
        return [event for event in events if event["type"] == "m.room.third_party_invite"]


@pytest.fixture
async def identity(tmp_path: Path) -> AsyncIterator[IdentityServer]:
    """An identity server, whose certificate is good if ``ca.pem`` is trusted."""
    authority, port = trustme.CA(), free_port()
    issued = authority.issue_cert("identity.test")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate, key = tmp_path / "identity.crt", tmp_path / "identity.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    name = f"identity.test:{port}"
    server, runner = await IdentityServer.start(name, "127.0.0.1", port, certificate, key)
    yield server
    await runner.cleanup()


def settings(tmp_path: Path, **federation: Any) -> dict[str, Any]:
    """An instance that may use the identity server."""
    return {
        "third_party_invites": {"identity_servers": ["identity.test:*"]},
        "consent": {"cross_instance": "implied"},
        "federation": {
            "allow_private_networks": True,
            "extra_ca_file": str(tmp_path / "ca.pem"),
            "private_zones": {"*.test": "127.0.0.1"},
            "timeout_seconds": 10,
            **federation,
        },
    }


async def people(one: Instance, identity: IdentityServer) -> Scene:
    """Alice and Bob."""
    return Scene(one, identity, await one.register("alice"), await one.register("bob"))


@pytest.fixture
async def scene(
    database: Database, tmp_path: Path, identity: IdentityServer
) -> AsyncIterator[Scene]:
    """An instance that may use the identity server."""
    async with running(database, tmp_path, **settings(tmp_path)) as one:
        yield await people(one, identity)


# ---------------------------------------------------------------- the address has an owner


@pytest.mark.parametrize("algorithms", [["none", "sha256"], ["none"]])
async def test_the_owner_of_an_address_is_invited(scene: Scene, algorithms: list[str]) -> None:
    scene.identity.algorithms = algorithms
    scene.identity.bind(ADDRESS, BOB)
    room_id = await scene.one.room(scene.alice)

    await scene.invite(room_id, address="Bob@Mail.Example")

    assert await scene.bobs_invites() == [room_id]
    assert scene.identity.asked == ["hash_details", "lookup"]


async def test_an_owner_who_is_closed_is_not_invited(scene: Scene) -> None:
    scene.identity.bind(ADDRESS, BOB)
    await scene.answer("closed")
    room_id = await scene.one.room(scene.alice)

    refused = await scene.invite(room_id, status=403)
    body = {"invite_3pid": [scene.third_party()]}
    not_made = await scene.one.call("POST", "/createRoom", body, token=scene.alice, status=403)

    assert refused["errcode"] == not_made["errcode"] == "M_INVITE_BLOCKED"
    assert await scene.bobs_invites() == []


async def test_who_asks_first_has_a_request(scene: Scene) -> None:
    scene.identity.bind(ADDRESS, BOB)
    await scene.answer("ask")

    body = {"invite_3pid": [scene.third_party()]}
    made = await scene.one.call("POST", "/createRoom", body, token=scene.alice)

    (request,) = await scene.requests()
    assert request["room_id"] == made["room_id"]


# ---------------------------------------------------------------- the address has none yet


async def test_an_invitation_waits_in_the_room_without_the_address(scene: Scene) -> None:
    room_id = await scene.one.room(scene.alice, name="Verona")

    await scene.invite(room_id)

    (event,) = await scene.waiting(room_id)
    (stored,) = scene.identity.stored
    assert (event["state_key"], stored["room_name"]) == (stored["token"], "Verona")
    assert event["content"]["public_keys"] == scene.identity.public_keys()
    assert ADDRESS not in str(event)


async def test_a_room_is_made_with_an_invitation_in_it(scene: Scene) -> None:
    body = {"invite_3pid": [scene.third_party()]}

    made = await scene.one.call("POST", "/createRoom", body, token=scene.alice)

    assert len(await scene.waiting(made["room_id"])) == 1


async def test_once_bound_the_owner_is_invited(scene: Scene) -> None:
    room_id = await scene.one.room(scene.alice)
    await scene.invite(room_id)

    await scene.bind()
    await scene.bind()

    assert await scene.bobs_invites() == [room_id]


async def test_an_owner_who_is_closed_hears_nothing_of_what_waited(scene: Scene) -> None:
    await scene.answer("closed")
    room_id = await scene.one.room(scene.alice)
    await scene.invite(room_id)

    await scene.bind()

    assert await scene.bobs_invites() == []
    members = await scene.one.call("GET", f"/rooms/{room_id}/members", token=scene.alice)
    assert BOB not in [event["state_key"] for event in members["chunk"]]


async def test_what_waited_becomes_a_request_of_who_asks_first(scene: Scene) -> None:
    await scene.answer("ask")
    room_id = await scene.one.room(scene.alice)
    await scene.invite(room_id)

    await scene.bind()

    (request,) = await scene.requests()
    assert (request["room_id"], request["scope"]) == (room_id, "group")


async def test_a_member_is_not_made_a_guest_again(scene: Scene) -> None:
    room_id = await scene.one.room(scene.alice)
    await scene.invite(room_id)
    await scene.one.call("POST", f"/join/{room_id}", {}, token=scene.bob)

    await scene.bind()

    joined = await scene.one.call("GET", f"/rooms/{room_id}/joined_members", token=scene.bob)
    assert BOB in joined["joined"]


async def test_who_shows_the_signature_joins_by_the_invitation(scene: Scene) -> None:
    room_id = await scene.one.room(scene.alice, preset="private_chat")
    await scene.invite(room_id)
    signed = scene.identity.bind(ADDRESS, BOB)["invites"][0]["signed"]

    body = {"third_party_signed": signed}
    await scene.one.call("POST", f"/rooms/{room_id}/join", body, token=scene.bob)

    joined = await scene.one.call("GET", f"/rooms/{room_id}/joined_members", token=scene.bob)
    assert BOB in joined["joined"]
    assert "pubkey/isvalid" in scene.identity.asked


@pytest.mark.parametrize(
    "change",
    [
        {"mxid": "@eve:one.test"},
        {"sender": "@carol:one.test"},
        {"token": "another"},
        {"signatures": {}},
    ],
)
async def test_a_join_by_what_matches_no_invitation_is_refused(
    scene: Scene, change: dict[str, Any]
) -> None:
    room_id = await scene.one.room(scene.alice)
    await scene.invite(room_id)
    signed = {**scene.identity.bind(ADDRESS, BOB)["invites"][0]["signed"], **change}

    for path in (f"/rooms/{room_id}/join", f"/join/{room_id}"):
        body = {"third_party_signed": signed}
        refused = await scene.one.call("POST", path, body, token=scene.bob, status=403)
        assert refused["errcode"] == "M_FORBIDDEN"


async def test_a_join_by_a_key_that_is_not_valid_any_more_is_refused(scene: Scene) -> None:
    room_id = await scene.one.room(scene.alice)
    await scene.invite(room_id)
    signed = scene.identity.bind(ADDRESS, BOB)["invites"][0]["signed"]
    scene.identity.valid = False

    body = {"third_party_signed": signed}
    await scene.one.call("POST", f"/rooms/{room_id}/join", body, token=scene.bob, status=403)


@pytest.mark.parametrize(
    "change",
    [
        {"mxid": "@eve:one.test"},
        {"token": "another"},
        {"signatures": {}},
        {"signatures": {"identity.test": {"ed25519:0": "A" * 86}}},
    ],
)
async def test_what_is_not_signed_for_the_owner_is_dropped(
    scene: Scene, change: dict[str, Any]
) -> None:
    room_id = await scene.one.room(scene.alice)
    await scene.invite(room_id)
    body = scene.identity.bind(ADDRESS, BOB)
    body["invites"][0]["signed"].update(change)

    await scene.bind(body)

    assert await scene.bobs_invites() == []


async def test_what_is_signed_for_another_inviter_is_dropped(scene: Scene) -> None:
    room_id = await scene.one.room(scene.alice)
    await scene.invite(room_id)
    body = scene.identity.bind(ADDRESS, BOB)
    body["invites"][0]["sender"] = "@carol:one.test"

    await scene.bind(body)

    assert await scene.bobs_invites() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"mxid": 7, "invites": []},
        {"mxid": "bob", "invites": []},
        {"mxid": "@bob:elsewhere.test", "invites": []},
        {"mxid": BOB, "invites": {}},
        {"mxid": BOB, "invites": [7]},
        {"mxid": BOB, "invites": [{}]},
        {"mxid": BOB, "invites": [{}] * 51},
        {"mxid": BOB, "invites": [{"room_id": "!r", "sender": "@a:b.test", "signed": {}}]},
        {"mxid": BOB, "invites": [{"room_id": "!r", "sender": None, "signed": {"mxid": 1.5}}]},
    ],
)
async def test_a_bad_binding_is_refused(scene: Scene, body: dict[str, Any]) -> None:
    await scene.bind(body or {"": ""}, status=400)


async def test_a_binding_asks_for_few_keys(scene: Scene) -> None:
    names = {f"ed25519:{number}": "A" * 86 for number in range(20)}
    signed = {"mxid": BOB, "token": "t", "signatures": {scene.identity.name: names}}
    invite = {"room_id": "!elsewhere:peer.test", "sender": "@eve:peer.test", "signed": signed}

    await scene.bind({"mxid": BOB, "invites": [invite] * 50})

    assert len(scene.identity.asked) == 4


async def test_a_binding_of_nobody_is_like_any_other(scene: Scene) -> None:
    room_id = await scene.one.room(scene.alice)
    await scene.invite(room_id)

    await scene.bind(scene.identity.bind(ADDRESS, "@nobody:one.test"))


# ---------------------------------------------------------------- what leaves the server


async def test_nothing_leaves_before_the_inviter_agrees(
    database: Database, tmp_path: Path, identity: IdentityServer
) -> None:
    asking = settings(tmp_path) | {"consent": {"cross_instance": "opt_in"}}
    async with running(database, tmp_path, **asking) as one:
        scene = await people(one, identity)
        room_id = await one.room(scene.alice)

        refused = await scene.invite(room_id, status=403)
        before = list(identity.asked)
        path = f"{OURS}/consent/federation/{identity.name}"
        await one.call("PUT", path, {"state": "granted"}, token=scene.alice)
        await scene.invite(room_id)

    assert refused["errcode"] == "M_CONSENT_NOT_GIVEN"
    assert refused["consent_uri"].startswith("http")
    assert before == []
    assert identity.asked == ["hash_details", "lookup", "store-invite"]


@pytest.mark.parametrize("name", ["other.test", "identity.test", "127.0.0.1:443", "a/b", ""])
async def test_an_identity_server_that_is_not_listed_is_not_asked(scene: Scene, name: str) -> None:
    room_id = await scene.one.room(scene.alice)

    refused = await scene.invite(room_id, id_server=name, status=403)

    assert refused["errcode"] == "M_FORBIDDEN"


async def test_it_is_off_unless_the_admin_says_otherwise(
    database: Database, tmp_path: Path, identity: IdentityServer
) -> None:
    async with running(database, tmp_path) as one:
        scene = await people(one, identity)
        room_id = await one.room(scene.alice)

        refused = await scene.invite(room_id, status=403)
        body = {"invite_3pid": [scene.third_party()]}
        await one.call("POST", "/createRoom", body, token=scene.alice, status=403)
        await scene.bind(status=403)

    assert refused["errcode"] == "M_FORBIDDEN"
    assert identity.asked == []


async def test_an_address_of_the_local_network_is_not_asked(
    database: Database, tmp_path: Path, identity: IdentityServer
) -> None:
    guarded = settings(tmp_path, allow_private_networks=False)
    async with running(database, tmp_path, **guarded) as one:
        scene = await people(one, identity)
        room_id = await one.room(scene.alice)

        refused = await scene.invite(room_id, status=502)

    assert "local network" in refused["error"]
    assert identity.asked == []


async def test_a_redirect_is_not_followed(scene: Scene) -> None:
    scene.identity.redirect_to = f"https://{scene.identity.name}/elsewhere"
    room_id = await scene.one.room(scene.alice)

    await scene.invite(room_id, status=502)

    assert scene.identity.asked == ["hash_details"]


async def test_a_token_that_is_not_taken_logs_nobody_out(scene: Scene) -> None:
    room_id = await scene.one.room(scene.alice)

    refused = await scene.invite(room_id, id_access_token="wrong", status=502)

    assert refused["errcode"] == "M_UNKNOWN"


async def test_who_may_not_invite_tells_the_identity_server_nothing(scene: Scene) -> None:
    levels = {"power_level_content_override": {"invite": 50}}
    room_id = await scene.one.room(scene.bob, **levels)
    await scene.one.call("POST", f"/join/{room_id}", {}, token=scene.alice)

    await scene.invite(room_id, status=403)
    await scene.invite("!elsewhere:one.test", status=403)

    assert scene.identity.asked == []


async def test_policy_is_asked_before_an_address_is_kept(
    database: Database, tmp_path: Path, identity: IdentityServer
) -> None:
    rule = {
        "name": "no addresses",
        "match": {"event_type": "m.room.third_party_invite"},
        "action": "reject",
        "message": "Invite people by their user ID",
    }
    ruled = settings(tmp_path) | {"policy": {"rules": [rule]}}
    async with running(database, tmp_path, **ruled) as one:
        scene = await people(one, identity)
        room_id = await one.room(scene.alice)

        refused = await scene.invite(room_id, status=403)

    assert "Invite people by their user ID" in refused["error"]
    assert identity.asked == ["hash_details", "lookup"]


@pytest.mark.parametrize(
    "change",
    [
        {"address": ""},
        {"address": "a b"},
        {"address": "a\nb"},
        {"address": "x" * 501},
        {"address": 7},
        {"medium": "e mail"},
        {"id_access_token": "a\r\nb"},
        {"id_access_token": None},
    ],
)
async def test_a_bad_address_is_refused(scene: Scene, change: dict[str, Any]) -> None:
    room_id = await scene.one.room(scene.alice)

    await scene.invite(room_id, status=400, **change)

    assert scene.identity.asked == []
