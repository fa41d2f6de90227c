"""An instance as the policy server of its rooms; asking another one: tests/interop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from nacl.signing import VerifyKey as NaclKey

from homeserver.protocol.canonical import decode_base64, essential_json
from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import V12
from homeserver.protocol.signing import generate_signing_key, sign_event
from homeserver.services.policy_keys import rotate
from homeserver.storage.database import Database
from homeserver.storage.policy import VerdictRow, get_verdicts
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.integration.single import Instance, running
from tests.integration.test_lying_peer import DAY_MS, KEY, MALLORY, PEER, LyingPeer, World

SIGN = "/_matrix/policy/v1/sign"
WELL_KNOWN = "/.well-known/matrix/policy_server"
ADMIN = "/_comity/admin/v1/policy_server"
RULES = {"rules": [{"name": "r", "match": {"keywords": ["casino"]}, "action": "reject"}]}
SETTINGS: dict[str, Any] = {
    "federation": {
        "allow_private_networks": True,
        "private_zones": {"*.test": "127.0.0.1"},
        "timeout_seconds": 1,
    },
    "consent": {"cross_instance": "implied"},
    "policy": {"rules": [{**RULES["rules"][0], "message": "No advertising here."}]},
    "policy_server": {"enabled": True},
}


async def appoint(one: Instance, room_id: str, method: str = "POST") -> dict[str, Any]:
    token = one.wiring.admin_tokens.make()
    return await one.call(method, f"{ADMIN}/rooms/{quote(room_id, safe='')}", {}, token=token)


async def enter(one: Instance, database: Database) -> World:
    """A public room with Alice of the instance and Mallory of the peer in it."""
    now = time.time_ns() // 1_000_000
    key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
    await save_keys(database, [key], None, direct=True)
    alice = await one.register("alice")
    peer = LyingPeer(one)
    await peer.join(await one.room(alice))
    return World(one, peer, alice)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """An instance that is the policy server of a room which a peer has joined."""
    async with running(database, tmp_path, **SETTINGS) as one:
        world = await enter(one, database)
        await appoint(one, world.peer.room_id)
        yield world


async def public_key(one: Instance) -> str:
    async with one.client.get(WELL_KNOWN) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        key: str = (await response.json())["public_keys"]["ed25519"]
        return key


def is_signed(pdu: dict[str, Any], signature: str, key: str) -> bool:
    """Whether PyNaCl finds the signature good."""
    NaclKey(decode_base64(key)).verify(essential_json(pdu, V12), decode_base64(signature))
    return True


async def served(world: World, event_id: str) -> dict[str, Any]:
    """An event as other instances get it."""
    path = f"/_matrix/federation/v1/event/{quote(event_id, safe='')}"
    status, answer = await world.peer.ask("GET", path)
    assert status == 200, answer
    pdu: dict[str, Any] = answer["pdus"][0]
    return pdu


async def test_who_is_no_policy_server_says_so(database: Database, tmp_path: Path) -> None:
    settings = {**SETTINGS, "policy_server": {"enabled": False}}
    async with running(database, tmp_path, **settings) as one:
        world = await enter(one, database)

        status, answer = await world.peer.ask("POST", SIGN, world.peer.message("hello"))
        found = await one.client.get(WELL_KNOWN)

        assert (status, answer["errcode"]) == (404, "M_UNRECOGNIZED")
        assert found.status == 404
        assert not (tmp_path / "data" / "policy_server.key").exists()


async def test_its_key_is_its_own(world: World) -> None:
    key = await public_key(world.one)

    federation_key = world.one.wiring.signing_key.verify_key.to_base64()
    assert key != federation_key
    path = f"/rooms/{world.peer.room_id}/state/m.room.policy"
    content = await world.one.call("GET", path, token=world.alice)
    assert content == {"via": "one.test", "public_keys": {"ed25519": key}}


async def test_what_the_rules_allow_gets_its_signature_alone(world: World) -> None:
    message = world.peer.message("hello")

    status, answer = await world.peer.ask("POST", SIGN, message)

    assert status == 200
    signature = answer["one.test"]["ed25519:policy_server"]
    assert answer == {"one.test": {"ed25519:policy_server": signature}}
    assert is_signed(message, signature, await public_key(world.one))


async def test_what_a_rule_refuses_is_refused_in_its_words(world: World) -> None:
    status, answer = await world.peer.ask("POST", SIGN, world.peer.message("casino!"))

    assert (status, answer) == (400, {"errcode": "M_FORBIDDEN", "error": "No advertising here."})


async def test_the_same_event_is_judged_once_however_often_it_is_shown(world: World) -> None:
    message = world.peer.message("casino!")

    for _ in range(3):
        status, _ = await world.peer.ask("POST", SIGN, message)
        assert status == 400

    await world.one.wiring.policy.trail.flush()
    verdicts = await get_verdicts(world.one.wiring.database)
    assert [verdict.stage for verdict in verdicts] == ["content"]


async def test_only_servers_may_ask(world: World) -> None:
    async with world.one.client.post(SIGN, json=world.peer.message("hello")) as response:
        assert response.status == 401


async def test_rooms_that_have_not_appointed_it_are_all_the_same_to_it(world: World) -> None:
    elsewhere = await world.one.room(world.alice)
    answers = [
        await world.peer.ask("POST", SIGN, world.peer.message("hello", room_id=room_id))
        for room_id in (elsewhere, "!nowhere")
    ]

    assert answers[0] == answers[1]
    assert (answers[0][0], answers[0][1]["errcode"]) == (404, "M_NOT_FOUND")


async def test_it_signs_no_more_when_the_room_says_so(world: World) -> None:
    await appoint(world.one, world.peer.room_id, "DELETE")

    status, _ = await world.peer.ask("POST", SIGN, world.peer.message("hello"))

    assert status == 404


async def test_a_server_that_the_acl_shuts_out_gets_no_signature(world: World) -> None:
    path = f"/rooms/{world.peer.room_id}/state/m.room.server_acl"
    body = {"allow": ["*"], "deny": [PEER]}
    await world.one.call("PUT", path, body, token=world.alice)

    status, answer = await world.peer.ask("POST", SIGN, world.peer.message("hello"))

    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("missing", ["sender", "type", "content", "hashes", "depth", "prev_events"])
async def test_what_is_no_event_is_bad_json(world: World, missing: str) -> None:
    message = world.peer.message("hello")
    del message[missing]

    status, answer = await world.peer.ask("POST", SIGN, message)

    assert (status, answer["errcode"]) == (400, "M_BAD_JSON")


async def test_an_event_must_name_its_room(world: World) -> None:
    status, answer = await world.peer.ask("POST", SIGN, {"room_id": 7})

    assert (status, answer["errcode"]) == (400, "M_BAD_JSON")


async def test_a_body_may_not_be_large(world: World) -> None:
    message = {**world.peer.message("hello"), "unsigned": {"x": "y" * 300_000}}

    status, answer = await world.peer.ask("POST", SIGN, message)

    assert (status, answer["errcode"]) == (413, "M_TOO_LARGE")


async def test_its_own_appointment_is_not_for_it_to_sign(world: World) -> None:
    changes = {"type": "m.room.policy", "state_key": "", "content": {}}

    status, answer = await world.peer.ask("POST", SIGN, world.peer.message("", **changes))

    assert (status, answer["errcode"]) == (400, "M_FORBIDDEN")


async def test_content_is_not_exchanged_after_it_is_signed(world: World) -> None:
    hidden = world.peer.message("casino!")
    shown = {**hidden, "content": {"msgtype": "m.text", "body": "hello"}}

    status, answer = await world.peer.ask("POST", SIGN, shown)

    assert (status, answer["errcode"]) == (400, "M_FORBIDDEN")
    assert id_of(shown, V12) == id_of(hidden, V12)


async def test_nobody_is_judged_for_what_others_made_up(world: World) -> None:
    forged = world.peer.message("casino!", sender="@victim:far.test")

    status, answer = await world.peer.ask("POST", SIGN, forged)

    assert (status, answer["errcode"]) == (400, "M_FORBIDDEN")
    assert await get_verdicts(world.one.wiring.database) == []


async def test_who_asks_too_often_waits(database: Database, tmp_path: Path) -> None:
    limits = {"enabled": True, "policy_server": {"per_second": 0.01, "burst": 1}}
    async with running(database, tmp_path, **SETTINGS, rate_limits=limits) as one:
        world = await enter(one, database)
        await appoint(one, world.peer.room_id)

        first, _ = await world.peer.ask("POST", SIGN, world.peer.message("one"))
        second, answer = await world.peer.ask("POST", SIGN, world.peer.message("two"))

        assert (first, second, answer["errcode"]) == (200, 429, "M_LIMIT_EXCEEDED")


# ---------------------------------------------------------------- events in its rooms


async def test_what_its_own_users_send_bears_the_signature(world: World) -> None:
    sent = await world.one.say(world.alice, world.peer.room_id, "hello")

    pdu = await served(world, sent["event_id"])

    signatures = pdu["signatures"]["one.test"]
    assert set(signatures) == {"ed25519:test", "ed25519:policy_server"}
    assert is_signed(pdu, signatures["ed25519:policy_server"], await public_key(world.one))


async def test_a_signed_message_is_shown_as_it_came(world: World) -> None:
    message = world.peer.message("hello")
    _, answer = await world.peer.ask("POST", SIGN, message)
    signed = {**message, "signatures": {**message["signatures"], **answer}}

    await world.peer.send(signed)

    assert await world.seen(until="end") == ["hello"]
    assert (await served(world, id_of(message, V12)))["signatures"] == signed["signatures"]


async def test_an_unsigned_message_is_signed_on_arrival(world: World) -> None:
    message = world.peer.message("hello")

    await world.peer.send(message)

    assert await world.seen(until="end") == ["hello"]
    signatures = (await served(world, id_of(message, V12)))["signatures"]
    signature = signatures["one.test"]["ed25519:policy_server"]
    assert is_signed(message, signature, await public_key(world.one))
    assert signatures[PEER] == message["signatures"][PEER]


async def test_a_refused_message_is_soft_failed_and_noted(world: World) -> None:
    await world.peer.send(world.peer.message("casino!"))

    assert await world.seen(until="end") == []
    verdicts = await get_verdicts(world.one.wiring.database)
    found = {(verdict.stage, verdict.rule, verdict.action, verdict.reason) for verdict in verdicts}
    assert ("policy_server", "policy_server", "soft_fail", "No advertising here.") in found


async def test_a_forged_policy_signature_is_worth_nothing(world: World) -> None:
    message = world.peer.message("casino!")
    key = generate_signing_key(bytes(32), "policy_server")
    forged = sign_event(message, "one.test", key, V12)

    await world.peer.send(forged)

    assert await world.seen(until="end") == []


async def first_verdicts(one: Instance) -> list[VerdictRow]:
    """The audit trail, once there is something in it."""
    for _ in range(500):
        if verdicts := await get_verdicts(one.wiring.database):
            return verdicts
        await asyncio.sleep(0.02)
    return []


async def test_without_a_joined_user_the_room_uses_no_policy_server(world: World) -> None:
    room_id = await world.one.room(world.alice)
    content = {"via": PEER, "public_keys": {"ed25519": KEY.verify_key.to_base64()}}
    await world.one.call("PUT", f"/rooms/{room_id}/state/m.room.policy", content, token=world.alice)

    await world.one.say(world.alice, room_id, "hello")

    assert await world.one.texts(world.alice, room_id) == ["hello"]


async def test_a_policy_server_that_cannot_be_asked_stops_the_room_until_it_is_wiped(
    world: World,
) -> None:
    path = f"/rooms/{world.peer.room_id}/state/m.room.policy"
    content = {"via": PEER, "public_keys": {"ed25519": KEY.verify_key.to_base64()}}
    await world.one.call("PUT", path, content, token=world.alice)

    refused = await world.one.say(world.alice, world.peer.room_id, "hello", status=403)
    await world.peer.send(world.peer.message("unsigned"))
    verdicts = await first_verdicts(world.one)
    await world.one.call("PUT", path, {}, token=world.alice)
    await world.one.say(world.alice, world.peer.room_id, "free")

    assert refused["errcode"] == "M_FORBIDDEN"
    assert PEER in refused["error"]
    assert [(verdict.rule, verdict.action) for verdict in verdicts] == [
        ("policy_server", "soft_fail")
    ]
    assert await world.one.texts(world.alice, world.peer.room_id) == ["free"]


async def test_a_join_that_came_unsigned_is_passed_on_signed(world: World) -> None:
    other = LyingPeer(world.one)
    room_id = await world.one.room(world.alice)
    await appoint(world.one, room_id)

    await other.join(room_id)

    join = await served(world, other.tip[0])
    signature = join["signatures"]["one.test"]["ed25519:policy_server"]
    assert join["sender"] == MALLORY
    assert is_signed(join, signature, await public_key(world.one))


async def test_a_room_may_have_it_from_its_first_day(world: World) -> None:
    key = await public_key(world.one)
    content = {"via": "one.test", "public_keys": {"ed25519": key}}
    initial = [{"type": "m.room.policy", "state_key": "", "content": content}]
    room_id = await world.one.room(world.alice, initial_state=initial, name="Signed")

    room = await world.one.wiring.rooms.get(room_id)
    assert room.content(("m.room.policy", "")) == content
    stored = await world.one.wiring.store.get(room.state[("m.room.name", "")])
    assert stored is not None
    assert "ed25519:policy_server" in stored.event.pdu["signatures"]["one.test"]


async def test_a_name_against_the_rules_keeps_a_local_user_out_in_the_rules_words(
    world: World,
) -> None:
    refused = await world.one.say(world.alice, world.peer.room_id, "casino", status=403)

    assert refused["error"] == "No advertising here."


async def test_after_a_new_key_the_old_one_signs_until_the_room_names_the_new(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **SETTINGS) as one:
        world = await enter(one, database)
        await appoint(one, world.peer.room_id)
        old = await public_key(one)
    rotate(tmp_path / "data")

    async with running(database, tmp_path, **SETTINGS) as one:
        world.peer.one = one
        first = world.peer.message("with the old key")
        _, with_old = await world.peer.ask("POST", SIGN, first)
        await appoint(one, world.peer.room_id)
        second = world.peer.message("with the new key")
        _, with_new = await world.peer.ask("POST", SIGN, second)

        new = await public_key(one)
        assert new != old
        assert is_signed(first, with_old["one.test"]["ed25519:policy_server"], old)
        assert is_signed(second, with_new["one.test"]["ed25519:policy_server"], new)


async def test_only_admins_appoint(world: World) -> None:
    path = f"{ADMIN}/rooms/{quote(world.peer.room_id, safe='')}"

    await world.one.call("POST", path, {}, token=world.alice, status=403)
    await world.one.call("GET", ADMIN, token=world.alice, status=403)


async def test_an_appointment_needs_one_of_ours_with_the_power(world: World) -> None:
    token = world.one.wiring.admin_tokens.make()
    base = f"{ADMIN}/rooms"
    room = quote(world.peer.room_id, safe="")

    await world.one.call("POST", f"{base}/{quote('!none', safe='')}", {}, token=token, status=404)
    bob = await world.one.register("bob")
    await world.one.call("POST", f"/rooms/{world.peer.room_id}/join", {}, token=bob)
    body = {"user_id": "@bob:one.test"}
    await world.one.call("POST", f"{base}/{room}", body, token=token, status=403)
    body = {"user_id": MALLORY}
    await world.one.call("POST", f"{base}/{room}", body, token=token, status=400)


async def test_when_it_is_switched_off_its_rooms_wait_until_they_are_let_go(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **SETTINGS) as one:
        world = await enter(one, database)
        await appoint(one, world.peer.room_id)

    settings = {**SETTINGS, "policy_server": {"enabled": False}}
    async with running(database, tmp_path, **settings) as one:
        refused = await one.say(world.alice, world.peer.room_id, "hello", status=403)
        await appoint(one, world.peer.room_id, "DELETE")
        await one.say(world.alice, world.peer.room_id, "free")

        assert "m.room.policy" in refused["error"]
        assert await one.texts(world.alice, world.peer.room_id) == ["free"]
        await one.call(
            "POST",
            f"{ADMIN}/rooms/{quote(world.peer.room_id, safe='')}",
            {},
            token=one.wiring.admin_tokens.make(),
            status=400,
        )
