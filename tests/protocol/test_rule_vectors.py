"""Vectors for the authorisation rules: each line is a rule of the text, a case, and its verdict.

What :mod:`tests.protocol.test_auth_rules` says in sentences is not repeated; these are the clauses
that it leaves out, found by reading the specification line by line.  Numbers are version 12's.
"""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.auth_rules import Allowed, auth_event_keys, check_auth_events
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.protocol.room_builder import ALICE, BOB, CAROL, Room
from tests.protocol.rule_cases import (
    ALL,
    CREATE_KEY,
    LEVELS_KEY,
    MEMBER,
    RULES_KEY,
    allowed,
    before,
    member_key,
    since,
)

# ---------------------------------------------------------------- 1: m.room.create


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("named", [None, 11, 11.0, True, [], ["11"], {}, "", "011"])
def test_a_room_version_that_is_none_is_refused(version: str, named: Any) -> None:
    room = Room(version)
    content = {**room.create.content, "room_version": named}

    assert not allowed(room, room.event("m.room.create", ALICE, "", content, prevs=()))


@pytest.mark.parametrize("version", ALL)
def test_a_create_event_need_not_name_its_version(version: str) -> None:
    room = Room(version)
    content = {k: v for k, v in room.create.content.items() if k != "room_version"}

    assert allowed(room, room.event("m.room.create", ALICE, "", content, prevs=()))


@pytest.mark.parametrize(
    ("creators", "verdict"),
    [
        ([], True),
        ([BOB, CAROL], True),
        ([BOB, BOB], True),
        (["@Historical User:two.test"], True),
        (["@UPPER:two.test"], True),
        (["@a:" + "b" * 255], False),
        (["@bob:two test"], False),
        ([None], False),
        (None, False),
        ("", False),
        (0, False),
    ],
)
def test_additional_creators_are_checked_as_senders_are(creators: Any, verdict: bool) -> None:
    room = Room("12")
    content = {"room_version": "12", "additional_creators": creators}

    assert allowed(room, room.event("m.room.create", ALICE, "", content, prevs=())) == verdict


@pytest.mark.parametrize("version", before(12))
def test_additional_creators_mean_nothing_before_version_12(version: str) -> None:
    room = Room(version, additional_creators=[BOB]).with_levels(users={ALICE: 100})
    room.with_member(BOB, "join")
    odd = {**room.create.content, "additional_creators": 7}

    assert not allowed(room, room.event("m.room.topic", BOB, "", {}))
    assert allowed(room, room.event("m.room.create", ALICE, "", odd, prevs=()))


# ---------------------------------------------------------------- 2 to 4


@pytest.mark.parametrize("version", ALL)
def test_an_event_of_another_room_finds_no_create_event(version: str) -> None:
    room, other = Room(version), Room(version, other=True)
    room_id = "!" + "o" * 43 if version == "12" else "!other:one.test"
    stray = other.event("m.room.topic", ALICE, "", {}, room_id=room_id)

    assert not allowed(room, stray)


@pytest.mark.parametrize("version", ALL)
def test_what_is_cited_is_state(version: str) -> None:
    room = Room(version)
    base = [] if version == "12" else [room.create]
    message = room.message(ALICE)
    cited = [*base, room.state[member_key(ALICE)], room.message(ALICE)]

    assert not isinstance(check_auth_events(message, cited), Allowed)


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("federate", "verdict"), [(False, False), (True, True), (0, True)])
def test_only_the_value_false_closes_a_room(version: str, federate: Any, verdict: bool) -> None:
    room = Room(version, **{"m.federate": federate}).with_join_rule("public")

    assert allowed(room, room.join(BOB)) == verdict
    assert allowed(room, room.join("@ann:one.test"))


