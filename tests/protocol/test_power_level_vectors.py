"""Vectors for the authorisation rules: power levels and their changes."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.power_levels import CREATOR_LEVEL, PowerLevels, parse_level
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.protocol.room_builder import ALICE, BOB, CAROL, Room
from tests.protocol.rule_cases import ALL, allowed, since

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
