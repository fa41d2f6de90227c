"""Vectors for the authorisation rules: each line is a rule of the text, a case, and its verdict.

What :mod:`tests.protocol.test_auth_rules` says in sentences is not repeated; these are the clauses
that it leaves out, found by reading the specification line by line.  Numbers are version 12's.
"""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.auth_rules import (
    Allowed,
    auth_event_keys,
    check_auth,
    check_auth_events,
)
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.power_levels import CREATOR_LEVEL, PowerLevels, parse_level
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.protocol.room_builder import ALICE, BOB, CAROL, Room

ALL = list(ROOM_VERSIONS)
MEMBER, LEVELS, RULES = "m.room.member", "m.room.power_levels", "m.room.join_rules"
CREATE_KEY: StateKey = ("m.room.create", "")
LEVELS_KEY: StateKey = (LEVELS, "")
RULES_KEY: StateKey = (RULES, "")


def since(version: int) -> list[str]:
    return ALL[version - 1 :]


def before(version: int) -> list[str]:
    return ALL[: version - 1]


def allowed(room: Room, event: Event) -> bool:
    return isinstance(check_auth(event, room.state), Allowed)


def member_key(user_id: str) -> StateKey:
    return MEMBER, user_id


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


# ---------------------------------------------------------------- 5: m.room.member


@pytest.mark.parametrize("version", ALL)
def test_the_first_join_is_the_creators_right_after_the_create_event(version: str) -> None:
    room = Room(version)
    del room.state[member_key(ALICE)]
    room.with_join_rule("invite")
    first = (room.create.event_id,)

    assert allowed(room, room.event(MEMBER, ALICE, ALICE, {"membership": "join"}, prevs=first))
    assert not allowed(room, room.event(MEMBER, BOB, BOB, {"membership": "join"}, prevs=first))
    two = (room.create.event_id, "$other")
    assert not allowed(room, room.event(MEMBER, ALICE, ALICE, {"membership": "join"}, prevs=two))


def test_before_version_11_the_first_to_join_is_whom_the_content_names() -> None:
    for version in before(11):
        room = Room(version, creator=BOB)
        first = (room.create.event_id,)
        joins = {
            user: allowed(room, room.event(MEMBER, user, user, {"membership": "join"}, prevs=first))
            for user in (BOB, CAROL)
        }
        assert joins == {BOB: True, CAROL: False}, version
    for version in since(11):
        room = Room(version, creator=BOB)
        join = room.event(MEMBER, BOB, BOB, {"membership": "join"}, prevs=(room.create.event_id,))
        assert not allowed(room, join), version


# join rule -> (since which version it lets the invited and joined in, the others)
JOINS: list[tuple[Any, int | None, int | None]] = [
    ("invite", 1, None),
    ("public", 1, 1),
    ("knock", 7, None),
    ("restricted", 8, None),
    ("knock_restricted", 10, None),
    ("private", None, None),
    ("", None, None),
    (None, None, None),
    (7, None, None),
    (["public"], None, None),
]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("rule", "invited", "others"), JOINS)
def test_whom_each_join_rule_lets_in(
    version: str, rule: Any, invited: int | None, others: int | None
) -> None:
    room = Room(version).with_state(RULES, "", {"join_rule": rule})
    number = int(version)

    for membership in ("invite", "join"):
        room.with_member(BOB, membership)
        assert allowed(room, room.join(BOB)) == (invited is not None and number >= invited)
    for membership in ("leave", "knock"):
        room.with_member(BOB, membership)
        assert allowed(room, room.join(BOB)) == (others is not None and number >= others)
    assert not allowed(room.with_member(BOB, "ban"), room.join(BOB))


@pytest.mark.parametrize("version", ALL)
def test_without_a_join_rule_a_room_is_for_the_invited(version: str) -> None:
    room = Room(version)
    nameless = Room(version).with_state(RULES, "", {})

    for place in (room, nameless):
        assert not allowed(place, place.join(BOB))
        assert allowed(place.with_member(BOB, "invite"), place.join(BOB))


@pytest.mark.parametrize("version", since(8))
@pytest.mark.parametrize(
    ("membership", "level", "voucher", "verdict"),
    [
        ("join", 50, CAROL, True),
        ("join", 49, CAROL, False),
        ("invite", 50, CAROL, False),
        ("leave", 50, CAROL, False),
        ("ban", 50, CAROL, False),
        ("join", 50, None, False),
        ("join", 50, 7, False),
        ("join", 50, [CAROL], False),
        ("join", 50, "carol", False),
    ],
)
def test_who_vouches_for_a_restricted_join(
    version: str, membership: str, level: int, voucher: Any, verdict: bool
) -> None:
    room = Room(version).with_levels(invite=50, users={CAROL: level}).with_join_rule("restricted")
    room.with_member(CAROL, membership)

    join = room.join(BOB, join_authorised_via_users_server=voucher)

    assert allowed(room, join) == verdict


