"""The authorisation rules: power levels, for every version in which they differ."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.room_builder import ALICE, BOB, CAROL, Room
from tests.protocol.rule_cases import (
    ALL,
    BEFORE_6,
    BEFORE_10,
    BEFORE_12,
    SINCE_10,
    allowed,
    with_moderator,
)


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("level", ["50", " 050 ", 50.5])
def test_levels_are_integers_from_version_10_on(version: str, level: Any) -> None:
    room = Room(version)

    assert allowed(room, room.levels(ALICE, ban=level)) == (version in BEFORE_10)
    assert allowed(room, room.levels(ALICE, users={BOB: level})) == (version in BEFORE_10)


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("users", [[], {"bob": 1}, {BOB: None}, {BOB: "many"}])
def test_users_are_user_ids_and_levels(version: str, users: Any) -> None:
    room = Room(version)

    assert not allowed(room, room.levels(ALICE, users=users))


@pytest.mark.parametrize("version", SINCE_10)
@pytest.mark.parametrize("name", ["events", "notifications"])
def test_maps_of_levels_are_well_formed(version: str, name: str) -> None:
    room = Room(version)

    assert not allowed(room, room.levels(ALICE, **{name: []}))
    assert not allowed(room, room.levels(ALICE, **{name: {"x": "1"}}))


def test_a_creators_level_cannot_be_set_in_version_12() -> None:
    room = Room("12", additional_creators=[CAROL])

    assert not allowed(room, room.levels(ALICE, users={ALICE: 100}))
    assert not allowed(room, room.levels(ALICE, users={CAROL: 100}))
    assert allowed(room, room.levels(ALICE, users={BOB: 2**53 - 1}))


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    "key",
    ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"],
)
def test_no_level_moves_above_ones_own(version: str, key: str) -> None:
    levels = {"users": {CAROL: 50}, "events": {"m.room.power_levels": 50}}
    room = with_moderator(version).with_levels(**levels, **{key: 40})
    assert allowed(room, room.levels(CAROL, **levels, **{key: 50}))
    assert not allowed(room, room.levels(CAROL, **levels, **{key: 51}))

    room.with_levels(**levels, **{key: 60})

    assert not allowed(room, room.levels(CAROL, **levels, **{key: 40}))
    assert not allowed(room, room.levels(CAROL, **levels))


@pytest.mark.parametrize("version", ALL)
def test_events_levels_move_within_ones_own(version: str) -> None:
    base: dict[str, Any] = {"users": {CAROL: 50}}
    room = with_moderator(version).with_levels(**base, events={"m.x": 60, "m.y": 40})

    assert not allowed(room, room.levels(CAROL, **base, events={"m.x": 50, "m.y": 40}))
    assert not allowed(room, room.levels(CAROL, **base, events={"m.y": 40}))
    assert not allowed(room, room.levels(CAROL, **base, events={"m.x": 60, "m.y": 51}))
    assert allowed(room, room.levels(CAROL, **base, events={"m.x": 60, "m.z": 50}))


@pytest.mark.parametrize("version", ALL)
def test_notification_levels_are_guarded_from_version_6_on(version: str) -> None:
    base: dict[str, Any] = {"users": {CAROL: 50}}
    room = with_moderator(version).with_levels(**base, notifications={"room": 60})
    change = room.levels(CAROL, **base, notifications={"room": 10})

    assert allowed(room, change) == (version in BEFORE_6)


@pytest.mark.parametrize("version", ALL)
def test_users_levels_move_below_ones_own(version: str) -> None:
    room = with_moderator(version).with_levels(users={CAROL: 50, BOB: 50})

    assert not allowed(room, room.levels(CAROL, users={CAROL: 50, BOB: 0}))  # an equal
    assert not allowed(room, room.levels(CAROL, users={CAROL: 50}))  # removed
    assert not allowed(room, room.levels(CAROL, users={CAROL: 60, BOB: 50}))  # above oneself
    assert allowed(room, room.levels(CAROL, users={CAROL: 10, BOB: 50}))  # stepping down
    new = {CAROL: 50, BOB: 50, "@dave:four.test": 50}
    assert allowed(room, room.levels(CAROL, users=new))


def test_a_version_12_creator_outranks_every_level() -> None:
    room = Room("12").with_member(BOB, "join").with_levels(users={BOB: 2**53 - 1})

    assert allowed(room, room.member(ALICE, BOB, "ban"))
    assert not allowed(room, room.member(BOB, ALICE, "ban"))


def test_additional_creators_outrank_every_level_too() -> None:
    room = Room("12", additional_creators=[CAROL]).with_member(CAROL, "join")
    room.with_member(BOB, "join").with_levels(users={BOB: 100})

    assert allowed(room, room.member(CAROL, BOB, "leave"))
    assert not allowed(room, room.member(BOB, CAROL, "leave"))
    assert not allowed(room, room.member(CAROL, ALICE, "leave"))


@pytest.mark.parametrize("version", BEFORE_12)
def test_a_creator_has_100_without_power_levels(version: str) -> None:
    room = Room(version).with_member(BOB, "join")

    assert allowed(room, room.member(ALICE, BOB, "ban"))
    assert not allowed(room, room.member(BOB, ALICE, "ban"))