# What is selected: server-server API, auth events selection.
SELECTED: list[tuple[str, str | None, dict[str, Any], set[StateKey]]] = [
    ("m.room.message", None, {}, set()),
    ("m.room.topic", "", {"membership": "join"}, set()),
    (MEMBER, BOB, {"membership": "leave"}, {member_key(BOB)}),
    (MEMBER, BOB, {"membership": "ban"}, {member_key(BOB)}),
    (MEMBER, BOB, {"membership": "join"}, {member_key(BOB), RULES_KEY}),
    (MEMBER, BOB, {"membership": "knock"}, {member_key(BOB), RULES_KEY}),
    (MEMBER, BOB, {"membership": "invite"}, {member_key(BOB), RULES_KEY}),
    (
        MEMBER,
        BOB,
        {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}},
        {member_key(BOB), RULES_KEY, ("m.room.third_party_invite", "t")},
    ),
    (
        MEMBER,
        BOB,
        {"membership": "ban", "third_party_invite": {"signed": {"token": "t"}}},
        {member_key(BOB)},
    ),
    (
        MEMBER,
        BOB,
        {"membership": "invite", "join_authorised_via_users_server": CAROL},
        {member_key(BOB), RULES_KEY},
    ),
    (MEMBER, BOB, {"membership": "invite", "third_party_invite": 7}, {member_key(BOB), RULES_KEY}),
    (
        MEMBER,
        BOB,
        {"membership": "join", "join_authorised_via_users_server": 7},
        {member_key(BOB), RULES_KEY},
    ),
]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("kind", "state_key", "content", "more"), SELECTED)
def test_the_selection_of_auth_events(
    version: str, kind: str, state_key: str | None, content: dict[str, Any], more: set[StateKey]
) -> None:
    always = {LEVELS_KEY, member_key(ALICE)} | ({CREATE_KEY} if version != "12" else set())

    found = auth_event_keys(kind, state_key, ALICE, content, ROOM_VERSIONS[version])

    assert found == always | more


@pytest.mark.parametrize("version", ALL)
def test_a_create_event_cites_nothing(version: str) -> None:
    assert auth_event_keys("m.room.create", "", ALICE, {}, ROOM_VERSIONS[version]) == set()


@pytest.mark.parametrize("version", ALL)
def test_who_authorises_a_join_is_selected_from_version_8_on(version: str) -> None:
    content = {"membership": "join", "join_authorised_via_users_server": CAROL}

    found = auth_event_keys(MEMBER, BOB, BOB, content, ROOM_VERSIONS[version])

    assert (member_key(CAROL) in found) == (version in since(8))


# ---------------------------------------------------------------- 7 to 9


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("content", "kind", "state_key", "needed"),
    [
        ({}, "m.room.topic", "", 50),
        ({}, "m.room.message", None, 0),
        ({"state_default": 7}, "m.room.topic", "", 7),
        ({"events_default": 7}, "m.room.message", None, 7),
        ({"events_default": 7}, "m.room.topic", "", 50),
        ({"events": {"m.room.topic": 3}}, "m.room.topic", "", 3),
        ({"events": {"m.room.topic": 3}}, "m.room.topic", None, 3),
        ({"events": {"m.room.message": 9}, "events_default": 1}, "m.room.message", None, 9),
        ({"invite": 30}, "m.room.third_party_invite", "t", 30),
        ({"invite": 30, "state_default": 80}, "m.room.third_party_invite", "t", 30),
        ({"users_default": 50}, "m.room.topic", "", 50),
    ],
)
def test_the_level_that_an_event_needs(
    version: str, content: dict[str, Any], kind: str, state_key: str | None, needed: int
) -> None:
    def may_send(level: int) -> bool:
        levels = {**content, "users": {BOB: level}}
        room = Room(version).with_levels(**levels).with_member(BOB, "join")
        return allowed(room, room.event(kind, BOB, state_key, {}))

    assert may_send(needed)
    assert not may_send(needed - 1)


@pytest.mark.parametrize("version", ALL)
def test_a_state_key_that_is_a_users_is_theirs_even_for_a_creator(version: str) -> None:
    room = Room(version).with_member(BOB, "join")

    assert not allowed(room, room.event("com.example", ALICE, BOB, {}))
    assert not allowed(room, room.event("com.example", ALICE, "@", {}))
    assert allowed(room, room.event("com.example", ALICE, ALICE, {}))
    assert allowed(room, room.event("com.example", ALICE, f"_{BOB}", {}))


# ---------------------------------------------------------------- v1, v2, 11: m.room.redaction


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("level", "redacts", "verdict"),
    [
        (50, "$theirs:one.test", True),
        (49, "$theirs:one.test", False),
        (49, "$ours:two.test", True),
        (49, None, False),
        (49, 7, False),
    ],
)
def test_redactions_are_judged_by_the_auth_rules_in_versions_1_and_2_alone(
    version: str, level: int, redacts: Any, verdict: bool
) -> None:
    room = Room(version).with_levels(users={BOB: level}).with_member(BOB, "join")
    made = room.event("m.room.redaction", BOB, None, {"redacts": redacts}, redacts=redacts)
    event = Event(made.pdu, "$redaction:two.test", room.version)

    assert allowed(room, event) == (verdict or version in since(3))
