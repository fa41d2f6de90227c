"""Invites between instances and what becomes of them, by the letter of the spec."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from homeserver.storage.rooms import get_room
from tests.federation.network import signing_key
from tests.integration.handshake_world import ALICE, Scene, invites, quoted, stripped

from .outside import V1, V2, Outside, beside


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    """An instance, and the network around it."""
    async with beside(database, tmp_path) as found:
        yield found


async def test_an_invite_of_version_12_tells_of_its_room_in_whole_events(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer(), "12")
    outside.add("m.room.name", {"name": "Tea"})

    status, answer = await outside.invite(ALICE, outside.told())

    assert (status, set(answer["event"]["signatures"])) == (200, {outside.name, "one.test"})
    told = (await invites(one, alice))[outside.room_id]
    assert {"m.room.create", "m.room.name"} <= {event["type"] for event in told}


@pytest.mark.parametrize("wrong", ["nothing", "no create", "stripped", "forged", "another room"])
async def test_an_invite_of_version_12_that_tells_wrongly_is_refused(
    scene: Scene, wrong: str
) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer(), "12")
    other = Outside(one, await net.peer("else.test"), "12")
    create = outside.state["m.room.create", ""]
    forged = outside.make("m.room.name", {"name": "Tea"}, "", key=signing_key(250))
    told: dict[str, Any] = {
        "nothing": None,
        "no create": [outside.state["m.room.join_rules", ""].pdu],
        "stripped": [stripped(event) for event in outside.state.values()],
        "forged": [create.pdu, forged.pdu],
        "another room": [create.pdu, other.add("m.room.name", {"name": "Tea"}).pdu],
    }

    status, answer = await outside.invite(ALICE, told[wrong])

    assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")
    assert await invites(one, alice) == {}


async def test_an_older_room_may_be_told_of_in_stripped_events(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer(), "11")

    status, _ = await outside.invite(ALICE, [stripped(e) for e in outside.state.values()])

    assert status == 200
    assert outside.room_id in await invites(one, alice)


@pytest.mark.parametrize(
    "wrong", ["no invite", "another event", "not its user", "nobody here", "forged", "message"]
)
async def test_only_invites_of_its_users_are_signed(scene: Scene, wrong: str) -> None:
    one, net = scene
    await one.register("alice")
    outside = Outside(one, await net.peer(), "11")
    invite = {"membership": "invite"}
    bob = "@bob:two.test"
    wrongs = {
        "no invite": outside.make("m.room.member", {"membership": "ban"}, ALICE),
        "not its user": outside.make("m.room.member", invite, ALICE, sender=bob),
        "nobody here": outside.make("m.room.member", invite, bob),
        "forged": outside.make("m.room.member", invite, ALICE, key=signing_key(250)),
        "message": outside.make("m.room.message", invite, ALICE),
    }
    good = outside.make("m.room.member", invite, ALICE)
    body = {
        "event": wrongs.get(wrong, good).pdu,
        "room_version": "11",
        "invite_room_state": outside.told(),
    }
    event_id = wrongs[wrong].event_id if wrong in wrongs else "$" + "x" * 43
    path = f"{V2}/invite/{quoted(outside.room_id)}/{quoted(event_id)}"

    status, answer = await outside.ask("PUT", path, body)

    assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")


async def test_an_invite_names_its_room_version(scene: Scene) -> None:
    one, net = scene
    await one.register("alice")
    outside = Outside(one, await net.peer(), "11")
    event = outside.make("m.room.member", {"membership": "invite"}, ALICE)
    path = f"{V2}/invite/{quoted(outside.room_id)}/{quoted(event.event_id)}"

    unnamed = await outside.ask("PUT", path, {"event": event.pdu})
    unknown = await outside.invite(ALICE, [], event=event, room_version="99")

    assert (unnamed[0], unnamed[1]["errcode"]) == (400, "M_MISSING_PARAM")
    assert (unknown[0], unknown[1]["errcode"]) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert unknown[1]["room_version"] == "99"


async def test_what_version_a_room_has_is_not_for_an_invite_to_say(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer(), "10")
    invite = outside.make("m.room.member", {"membership": "invite"}, ALICE)
    await outside.invite(ALICE, outside.told(), event=invite, room_version="9")
    outside.take(invite)
    outside.let_in()

    await one.call("POST", f"/join/{outside.room_id}", {}, token=alice)

    row = await get_room(one.wiring.database, outside.room_id)
    assert row is not None
    assert row.room_version == "10"


# ---------------------------------------------------------------- inviting


@pytest.mark.parametrize("status", [400, 404])
async def test_an_old_server_is_invited_in_the_old_spelling(scene: Scene, status: int) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer(), "1")
    room_id = await one.room(alice, room_version="1", name="Tea")
    unknown = {"errcode": "M_UNRECOGNIZED", "error": "?"}
    outside.answer(f"{V2}/invite", lambda _: unknown, status)
    outside.answer(f"{V1}/invite", lambda _: [200, {"event": outside.peer.bodies[-1]}])

    await one.call("POST", f"/rooms/{room_id}/invite", {"user_id": outside.owner}, token=alice)

    (invite,) = outside.got(f"{V1}/invite")
    assert invite["origin"] == "one.test"
    told = invite["unsigned"]["invite_room_state"]
    assert (invite["type"], invite["state_key"]) == ("m.room.member", outside.owner)
    assert "m.room.create" in {event["type"] for event in told}


async def test_a_newer_room_has_no_old_spelling(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer(), "11")
    room_id = await one.room(alice, room_version="11")
    outside.answer(f"{V2}/invite", lambda _: {"errcode": "M_NOT_FOUND", "error": "?"}, 404)

    body = {"user_id": outside.owner}
    await one.call("POST", f"/rooms/{room_id}/invite", body, token=alice, status=404)

    assert outside.got(f"{V1}/invite") == []
