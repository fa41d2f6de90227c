"""Rules of moderation policy lists."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.policy_rules import PolicyRule, matches_everything, parse_rule

CONTENT = {"entity": "@spam*:evil.example", "recommendation": "m.ban", "reason": "spam"}


@pytest.mark.parametrize("kind", ["user", "server", "room"])
@pytest.mark.parametrize("prefix", ["m.policy.rule.", "m.room.rule.", "org.matrix.mjolnir.rule."])
def test_each_spelling_of_a_rule_is_read(prefix: str, kind: str) -> None:
    content = {**CONTENT, "entity": "x.example"}

    assert parse_rule(prefix + kind, content) == PolicyRule(kind, "x.example", "spam")


def test_the_old_recommendation_is_read_and_the_reason_may_be_missing() -> None:
    content = {"entity": "!r:a.b", "recommendation": "org.matrix.mjolnir.ban"}

    assert parse_rule("m.policy.rule.room", content) == PolicyRule("room", "!r:a.b", "")


@pytest.mark.parametrize(
    "change",
    [
        {"entity": None},
        {"entity": ""},
        {"entity": "  "},
        {"entity": 1},
        {"entity": "a\0b"},
        {"entity": "x" * 256},
        {"recommendation": None},
        {"recommendation": "m.praise"},
        {"recommendation": ["m.ban"]},
    ],
)
def test_what_bans_nobody_is_no_rule(change: dict[str, Any]) -> None:
    content = {**CONTENT, **change}

    assert parse_rule("m.policy.rule.user", content) is None


def test_an_emptied_rule_and_another_type_are_none() -> None:
    assert parse_rule("m.policy.rule.user", {}) is None
    assert parse_rule("m.room.topic", CONTENT) is None


def test_servers_are_in_lower_case_users_are_not() -> None:
    content = {**CONTENT, "entity": " Evil.Example"}

    assert parse_rule("m.policy.rule.server", content) == PolicyRule(
        "server", "evil.example", "spam"
    )
    assert parse_rule("m.policy.rule.user", content) == PolicyRule("user", "Evil.Example", "spam")


@pytest.mark.parametrize(
    ("entity", "everything"),
    [
        ("*", True),
        ("@*:*", True),
        ("*.*", True),
        ("??*", True),
        ("*.example", False),
        ("@a*:*", False),
    ],
)
def test_a_glob_without_any_name_matches_everything(entity: str, everything: bool) -> None:
    assert matches_everything(entity) is everything
