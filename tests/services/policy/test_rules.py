"""What is wrong with a rule is said in plain words; patterns are RE2's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeserver.config import ConfigError
from homeserver.services.policy.rates import Rates
from homeserver.services.policy.rules import MAX_NESTING, compile_rules
from tests.services.policy.samples import matches, message, rule


def problems(*documents: Any, base: Path = Path()) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        compile_rules(list(documents), base)
    return refusal.value.problems


def nested(depth: int) -> dict[str, Any]:
    match: dict[str, Any] = {"direction": "in"}
    for _ in range(depth):
        match = {"not": match}
    return match


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ({}, ["match", "at least one of"]),
        ({"sendr": "@a:*"}, ["match.sendr", "no such key", "did you mean 'sender'?"]),
        ({"direction": "up"}, ["match.direction", "'up'", "in, out, local"]),
        ({"direction": []}, ["match.direction", "0 values"]),
        ({"sender": 7}, ["match.sender", "the number '7'", "text"]),
        ({"account_younger_than": "10"}, ["match.account_younger_than", "'10'", "10m"]),
        ({"account_younger_than": "0m"}, ["match.account_younger_than", "'0m'"]),
        ({"standing": "friend"}, ["match.standing", "stranger, known"]),
        ({"room_kind": "space"}, ["match.room_kind", "direct, group"]),
        ({"room_members": 5}, ["match.room_members", "min, max"]),
        ({"room_members": {"least": 5}}, ["match.room_members.least", "min, max"]),
        ({"size_bytes": {"min": -1}}, ["match.size_bytes.min", "'-1'", "whole number"]),
        ({"size_bytes": {"min": True}}, ["match.size_bytes.min", "whole number"]),
        ({"links": {"min": 3, "max": 2}}, ["match.links", "min 3 above max 2"]),
        ({"encrypted": "yes"}, ["match.encrypted", "true, false"]),
        ({"min_size_bytes": 0}, ["match.min_size_bytes", "whole number"]),
        ({"keywords": ["", "x"]}, ["match.keywords", "text"]),
        ({"keywords": "\u200b"}, ["match.keywords", "a word"]),
        ({"link_domains": "https://a.example/"}, ["match.link_domains", "example.com"]),
        ({"link_domains": "localhost"}, ["match.link_domains", "'localhost'"]),
        (
            {"link_domains": {"file": "none.txt"}},
            ["match.link_domains.file", "none.txt", "No such"],
        ),
        ({"regex": "(a)\\1"}, ["match.regex", "RE2", "(a)", "invalid escape sequence"]),
        ({"regex": "(?<=a)b"}, ["match.regex", "RE2", "(?<="]),
        ({"regex": "(a"}, ["match.regex", "missing )"]),
        ({"regex": "x" * 1001}, ["match.regex", "1001 characters", "1000"]),
        ({"regex": "((a{100}){100}){100}"}, ["match.regex", "RE2"]),
        ({"regex": "[\\pL]{500}"}, ["match.regex", "too large"]),
        ({"regex": "\ud800"}, ["match.regex", "RE2"]),
        ({"known_file": {}}, ["match.known_file", "sha256, perceptual, distance"]),
        ({"known_file": {"distance": 3}}, ["match.known_file", "sha256, perceptual or both"]),
        ({"known_file": {"sha256": "abc"}}, ["match.known_file.sha256", "64 hexadecimal"]),
        ({"known_file": {"perceptual": 16 * "g"}}, ["match.known_file.perceptual", "16 hexa"]),
        (
            {"known_file": {"sha256": {"file": "none"}}},
            ["match.known_file.sha256", "none", "No such file"],
        ),
        (
            {"known_file": {"perceptual": "0" * 16, "distance": 99}},
            ["match.known_file.distance", "0 to 20"],
        ),
        ({"rate": {"per": "sender", "count": 5}}, ["match.rate.seconds", "missing"]),
        ({"rate": {"per": "word", "count": 5, "seconds": 1}}, ["match.rate.per", "sender, server"]),
        ({"rate": {"per": "room", "count": 0, "seconds": 1}}, ["match.rate.count", "'0'"]),
        ({"not": []}, ["match.not", "at least one of"]),
        ({"any": {"direction": "in"}}, ["match.any", "a list of matches"]),
        ({"any": []}, ["match.any", "a list of matches"]),
        ({"all": [{"direction": "in"}, {"x": 1}]}, ["match.all.1.x", "no such key"]),
        (nested(MAX_NESTING + 1), ["nested too deep"]),
        ({"any": [{"direction": "in"}] * 300}, ["too much in one rule", "200"]),
    ],
)
def test_a_wrong_match_is_explained(match: Any, words: list[str]) -> None:
    (problem,) = problems({"name": "no-spam", "match": match, "action": "flag"})

    assert problem.startswith("policy.rules 'no-spam': ")
    for word in words:
        assert word in problem


GOOD = {"name": "r", "match": {"direction": "in"}, "action": "flag"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"action": "delete"}, ["action", "'delete'", "soft_fail"]),
        ({"mode": "try"}, ["mode", "enforce, observe"]),
        ({"for": "1d"}, ["for", "throttle and block_server"]),
        ({"action": "throttle", "for": "soon"}, ["for", "'soon'"]),
        ({"massage": "x"}, ["massage", "did you mean 'message'?"]),
        ({"message": 5}, ["message", "text"]),
        ({"name": ""}, ["name", "text"]),
    ],
)
def test_a_wrong_rule_is_explained(changes: dict[str, Any], words: list[str]) -> None:
    (problem,) = problems({**GOOD, **changes})

    for word in words:
        assert word in problem


def test_every_problem_is_named_at_once() -> None:
    found = problems("x", {"name": "a"}, GOOD, GOOD, {**GOOD, "name": "b", "action": 1})

    assert [text.split(": ")[0] for text in found] == [
        "policy.rules.0",
        "policy.rules 'a'",
        "policy.rules 'r'",
        "policy.rules 'b'",
    ]
    assert "twice" in found[2]


def test_a_line_of_a_list_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("good.example\nno domain\n")

    (problem,) = problems(
        {"name": "r", "match": {"link_domains": {"file": "list"}}, "action": "flag"}, base=tmp_path
    )

    assert "list:2" in problem
    assert "no domain" in problem


def test_matches_may_be_nested_up_to_a_limit() -> None:
    assert matches(nested(MAX_NESTING), message()) is (MAX_NESTING % 2 == 0)


def test_a_rule_says_how_it_acts() -> None:
    throttle = rule({"direction": "in"}, action="throttle", **{"for": "2h"})

    assert throttle.duration_seconds == 7200
    assert throttle.decides
    assert not rule({"direction": "in"}, action="flag").decides
    assert not rule({"direction": "in"}, action="reject", mode="observe").decides


def test_rates_go_on_counting_after_a_reload_unless_they_change() -> None:
    rates = Rates()

    def compiled(count: int) -> Any:
        match = {"rate": {"per": "sender", "count": count, "seconds": 60}}
        document = {"name": "r", "action": "throttle", "match": match}
        (one,) = compile_rules([document], Path(), rates)
        return one.condition

    assert compiled(1).test(message()) is False
    assert compiled(1).test(message()) is True
    assert compiled(2).test(message()) is False


def test_the_fingerprint_changes_with_the_rule_and_its_files(tmp_path: Path) -> None:
    path = tmp_path / "hashes"

    def fingerprint(known: str, **changes: Any) -> bytes:
        path.write_text(known)
        match = {"known_file": {"sha256": {"file": "hashes"}}}
        document = {"name": "r", "action": "reject", "match": match, **changes}
        return compile_rules([document], tmp_path)[0].fingerprint

    assert fingerprint("ab" * 32) == fingerprint("ab" * 32)
    assert fingerprint("ab" * 32) != fingerprint("cd" * 32)
    assert fingerprint("ab" * 32) != fingerprint("ab" * 32, action="hold")