@pytest.mark.parametrize("version", since(12))
def test_a_creator_vouches_whatever_the_invite_level(version: str) -> None:
    room = Room(version).with_levels(invite=2**53 - 1).with_join_rule("restricted")

    assert allowed(room, room.join(BOB, join_authorised_via_users_server=ALICE))


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("inviter", "target", "verdict"),
    [
        ("join", "leave", True),
        ("join", "invite", True),
        ("join", "knock", True),
        ("join", "join", False),
        ("join", "ban", False),
        ("leave", "leave", False),
        ("invite", "leave", False),
        ("ban", "leave", False),
    ],
)
def test_who_invites_whom(version: str, inviter: str, target: str, verdict: bool) -> None:
    room = Room(version).with_levels(users={})
    room.with_member(CAROL, inviter).with_member(BOB, target)

    assert allowed(room, room.member(CAROL, BOB, "invite")) == verdict


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("current", "verdict"),
    [("invite", True), ("join", True), ("leave", False), ("ban", False), ("knock", None)],
)
def test_from_where_one_leaves(version: str, current: str, verdict: bool | None) -> None:
    room = Room(version).with_member(BOB, current)
    expected = verdict if verdict is not None else version in since(7)

    assert allowed(room, room.member(BOB, BOB, "leave")) == expected


# ban level, kick level, sender's level, target's level, target's membership -> verdict
REMOVALS: list[tuple[int, int, int, int, str, bool]] = [
    (50, 50, 50, 0, "join", True),
    (50, 50, 49, 0, "join", False),
    (50, 50, 50, 50, "join", False),
    (50, 50, 50, 51, "join", False),
    (60, 50, 50, 0, "join", True),
    (60, 50, 50, 0, "ban", False),
    (60, 50, 60, 0, "ban", True),
    (50, 60, 50, 0, "ban", False),
    (50, 60, 60, 0, "ban", True),
    (50, 50, 60, 60, "ban", False),
    (50, 50, 50, 0, "invite", True),
    (50, 50, 50, 0, "knock", True),
    (50, 50, 50, 0, "leave", True),
]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("ban", "kick", "own", "other", "target", "verdict"), REMOVALS)
def test_who_removes_whom(
    version: str, ban: int, kick: int, own: int, other: int, target: str, verdict: bool
) -> None:
    room = Room(version).with_levels(ban=ban, kick=kick, users={CAROL: own, BOB: other})
    room.with_member(CAROL, "join").with_member(BOB, target)

    assert allowed(room, room.member(CAROL, BOB, "leave")) == verdict


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("target", ["join", "invite", "knock", "leave", "ban"])
@pytest.mark.parametrize(
    ("own", "other", "verdict"), [(50, 0, True), (49, 0, False), (50, 50, False), (60, 59, True)]
)
def test_who_bans_whom(version: str, target: str, own: int, other: int, verdict: bool) -> None:
    room = Room(version).with_levels(users={CAROL: own, BOB: other})
    room.with_member(CAROL, "join").with_member(BOB, target)

    assert allowed(room, room.member(CAROL, BOB, "ban")) == verdict


@pytest.mark.parametrize("version", ["12"])
@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_no_creator_removes_a_creator(version: str, membership: str) -> None:
    room = Room(version, additional_creators=[BOB]).with_levels().with_member(BOB, "join")

    assert not allowed(room, room.member(ALICE, BOB, membership))
    assert not allowed(room, room.member(BOB, ALICE, membership))


@pytest.mark.parametrize("version", since(7))
@pytest.mark.parametrize(
    ("current", "verdict"),
    [("leave", True), ("knock", True), ("ban", False), ("invite", False), ("join", False)],
)
def test_who_knocks(version: str, current: str, verdict: bool) -> None:
    room = Room(version).with_join_rule("knock").with_member(BOB, current)

    assert allowed(room, room.member(BOB, BOB, "knock")) == verdict
    assert not allowed(room, room.member(ALICE, BOB, "knock"))


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


# ---------------------------------------------------------------- 10: m.room.power_levels

