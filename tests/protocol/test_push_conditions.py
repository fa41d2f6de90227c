"""Push rules: conditions."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.push_rules import RoomPushContext
from tests.protocol.push_cases import condition_matches, push_event, says


@pytest.mark.parametrize(
    ("key", "pattern", "matches"),
    [
        # Spec: push module, event_match, the examples.
        ("content.topic", "lunc?*", True),
        ("content.topic", "LUNCH PLANS", True),
        ("content.topic", "lunch", False),
        ("content.topic", "*", True),
        ("content.number", "*", False),
        ("content.nothing", "*", False),
        ("content.absent", "*", False),
        ("content.m\\.dotted", "yes", True),
        ("content.m.dotted", "no", True),
        ("type", "M.ROOM.topic", True),
        ("state_key", "", True),
        ("room_id", "!room:*", True),
        ("sender", "@alice:domain", True),
        ("content", "*", False),
        ("", "*", False),
        ("unsigned.x", "*", False),
    ],
)
def test_event_match_globs_the_whole_of_a_string(key: str, pattern: str, matches: bool) -> None:
    event = push_event(
        type="m.room.topic",
        state_key="",
        content={
            "topic": "Lunch plans",
            "number": 1,
            "nothing": None,
            "m.dotted": "yes",
            "m": {"dotted": "no"},
        },
    )
    condition = {"kind": "event_match", "key": key, "pattern": pattern}

    assert condition_matches(condition, event) is matches


def test_event_match_on_the_body_looks_for_words() -> None:
    condition = {"kind": "event_match", "key": "content.body", "pattern": "ex*ple"}

    assert condition_matches(condition, says("An Example event."))
    assert not condition_matches(condition, says("counterexamples"))
    assert not condition_matches(condition, push_event(content={"body": None}))


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        (True, ["true"]),
        (False, ["false"]),
        (1, ["one"]),
        (0, []),
        (None, ["null"]),
        ("1", ["text"]),
        ("TRUE", []),
    ],
)
def test_event_property_is_compares_exactly(value: Any, matches: list[str]) -> None:
    event = push_event(
        content={"true": True, "false": False, "one": 1, "null": None, "text": "1", "list": [1]}
    )

    found = [
        key
        for key in ("true", "false", "one", "null", "text", "list", "absent")
        if condition_matches(
            {"kind": "event_property_is", "key": f"content.{key}", "value": value}, event
        )
    ]

    assert found == matches


@pytest.mark.parametrize(
    ("value", "matches"),
    [("a", True), (1, True), (None, True), (True, False), ("A", False), ("", False), (2, False)],
)
def test_event_property_contains_compares_each_exactly(value: Any, matches: bool) -> None:
    event = push_event(content={"list": ["a", 1, None, ["b"], {"c": 1}], "text": "a"})

    for key, expected in (("list", matches), ("text", False), ("absent", False)):
        condition = {"kind": "event_property_contains", "key": f"content.{key}", "value": value}
        assert condition_matches(condition, event) is expected


@pytest.mark.parametrize(
    ("comparison", "counts"),
    [
        ("2", [2]),
        ("==2", [2]),
        ("<2", [1]),
        ("<=2", [1, 2]),
        (">2", [3]),
        (">=2", [2, 3]),
        ("=2", []),
        ("2.0", []),
        ("-2", []),
        (" 2", []),
        ("٢", []),
        ("", []),
        (2, []),
        (None, []),
    ],
)
def test_room_member_count_compares(comparison: Any, counts: list[int]) -> None:
    condition = {"kind": "room_member_count", "is": comparison}

    assert [
        count
        for count in (1, 2, 3)
        if condition_matches(condition, says("Hi"), RoomPushContext(count))
    ] == counts


@pytest.mark.parametrize(
    ("key", "power", "matches"),
    [
        ("room", 50, True),
        ("room", 49, False),
        ("org.example", 20, True),
        ("org.example", 19, False),
    ],
)
def test_sender_notification_permission_asks_the_power_levels(
    key: str, power: int, matches: bool
) -> None:
    condition = {"kind": "sender_notification_permission", "key": key}
    room = RoomPushContext(5, power, {"org.example": 20})

    assert condition_matches(condition, says("Hi"), room) is matches


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "org.example.unknown"},
        {"kind": None},
        {},
        "text",
        None,
        {"kind": "event_match"},
        {"kind": "event_match", "key": "type"},
        {"kind": "event_match", "key": 1, "pattern": "*"},
        {"kind": "event_property_is", "key": "content.absent"},
        {"kind": "event_property_is", "key": "content.list", "value": []},
        {"kind": "event_property_contains", "key": "content.absent"},
        {"kind": "room_member_count"},
        {"kind": "sender_notification_permission"},
    ],
)
def test_what_is_not_recognised_never_matches(condition: Any) -> None:
    event = push_event(content={"list": []})

    assert not condition_matches(condition, event, RoomPushContext(5, 100))
