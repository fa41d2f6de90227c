"""Blocked instances, on a whole instance: what they meet, and what our users read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.canonical import event_id_of
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import V12
from homeserver.services.judgement import Action
from homeserver.storage.database import Database
from tests.integration.single import running
from tests.integration.test_lying_peer import MALLORY, PEER, World, world

__all__ = ["world"]
PATH = "/_comity/admin/v1/servers/blocks"


@pytest.fixture
async def root(world: World) -> AsyncIterator[str]:
    """An admin's token."""
    token = await world.one.register("root")
    await world.one.wiring.accounts.set_admin("@root:one.test", True)
    yield token


async def test_an_attack_ends_with_one_request(world: World, root: str) -> None:
    body = {"server": PEER, "reason": "a flood of invites", "for_seconds": 3600}
    answer = await world.one.call("POST", PATH, body, token=root)

    status, refused = await world.peer.send(world.peer.message("more"))

    assert answer["created_by"] == "@root:one.test"
    assert answer["expires_at"] - answer["created_at"] == 3_600_000
    assert (status, refused["errcode"]) == (403, "M_FORBIDDEN")
    await world.one.call("DELETE", f"{PATH}?server={PEER}", token=root)
    assert await world.seen(until="end") == []


async def test_what_others_pass_on_for_a_blocked_server_is_kept_unshown(
    world: World, root: str
) -> None:
    await world.one.call("POST", PATH, {"server": PEER}, token=root)
    pdus = [
        world.peer.message("passed on"),
        world.peer.message(
            "", type="m.room.member", state_key=MALLORY, content={"membership": "leave"}
        ),
    ]

    judgements = [
        await world.one.wiring.arrivals.receive(Event(pdu, event_id_of(pdu, V12), V12))
        for pdu in pdus
    ]

    room = await world.one.wiring.rooms.get(world.peer.room_id)
    assert [j.action for j in judgements] == [Action.SOFT_FAIL, Action.ACCEPT]
    assert await world.one.texts(world.alice, world.peer.room_id) == []
    assert not room.is_joined(MALLORY)


async def test_users_read_why(world: World, root: str) -> None:
    body = {"server": f"*{PEER}", "reason": "a flood of invites"}
    await world.one.call("POST", PATH, body, token=root)
    room_id = await world.one.room(world.alice)

    seen = await world.one.call("GET", f"/_comity/client/v1/servers/{PEER}:8448", token=world.alice)
    invite = await world.one.call(
        "POST", f"/rooms/{room_id}/invite", {"user_id": f"@m:{PEER}"}, token=world.alice, status=403
    )
    join = await world.one.call(
        "POST", f"/join/!x:{PEER}?via={PEER}", {}, token=world.alice, status=403
    )

    assert (seen["blocked"], seen["reason"], seen["source"]) == (True, body["reason"], "admin")
    for refused in (invite, join):
        assert refused["errcode"] == "M_FORBIDDEN"
        assert "a flood of invites" in refused["error"]


async def test_a_server_that_is_not_blocked_is_none(world: World) -> None:
    path = "/_comity/client/v1/servers"

    assert await world.one.call("GET", f"{path}/{PEER}", token=world.alice) == {"blocked": False}
    await world.one.call("GET", f"{path}/a%20b", token=world.alice, status=400)
    await world.one.call("GET", f"{path}/{PEER}", status=401)


async def test_blocks_are_listed_and_lifted(world: World, root: str) -> None:
    await world.one.call("POST", PATH, {"server": "evil.example"}, token=root)
    await world.one.call("POST", PATH, {"server": "good.example", "exempt": True}, token=root)

    shown = await world.one.call("GET", PATH, token=root)
    asked = await world.one.call("GET", f"{PATH}?server=evil.example", token=root)
    await world.one.call("DELETE", f"{PATH}?server=evil.example", token=root)
    after = await world.one.call("GET", PATH, token=root)

    assert [block["server"] for block in shown["blocks"]] == ["evil.example"]
    assert [block["server"] for block in shown["exempt"]] == ["good.example"]
    assert asked["blocked"]
    assert after["blocks"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", PATH, {}, 400),
        ("POST", PATH, {"server": "one.test"}, 400),
        ("POST", PATH, {"server": 1}, 400),
        ("POST", PATH, {"server": "a.b", "for_seconds": 0}, 400),
        ("POST", PATH, {"server": "a.b", "for_seconds": 10**17}, 400),
        ("POST", PATH, {"server": "a.b", "reason": "x" * 2000}, 400),
        ("DELETE", PATH, None, 400),
        ("DELETE", f"{PATH}?server=nobody.example", None, 404),
    ],
)
async def test_nonsense_is_refused(
    world: World, root: str, method: str, path: str, body: Any, status: int
) -> None:
    await world.one.call(method, path, body, token=root, status=status)


async def test_only_admins_block(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")

        await one.call("POST", PATH, {"server": "evil.example"}, token=alice, status=403)
        await one.call("GET", PATH, token=alice, status=403)
        await one.call("GET", PATH, status=401)