# before, after, the verdict for a sender of level 50 (Bob; Carol has what "users" says)
CHANGES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {"ban": 50}, True),
    ({}, {"ban": 51}, False),
    ({"ban": 50}, {}, True),
    ({"ban": 51}, {}, False),
    ({"ban": 51}, {"ban": 51}, True),
    ({"ban": 51}, {"ban": 50}, False),
    ({"ban": 50}, {"ban": 51}, False),
    ({"events": {"a": 51}}, {}, False),
    ({"events": {"a": 50}}, {}, True),
    ({"events": {"a": 51}}, {"events": {"a": 51}}, True),
    ({"events": {"a": 51}}, {"events": {"a": 1}}, False),
    ({}, {"events": {"a": 51}}, False),
    ({}, {"events": {"a": -1}}, True),
    ({"users": {CAROL: 50}}, {"users": {}}, False),
    ({"users": {CAROL: 49}}, {"users": {}}, True),
    ({"users": {CAROL: 50}}, {"users": {CAROL: 50}}, True),
    ({"users": {CAROL: 50}}, {"users": {CAROL: 51}}, False),
    ({"users": {CAROL: 49}}, {"users": {CAROL: 50}}, True),
    ({"users": {CAROL: 49}}, {"users": {CAROL: 51}}, False),
    ({}, {"users": {CAROL: 50}}, True),
    ({}, {"users": {CAROL: 51}}, False),
    ({"users": {BOB: 50}}, {"users": {BOB: 49}}, True),
    ({"users": {BOB: 50}}, {"users": {BOB: 51}}, False),
    ({"users": {BOB: 50}}, {"users": {}}, True),
]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("old", "new", "verdict"), CHANGES)
def test_changes_of_power_levels(
    version: str, old: dict[str, Any], new: dict[str, Any], verdict: bool
) -> None:
    users = {BOB: 50, **old.get("users", {})}
    after = new.get("users", {})
    if BOB not in old.get("users", {}):
        after = {BOB: 50, **after}
    room = Room(version).with_levels(**{**old, "users": users}).with_member(BOB, "join")

    assert allowed(room, room.levels(BOB, **{**new, "users": after})) == verdict


@pytest.mark.parametrize("version", ALL)
def test_without_users_there_is_nothing_wrong_with_them(version: str) -> None:
    room = Room(version)

    assert allowed(room, room.levels(ALICE))
    assert not allowed(room, room.levels(ALICE, users=None))
    assert not allowed(room, room.levels(ALICE, users={"@a": 1}))


@pytest.mark.parametrize("version", ["12"])
@pytest.mark.parametrize("level", [0, 100, 2**53 - 1])
def test_neither_creator_is_named_among_the_users(version: str, level: int) -> None:
    room = Room(version, additional_creators=[BOB]).with_member(BOB, "join")

    assert not allowed(room, room.levels(ALICE, users={ALICE: level}))
    assert not allowed(room, room.levels(ALICE, users={BOB: level}))
    assert allowed(room, room.levels(BOB, users={CAROL: 2**53 - 1}))


NUMBERS: list[tuple[Any, int | None, int | None]] = [  # a value, before version 10, and since
    (5, 5, 5),
    (-5, -5, -5),
    (0, 0, 0),
    ("100", 100, None),
    ("000100", 100, None),
    ("0" * 1000 + "7", 7, None),
    ("0", 0, None),
    ("-0", 0, None),
    ("+100", 100, None),
    ("-100", -100, None),
    (" 100 ", 100, None),
    (" 00100 ", 100, None),
    ("\t+100\n", 100, None),
    (" " * 100 + "-100" + " " * 100, -100, None),
    ("- 100", None, None),
    ("+-100", None, None),
    ("1e2", None, None),
    ("100.0", None, None),
    ("1_0", None, None),
    ("0x10", None, None),
    ("", None, None),
    (" ", None, None),
    ("\u0661", None, None),
    (50.57, 50, None),
    (-50.57, -50, None),
    (5.114698e4, 51146, None),
    (float("inf"), None, None),
    (float("nan"), None, None),
    (True, None, None),
    (None, None, None),
    ([5], None, None),
]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("value", "old", "new"), NUMBERS)
def test_what_is_a_level(version: str, value: Any, old: int | None, new: int | None) -> None:
    room_version = ROOM_VERSIONS[version]

    assert parse_level(value, room_version) == (new if version in since(10) else old)


@pytest.mark.parametrize("version", ALL)
def test_the_defaults_of_power_levels(version: str) -> None:
    room = Room(version)
    none = PowerLevels.from_state(room.create, None, room.version)
    event = room.levels(ALICE)
    empty = PowerLevels.from_state(room.create, event, room.version)

    creator = CREATOR_LEVEL if version == "12" else 100
    assert (none.user(ALICE), none.user(BOB)) == (creator, 0)
    assert empty.user(ALICE) == (CREATOR_LEVEL if version == "12" else 0)
    for levels, state_default in ((none, 0), (empty, 50)):
        assert (levels.ban, levels.kick, levels.redact, levels.invite) == (50, 50, 50, 0)
        assert levels.required_for_event("com.example", True) == state_default
        assert levels.required_for_event("com.example", False) == 0


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
