"""Server ACLs: denied servers meet them at every door; changed in many rooms at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.protocol.canonical import event_id_of
from homeserver.protocol.room_versions import V12
from homeserver.services.policy_lists import acl_keeper, following
from homeserver.storage.database import Database
from tests.integration.lists_world import NAME, set_up, settings, until
from tests.integration.single import running
from tests.integration.test_lying_peer import MALLORY, PEER, World, world

__all__ = ["world"]
API = "/_comity/admin/v1/rooms/acl"
TYPE = "m.room.server_acl"


@pytest.fixture
async def root(world: World) -> AsyncIterator[str]:
    """An admin's token."""
    token = await world.one.register("root")
    await world.one.wiring.accounts.set_admin("@root:one.test", True)
    yield token


async def set_acl(world: World, room_id: str, **content: Any) -> None:
    body = {"allow": ["*"], **content}
    await world.one.call("PUT", f"/rooms/{room_id}/state/{TYPE}/", body, token=world.alice)


async def acl_of(world: World, room_id: str, token: str = "") -> dict[str, Any]:
    path = f"/rooms/{room_id}/state/{TYPE}/"
    return await world.one.call("GET", path, token=token or world.alice)


async def test_a_denied_server_is_refused_at_every_door(world: World) -> None:
    room_id, event_id = world.peer.room_id, world.peer.tip[0]
    await set_acl(world, room_id, deny=[PEER.upper()])
    room, user = quote(room_id, safe=""), quote(MALLORY, safe="")
    event = quote(event_id, safe="")
    message = world.peer.message("let me in")
    leave = world.peer.message(
        "", type="m.room.member", state_key=MALLORY, content={"membership": "leave"}
    )
    leave_id = quote(event_id_of(leave, V12), safe="")
    invite = world.peer.message(
        "", type="m.room.member", state_key="@alice:one.test", content={"membership": "invite"}
    )
    invite_body = {"event": invite, "room_version": "12", "invite_room_state": []}
    earliest = {"earliest_events": [], "latest_events": [event_id]}
    doors: list[tuple[str, str, Any]] = [
        ("GET", f"v1/make_join/{room}/{user}?ver=12", None),
        ("GET", f"v1/make_leave/{room}/{user}", None),
        ("GET", f"v1/make_knock/{room}/{user}?ver=12", None),
        ("PUT", f"v1/send_join/{room}/{event}", leave),
        ("PUT", f"v2/send_join/{room}/{event}", leave),
        ("PUT", f"v1/send_leave/{room}/{leave_id}", leave),
        ("PUT", f"v2/send_leave/{room}/{leave_id}", leave),
        ("PUT", f"v1/send_knock/{room}/{leave_id}", leave),
        ("PUT", f"v1/invite/{room}/{event}", invite),
        ("PUT", f"v2/invite/{room}/{event}", invite_body),
        ("GET", f"v1/state/{room}?event_id={event}", None),
        ("GET", f"v1/state_ids/{room}?event_id={event}", None),
        ("GET", f"v1/backfill/{room}?v={event}&limit=10", None),
        ("GET", f"v1/event_auth/{room}/{event}", None),
        ("POST", f"v1/get_missing_events/{room}", earliest),
    ]

    answers = {}
    for method, path, body in doors:
        status, answer = await world.peer.ask(method, f"/_matrix/federation/{path}", body)
        answers[path.split(room)[0]] = (status, answer.get("errcode"))
    status, answer = await world.peer.send(message)

    assert answers == dict.fromkeys(answers, (403, "M_FORBIDDEN"))
    assert len(answers) == len(doors)
    assert status == 200
    assert "error" in answer["pdus"][event_id_of(message, V12)]
    assert await world.one.texts(world.alice, room_id) == []


async def test_ip_literals_and_ports_do_not_get_around_an_acl(world: World) -> None:
    room_id = world.peer.room_id
    await set_acl(world, room_id, deny=["*.evil.example"], allow_ip_literals=False)
    room = await world.one.wiring.rooms.get(room_id)

    names = ("a.evil.example:8448", "A.Evil.Example", "1.2.3.4", "[::1]:8448", "fine.example:1")
    before = [room.allows_server(name) for name in names]
    await set_acl(world, room_id)
    after = [room.allows_server(name) for name in names]

    assert before == [False, False, False, False, True]
    assert after == [True] * 5


