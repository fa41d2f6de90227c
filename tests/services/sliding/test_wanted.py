"""What clients want of rooms, in both spellings.  Spec: MSC4186, ``RequiredStateRequest``."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.identifiers import UserId
from homeserver.services.requester import Requester
from homeserver.services.sliding.request import parse_request
from homeserver.services.sliding.wanted import RoomConfig, combined

ME = Requester(UserId("@me:one.test"), "DEVICE")
CREATE, NAME = ("m.room.create", ""), ("m.room.name", "")
MINE, OTHERS = ("m.room.member", "@me:one.test"), ("m.room.member", "@you:one.test")
KEYS = (CREATE, NAME, MINE, OTHERS, ("m.space.child", "!a"), ("other", "!a"))


def config(required: Any, limit: int = 1) -> RoomConfig:
    """What a list of a request comes to."""
    body = {"lists": {"a": {"timeline_limit": limit, "required_state": required}}}
    return parse_request(ME, body, {}, legacy=True).lists["a"].config


def matched(wanted: RoomConfig) -> set[tuple[str, str]]:
    """Which of some state it asks for."""
    return {key for key in KEYS if wanted.matches(key)}


@pytest.mark.parametrize(
    ("required", "expected", "lazy"),
    [
        ([], set(), False),
        ([["m.room.name", ""]], {NAME}, False),
        ([["m.room.member", "$ME"]], {MINE}, False),
        ([["m.room.member", "*"]], {MINE, OTHERS}, False),
        ([["m.room.member", "$LAZY"]], set(), True),
        ([["m.room.member", "$LAZY"], ["m.room.member", "$ME"]], {MINE}, True),
        ([["*", "*"]], set(KEYS), False),
        ([["*", "*"], ["m.room.member", "$LAZY"]], set(KEYS) - {MINE, OTHERS}, True),
        ([["*", "!a"]], {("m.space.child", "!a"), ("other", "!a")}, False),
        ({}, set(), False),
        ({"include": [{"type": "m.room.name"}]}, {NAME}, False),
        ({"include": [{}]}, set(KEYS), False),
        ({"include": [{}], "exclude": [{"type": "m.room.create"}]}, set(KEYS) - {CREATE}, False),
        ({"include": [{}], "lazy_members": True}, set(KEYS) - {MINE, OTHERS}, True),
        ({"include": [{"state_key": "!a"}]}, {("m.space.child", "!a"), ("other", "!a")}, False),
        ({"include": [{"type": "m.room.member", "state_key": MINE[1]}]}, {MINE}, False),
    ],
)
def test_required_state_is_what_each_spelling_says(
    required: Any, expected: set[tuple[str, str]], lazy: bool
) -> None:
    wanted = config(required)

    assert matched(wanted) == expected
    assert wanted.lazy_members == lazy


def test_together_rules_ask_for_all_that_each_asks_for() -> None:
    every = config({"include": [{}], "exclude": [{"type": "m.room.name"}]}, limit=3)
    name = config([["m.room.name", ""]], limit=7)

    both = combined([every, name])

    assert matched(both) == set(KEYS) and both.timeline_limit == 7
    assert both.adds_state_to(name) and not name.adds_state_to(both)


def test_members_are_not_lazy_where_another_rule_wants_them_all() -> None:
    both = combined([config({"include": [{}], "lazy_members": True}), config([["*", "*"]])])

    assert matched(both) == set(KEYS)


def test_numbers_are_bounded() -> None:
    body = {"lists": {"a": {"timeline_limit": 10**9}}, "timeout": 10**12}

    request = parse_request(ME, body, {}, legacy=False)

    assert request.lists["a"].config.timeline_limit == 100
    assert request.timeout_ms == 300_000


def test_extensions_go_by_both_names_and_unknown_ones_are_ignored() -> None:
    names = ("org.matrix.msc4508.typing", "receipts", "unheard.of", "e2ee")
    body = {"extensions": {name: {"enabled": name != "e2ee"} for name in names}}

    request = parse_request(ME, body, {}, legacy=False)

    assert {key: value.name for key, value in request.extensions.items()} == {
        "typing": "org.matrix.msc4508.typing",
        "receipts": "receipts",
    }
