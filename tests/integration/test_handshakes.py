"""Joins, knocks, invites and leaves between instances, statement by statement of the spec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.events import parse_event
from homeserver.protocol.signing import sign_event
from homeserver.storage.database import Database
from tests.federation.network import signing_key
from tests.integration.handshake_world import (
    ALICE,
    Scene,
    completed,
    invites,
    quoted,
    restricted,
    send_membership,
    set_state,
    template,
)

from .outside import V1, V2, Outside, beside
from .single import Instance


@pytest.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    """An instance, and the network around it."""
    async with beside(database, tmp_path) as found:
        yield found


async def test_who_is_in_no_room_that_is_named_may_not_join(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer())

    in_none = await template(outside, await restricted(one, alice, await one.room(alice)))
    no_condition = await template(outside, await restricted(one, alice))

    assert (in_none[0], in_none[1]["errcode"]) == (403, "M_FORBIDDEN")
    assert (no_condition[0], no_condition[1]["errcode"]) == (403, "M_FORBIDDEN")


async def test_conditions_that_cannot_be_looked_into_are_left_to_another_server(
    scene: Scene,
) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer())
    room_id = await restricted(one, alice, f"!elsewhere:{outside.name}")

    status, answer = await template(outside, room_id)

    assert (status, answer["errcode"]) == (400, "M_UNABLE_TO_AUTHORISE_JOIN")


async def test_who_may_invite_nobody_lets_nobody_in(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer())
    lobby = await one.room(alice, room_version="11")
    _, made = await template(outside, lobby)
    await send_membership(outside, completed(outside, made))
    room_id = await restricted(one, alice, lobby)
    _, offered = await template(outside, room_id)
    levels = {"users": {ALICE: 50}, "invite": 100}
    await set_state(one, alice, room_id, "m.room.power_levels", levels)

    made_again = await template(outside, room_id)
    sent = await send_membership(outside, completed(outside, offered))

    for status, answer in (made_again, sent):
        assert (status, answer["errcode"]) == (400, "M_UNABLE_TO_GRANT_JOIN")


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize("membership", ["join", "knock", "leave"])
@pytest.mark.parametrize(
    "changes",
    [
        {"type": "m.room.message"},
        {"content": {"membership": "invite"}},
        {"content": {}},
        {"sender": "@somebody:else.test"},
        {"state_key": "@somebody:else.test"},
        {"key": signing_key(250)},
    ],
)
async def test_what_is_no_such_event_is_an_invalid_parameter(
    scene: Scene, membership: str, changes: dict[str, Any]
) -> None:
    one, net = scene
    alice = await one.register("alice")
    room_id = await one.room(alice, room_version="11")
    outside = Outside(one, await net.peer())
    _, made = await template(outside, room_id)
    made["event"]["content"]["membership"] = membership

    answers = [
        await send_membership(outside, completed(outside, made, **changes), membership)
        for _ in range(2)
    ]

    assert [(status, answer["errcode"]) for status, answer in answers] == [
        (400, "M_INVALID_PARAM"),
        (400, "M_INVALID_PARAM"),
    ]


async def test_an_event_without_canonical_json_is_bad_json(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    room_id = await one.room(alice, room_version="11")
    outside = Outside(one, await net.peer())
    _, made = await template(outside, room_id)
    join = completed(outside, made)
    join.pdu["content"] = {**join.content, "height": 1.5}

    status, answer = await send_membership(outside, join)

    assert (status, answer["errcode"]) == (400, "M_BAD_JSON")


async def test_a_knock_is_answered_with_events_of_the_room(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = await one.room(alice, room_version="11", initial_state=[rule], name="Tea")
    outside = Outside(one, await net.peer())
    _, made = await template(outside, room_id, "knock")

    status, answer = await send_membership(outside, completed(outside, made), "knock")

    events = [parse_event(pdu, outside.version) for pdu in answer["knock_room_state"]]
    assert status == 200
    assert {"m.room.create", "m.room.name", "m.room.join_rules"} <= {e.type for e in events}
    assert {event.room_id for event in events} == {room_id}
    assert all("one.test" in event.pdu["signatures"] for event in events)


# ---------------------------------------------------------------- what a join is answered


async def joined(outside: Outside, room_id: str, query: str = "") -> Any:
    """The answer to a join."""
    _, made = await template(outside, room_id)
    status, answer = await send_membership(outside, completed(outside, made), query=query)
    assert status == 200, answer
    return answer


async def test_members_are_left_out_for_who_can_do_without(scene: Scene) -> None:
    one, net = scene
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice, room_version="11", name="Tea")
    await one.call("POST", f"/join/{room_id}", {}, token=bob)
    outside = Outside(one, await net.peer())

    answer = await joined(outside, room_id, "?omit_members=true")

    state = [parse_event(pdu, outside.version) for pdu in answer["state"]]
    chain = [parse_event(pdu, outside.version) for pdu in answer["auth_chain"]]
    assert answer["members_omitted"] is True
    assert answer["servers_in_room"] == ["one.test"]
    assert "m.room.member" not in {event.type for event in state}
    assert [event.state_key for event in chain if event.type == "m.room.member"] == [ALICE]
    assert not {event.event_id for event in state} & {event.event_id for event in chain}


async def test_those_after_whom_a_room_is_named_are_not_left_out(scene: Scene) -> None:
    one, net = scene
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice, room_version="11")
    await one.call("POST", f"/join/{room_id}", {}, token=bob)
    outside = Outside(one, await net.peer())

    answer = await joined(outside, room_id, "?omit_members=true")

    members = {pdu["state_key"] for pdu in answer["state"] if pdu["type"] == "m.room.member"}
    assert members == {ALICE, "@bob:one.test"}
    assert answer["members_omitted"] is False


async def test_the_auth_chain_is_what_is_cited_and_no_more(scene: Scene) -> None:
    one, net = scene
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice, room_version="11", name="Tea")
    await one.call("POST", f"/join/{room_id}", {}, token=bob)
    outside = Outside(one, await net.peer())

    answer = await joined(outside, room_id)
    said = (await one.say(alice, room_id, "hello"))["event_id"]
    query = f"{quoted(room_id)}?event_id={quoted(said)}"
    _, state = await outside.ask("GET", f"{V1}/state/{query}")
    _, ids = await outside.ask("GET", f"{V1}/state_ids/{query}")

    for chain in (answer["auth_chain"], state["auth_chain"]):
        events = [parse_event(pdu, outside.version) for pdu in chain]
        assert "m.room.name" not in {event.type for event in events}
        assert "@bob:one.test" not in {event.state_key for event in events}
        assert {i for event in events for i in event.auth_event_ids} <= {
            event.event_id for event in events
        }
    assert len(ids["auth_chain_ids"]) == len(state["auth_chain"])


# ---------------------------------------------------------------- joining through a liar


@pytest.mark.parametrize("operation", ["join", "knock"])
@pytest.mark.parametrize(
    "lie",
    [
        {"type": "m.room.message"},
        {"room_id": "!another:peer.test"},
        {"sender": "@another:one.test"},
        {"state_key": "@another:one.test"},
        {"content": {"membership": "leave"}},
        {"content": {}},
    ],
)
async def test_a_template_that_was_not_asked_for_is_not_signed(
    scene: Scene, operation: str, lie: dict[str, Any]
) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer())
    outside.let_in()
    made = outside.template(ALICE, operation)
    made["event"] |= lie
    outside.answer(f"{V1}/make_{operation}", lambda _: made)
    path = f"/{operation}/{outside.room_id}?server_name={outside.name}"

    await one.call("POST", path, {}, token=alice, status=502)

    assert outside.got(f"{V1}/send_") == outside.got(f"{V2}/send_") == []


async def test_a_room_is_joined_through_the_next_server_where_the_first_lies(
    scene: Scene,
) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside, liar = Outside(one, await net.peer()), Outside(one, await net.peer("liar.test"))
    outside.let_in()
    lie = outside.template(ALICE, "join")
    lie["event"]["room_id"] = liar.room_id
    liar.answer(f"{V1}/make_join", lambda _: lie)
    path = f"/join/{outside.room_id}?server_name={liar.name}&server_name={outside.name}"

    await one.call("POST", path, {}, token=alice)

    (join,) = outside.got(f"{V2}/send_join")
    assert (join["origin"], join["state_key"]) == ("one.test", ALICE)
    assert liar.got(f"{V2}/send_join") == []


@pytest.mark.parametrize("countersigned", [True, False])
async def test_a_restricted_join_needs_the_signature_of_who_authorises_it(
    scene: Scene, countersigned: bool
) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer())
    allow = {"type": "m.room_membership", "room_id": "!lobby:peer.test"}
    outside.add("m.room.join_rules", {"join_rule": "restricted", "allow": [allow]})
    outside.let_in()
    made = outside.template(ALICE, "join")
    made["event"]["content"]["join_authorised_via_users_server"] = outside.owner
    made["event"]["auth_events"].append(outside.state["m.room.member", outside.owner].event_id)
    outside.answer(f"{V1}/make_join", lambda _: made)
    state = [event.pdu for event in outside.state.values()]

    def sent(_: Any) -> Any:
        join = outside.peer.bodies[-1]
        if countersigned:
            join = sign_event(join, outside.name, outside.peer.key, outside.version)
        return {"state": state, "auth_chain": state, "event": join}

    outside.answer(f"{V2}/send_join", sent)
    path = f"/join/{outside.room_id}?server_name={outside.name}"

    await one.call("POST", path, {}, token=alice, status=200 if countersigned else 502)


async def test_a_refusal_counts_for_more_than_silence(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside, silent = Outside(one, await net.peer()), await net.peer("silent.test")
    await silent.close()
    refusal = {"errcode": "M_FORBIDDEN", "error": "Members only"}
    outside.answer(f"{V1}/make_join", lambda _: refusal, 403)
    path = f"/join/!room:{silent.server_name}?server_name={outside.name}"

    answer = await one.call("POST", path, {}, token=alice, status=403)

    assert answer["error"] == "Members only"


@pytest.mark.parametrize("status", [200, 400])
async def test_a_client_is_told_of_the_version_that_is_not_known(scene: Scene, status: int) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer())
    made = outside.template(ALICE, "join") | {
        "room_version": "99",
        "errcode": "M_INCOMPATIBLE_ROOM_VERSION",
        "error": "Too new",
    }
    outside.answer(f"{V1}/make_join", lambda _: made, status)
    path = f"/join/{outside.room_id}?server_name={outside.name}"

    answer = await one.call("POST", path, {}, token=alice, status=400)

    assert (answer["errcode"], answer["room_version"]) == ("M_INCOMPATIBLE_ROOM_VERSION", "99")


async def test_who_leaves_members_out_unasked_lets_nobody_in(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer())
    outside.let_in()
    state = [event.pdu for event in outside.state.values()]
    answer = {"state": state, "auth_chain": state, "members_omitted": True}
    outside.answer(f"{V2}/send_join", lambda _: answer)
    path = f"/join/{outside.room_id}?server_name={outside.name}"

    await one.call("POST", path, {}, token=alice, status=502)


async def test_a_restricted_join_that_is_not_given_back_is_none(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer())
    outside.let_in()
    made = outside.template(ALICE, "join")
    made["event"]["content"]["join_authorised_via_users_server"] = outside.owner
    outside.answer(f"{V1}/make_join", lambda _: made)
    path = f"/join/{outside.room_id}?server_name={outside.name}"

    await one.call("POST", path, {}, token=alice, status=502)


@pytest.mark.parametrize(
    ("errcode", "status"),
    [("M_INVALID_PARAM", 502), ("M_MISSING_PARAM", 502), ("M_UNABLE_TO_GRANT_JOIN", 400)],
)
async def test_a_client_is_not_blamed_for_what_this_server_sent(
    scene: Scene, errcode: str, status: int
) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer())
    outside.let_in()
    outside.answer(f"{V2}/send_join", lambda _: {"errcode": errcode, "error": "No"}, 400)
    path = f"/join/{outside.room_id}?server_name={outside.name}"

    answer = await one.call("POST", path, {}, token=alice, status=status)

    assert (answer["errcode"] == errcode) == (status == 400)


# ---------------------------------------------------------------- what is no more


async def left(one: Instance, token: str, since: str, room_id: str) -> dict[str, Any]:
    """What a sync tells once a room is left."""
    async with asyncio.timeout(20):
        while True:
            answer = await one.call("GET", f"/sync?since={since}&timeout=1000", token=token)
            rooms = answer.get("rooms", {})
            room: dict[str, Any] | None = rooms.get("leave", {}).get(room_id)
            if room is not None:
                return room
            since = answer["next_batch"]


async def test_an_invite_that_was_withdrawn_elsewhere_is_not_shown_any_more(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer(), "11")
    invite = outside.make("m.room.member", {"membership": "invite"}, ALICE)
    await outside.invite(ALICE, outside.told(), event=invite)
    outside.take(invite)
    since = (await one.call("GET", "/sync", token=alice))["next_batch"]
    withdrawn = outside.add("m.room.member", {"membership": "leave"}, ALICE)

    results = await outside.send(withdrawn)

    assert results == {withdrawn.event_id: {}}
    await left(one, alice, since, outside.room_id)
    assert await invites(one, alice) == {}


@pytest.mark.parametrize("who", ["a stranger", "forged", "older"])
async def test_not_everybody_withdraws_an_invite(scene: Scene, who: str) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside, stranger = Outside(one, await net.peer()), Outside(one, await net.peer("else.test"))
    gone = {"membership": "leave"}
    older = outside.add("m.room.member", gone, ALICE)
    invite = outside.add("m.room.member", {"membership": "invite"}, ALICE)
    await outside.invite(ALICE, outside.told(), event=invite)
    stranger.history, stranger.state = list(outside.history), dict(outside.state)
    stranger.room_id = outside.room_id
    by_stranger = stranger.make("m.room.member", gone, ALICE)
    forged = outside.make("m.room.member", gone, ALICE, key=signing_key(250))

    if who == "a stranger":
        await stranger.send(by_stranger)
    else:
        await outside.send(forged if who == "forged" else older)

    assert outside.room_id in await invites(one, alice)


async def test_a_knock_that_was_refused_elsewhere_is_over(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer(), "11")
    outside.add("m.room.join_rules", {"join_rule": "knock"})
    outside.let_in()
    path = f"/knock/{outside.room_id}?server_name={outside.name}"
    await one.call("POST", path, {}, token=alice)
    (knock,) = outside.got(f"{V1}/send_knock")
    outside.take(parse_event(knock, outside.version))
    since = (await one.call("GET", "/sync", token=alice))["next_batch"]

    await outside.send(outside.add("m.room.member", {"membership": "leave"}, ALICE))

    await left(one, alice, since, outside.room_id)


async def test_of_a_room_knocked_on_only_what_is_well_signed_is_shown(scene: Scene) -> None:
    one, net = scene
    alice = await one.register("alice")
    outside = Outside(one, await net.peer(), "11")
    outside.add("m.room.join_rules", {"join_rule": "knock"})
    outside.add("m.room.name", {"name": "Tea"})
    outside.let_in()
    forged = outside.make("m.room.topic", {"topic": "x"}, "", key=signing_key(250)).pdu
    told = [*outside.told(), forged]
    outside.answer(f"{V1}/send_knock", lambda _: {"knock_room_state": told})
    path = f"/knock/{outside.room_id}?server_name={outside.name}"

    await one.call("POST", path, {}, token=alice)

    rooms = (await one.call("GET", "/sync", token=alice))["rooms"]
    shown = {event["type"] for event in rooms["knock"][outside.room_id]["knock_state"]["events"]}
    assert {"m.room.create", "m.room.name"} <= shown
    assert "m.room.topic" not in shown