async def test_servers_are_denied_in_all_rooms_made_here_at_once(world: World, root: str) -> None:
    with_acl = await world.one.room(world.alice)
    await set_acl(world, with_acl, deny=["Old.example", "evil.example"], allow_ip_literals=False)
    mine = await world.one.room(root)
    body = {"room": "all", "deny": ["Evil.example:8448", "*.worse.example"]}

    planned = await world.one.call("POST", API, body, token=root)
    before = await world.one.call("GET", f"/rooms/{mine}/state/{TYPE}/", token=root, status=404)
    sent = await world.one.call("POST", API, {**body, "send": True}, token=root)
    again = await world.one.call("POST", API, body, token=root)

    by_room = {entry["room_id"]: entry for entry in planned["rooms"]}
    assert set(by_room) == {world.peer.room_id, with_acl, mine}
    assert by_room[with_acl]["added"] == ["*.worse.example"]
    assert by_room[mine]["sender"] == "@root:one.test"
    assert before["errcode"] == "M_NOT_FOUND"
    assert all(entry["event_id"] and not entry["problem"] for entry in sent["rooms"])
    assert (again["rooms"], again["unchanged"]) == ([], 3)
    assert await acl_of(world, with_acl) == {
        "allow": ["*"],
        "deny": ["Old.example", "evil.example", "*.worse.example"],
        "allow_ip_literals": False,
    }
    assert (await acl_of(world, mine, root))["deny"] == ["evil.example", "*.worse.example"]


async def test_rooms_where_nobody_has_the_power_are_named(world: World, root: str) -> None:
    room_id = await world.one.room(
        world.alice, power_level_content_override={"events": {TYPE: 120}}, room_version="11"
    )
    bad = await world.one.room(world.alice)
    await set_acl(world, bad, allow=["one.test"])

    async def plan(room: str, *deny: str) -> Any:
        body = {"room": room, "deny": list(deny), "send": True}
        return (await world.one.call("POST", API, body, token=root))["rooms"]

    (powerless,) = await plan(room_id, "evil.example")
    (unknown,) = await plan("!nowhere:one.test", "evil.example")
    (suicidal,) = await plan(bad, "one.*")
    (large,) = await plan(bad, *(f"{n:0>200}.example" for n in range(300)))

    assert "may set the ACL" in powerless["problem"]
    assert "in that room" in unknown["problem"]
    assert "this server itself" in suicidal["problem"]
    assert "bytes" in large["problem"]
    assert all(e["event_id"] is None for e in (powerless, unknown, suicidal, large))


async def test_undenying_takes_out_what_is_there(world: World, root: str) -> None:
    await set_acl(world, world.peer.room_id, deny=["Evil.example", "worse.example"])
    body = {"room": world.peer.room_id, "undeny": ["evil.example", "other.example"], "send": True}

    answer = await world.one.call("POST", API, body, token=root)

    assert answer["rooms"][0]["removed"] == ["Evil.example"]
    assert (await acl_of(world, world.peer.room_id))["deny"] == ["worse.example"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"room": "all"},
        {"room": "all", "deny": "evil.example"},
        {"room": "all", "deny": [""]},
        {"room": "all", "deny": ["a b"]},
        {"room": "nothing", "deny": ["a.b"]},
    ],
)
async def test_nonsense_is_refused(world: World, root: str, body: dict[str, Any]) -> None:
    await world.one.call("POST", API, body, token=root, status=400)


async def test_a_list_keeps_the_acls_of_open_rooms_in_step(
    database: Database, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acl_keeper, "SETTLING_SECONDS", 0.05)
    monkeypatch.setattr(following, "FIRST_RETRY_SECONDS", 0.05)
    async with running(database, tmp_path, **settings(acl=True, approve="never")) as one:
        lists, world = await set_up(one, database)
        await set_acl(world, world.peer.room_id, deny=["own.example", "both.example"])
        private = await one.room(world.alice, preset="private_chat")

        async def denied(*globs: str) -> None:
            async def reached() -> bool:
                room = await one.wiring.rooms.get(world.peer.room_id)
                return room.content(("m.room.server_acl", "")).get("deny") == list(globs)

            await until(reached)

        await lists.ban("server", "*.one.test")
        await lists.ban("server", "one.*")
        await lists.ban("server", "both.example")
        await lists.ban("server", "evil.example")
        await denied("own.example", "both.example", "*.one.test", "evil.example")
        await lists.rule("m.policy.rule.server", "rule:both.example", {})
        await lists.rule("m.policy.rule.server", "rule:evil.example", {})
        await denied("own.example", "both.example", "*.one.test")
        await one.call("GET", f"/rooms/{private}/state/{TYPE}/", token=world.alice, status=404)
    # what is no longer configured is taken out of the rooms again, and then forgotten
    async with running(database, tmp_path) as one:

        async def withdrawn() -> bool:
            return not await database.fetchval("SELECT count(*) FROM policy_acl_entries")

        await until(withdrawn)
        room = await one.wiring.rooms.get(world.peer.room_id)
        assert room.content(("m.room.server_acl", ""))["deny"] == ["own.example", "both.example"]
    async with running(database, tmp_path) as one:
        rows = await database.fetch("SELECT name FROM policy_lists WHERE name = $1", NAME)

        assert rows == []
