"""What of a room's state fits into a room of another version."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.upgrades.carried import CarriedLevels, join_rules, silenced, split_alias

ALLOW = [{"type": "m.room_membership", "room_id": "!space:one.test"}]
ADA, BOB = "@ada:one.test", "@bob:one.test"


@pytest.mark.parametrize(
    ("rule", "version", "becomes"),
    [
        ("public", "1", "public"),
        ("knock", "6", "invite"),
        ("knock", "7", "knock"),
        ("restricted", "7", "invite"),
        ("restricted", "8", "restricted"),
        ("knock_restricted", "9", "restricted"),
        ("knock_restricted", "10", "knock_restricted"),
        ("knock_restricted", "7", "invite"),
    ],
)
def test_a_join_rule_that_a_version_does_not_know_becomes_stricter(
    rule: str, version: str, becomes: str
) -> None:
    found = join_rules({"join_rule": rule, "allow": ALLOW}, ROOM_VERSIONS[version])

    assert found["join_rule"] == becomes
    assert ("allow" in found) is (becomes != "invite")


def levels(content: dict[str, Any], old: str, new: str, upgrader: str = ADA) -> CarriedLevels:
    """Power levels of a room that Ada made."""
    return CarriedLevels(
        content,
        old=ROOM_VERSIONS[old],
        new=ROOM_VERSIONS[new],
        old_creators=[ADA],
        new_creators=[upgrader],
        upgrader=upgrader,
    )


def test_levels_that_are_texts_become_numbers_and_what_is_none_goes() -> None:
    content = {
        "ban": "40",
        "kick": "high",
        "historical": 100,
        "org.example": {"x": 1},
        "users": {ADA: "100", "bob": 50},
        "events": {"m.room.name": 2.0, "x": None},
        "notifications": {"room": "20"},
    }

    assert levels(content, "9", "10").content == {
        "ban": 40,
        "historical": 100,
        "users": {ADA: 100},
        "events": {"m.room.name": 2},
        "notifications": {"room": 20},
    }


def test_who_has_less_power_than_the_room_needs_has_it_until_the_room_is_made() -> None:
    carried = levels({"users": {ADA: 100, BOB: 50}}, "10", "11", upgrader=BOB)

    assert carried.first["users"] == {ADA: 100, BOB: 100}
    assert carried.last is not None
    assert carried.last["users"] == {ADA: 100, BOB: 50}
    assert levels({"users": {ADA: 100}}, "10", "11").last is None


def test_ending_a_room_of_version_12_needs_more_than_setting_its_state() -> None:
    found = levels({"state_default": 200}, "11", "12").content

    assert found["events"]["m.room.tombstone"] == 201


def test_creators_above_all_levels_get_the_highest_where_there_is_no_such_thing() -> None:
    found = levels({"events": {"m.room.tombstone": 150}, "users": {BOB: 5}}, "12", "11").content

    assert found["users"] == {ADA: 150, BOB: 5}


def test_the_old_room_is_silenced_once() -> None:
    version = ROOM_VERSIONS["10"]

    quiet = silenced({"users_default": 60, "invite": 70}, version)

    assert quiet == {"users_default": 60, "invite": 70, "events_default": 61}
    assert silenced(quiet, version) is None


def test_aliases_that_do_not_move_stay_with_the_old_room() -> None:
    content = {"alias": "#a:one.test", "alt_aliases": ["#b:one.test", "#c:two.test", 7]}

    new, old = split_alias(content, ["#a:one.test", "#b:one.test"])

    assert new == {"alias": "#a:one.test", "alt_aliases": ["#b:one.test"]}
    assert old == {"alt_aliases": ["#c:two.test"]}
    assert split_alias(content, []) == (None, None)
