"""A user's push rules as data."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.push_rules import (
    KINDS,
    NO_DEVIATIONS,
    InvalidRule,
    PushDeviations,
    RelativeRuleNotFound,
    UnknownRule,
    delete_rule,
    find_rule,
    full_ruleset,
    put_rule,
    set_actions,
    set_enabled,
)
from tests.protocol.sample_events import ALICE, BOB

SILENT: dict[str, Any] = {"actions": []}
LOUD: dict[str, Any] = {"actions": ["notify"]}


def own_ids(deviations: PushDeviations, kind: str = "override") -> list[str]:
    """The IDs of the user's own rules, in order."""
    return [rule["rule_id"] for rule in deviations.own(kind)]


def with_rules(*rule_ids: str) -> PushDeviations:
    """Override rules of the user's own, in that order."""
    deviations = NO_DEVIATIONS
    for rule_id in reversed(rule_ids):
        deviations = put_rule(deviations, "override", rule_id, SILENT)
    return deviations


def test_everybody_has_the_default_rules_in_their_own_name() -> None:
    ruleset = full_ruleset(NO_DEVIATIONS, ALICE)

    assert tuple(ruleset) == KINDS
    assert ruleset["override"][0]["rule_id"] == ".m.rule.master"
    assert find_rule(NO_DEVIATIONS, ALICE, "override", ".m.rule.invite_for_me")["conditions"][
        2
    ] == {
        "kind": "event_match",
        "key": "state_key",
        "pattern": ALICE,
    }
    mention = find_rule(NO_DEVIATIONS, ALICE, "override", ".m.rule.is_user_mention")
    assert mention["conditions"][0]["value"] == ALICE
    assert ALICE not in str(full_ruleset(NO_DEVIATIONS, BOB))


def test_ones_own_rules_stand_between_master_and_the_other_defaults() -> None:
    ids = [rule["rule_id"] for rule in full_ruleset(with_rules("a", "b"), ALICE)["override"]]

    assert ids[:4] == [".m.rule.master", "a", "b", ".m.rule.suppress_notices"]


def test_a_new_rule_is_enabled_and_the_most_important() -> None:
    deviations = put_rule(with_rules("a"), "override", "new", LOUD)

    assert own_ids(deviations) == ["new", "a"]
    assert find_rule(deviations, ALICE, "override", "new") == {
        "rule_id": "new",
        "default": False,
        "enabled": True,
        "conditions": [],
        "actions": ["notify"],
    }


@pytest.mark.parametrize(
    ("place", "order"),
    [
        ({"before": "a"}, ["new", "a", "b", "c"]),
        ({"before": "b"}, ["a", "new", "b", "c"]),
        ({"after": "b"}, ["a", "b", "new", "c"]),
        ({"after": "c"}, ["a", "b", "c", "new"]),
        ({"before": "b", "after": "c"}, ["a", "new", "b", "c"]),
    ],
)
def test_a_rule_can_be_put_beside_another(place: dict[str, str], order: list[str]) -> None:
    new = put_rule(with_rules("a", "b", "c"), "override", "new", SILENT, **place)
    moved = put_rule(with_rules("new", "a", "b", "c"), "override", "new", SILENT, **place)

    assert own_ids(new) == own_ids(moved) == order


@pytest.mark.parametrize("place", [{"before": "x"}, {"after": "x"}, {"after": ".m.rule.master"}])
def test_a_rule_can_only_be_put_beside_one_of_ones_own(place: dict[str, str]) -> None:
    with pytest.raises(RelativeRuleNotFound):
        put_rule(with_rules("a"), "override", "new", SILENT, **place)


def test_a_changed_rule_keeps_its_place_and_stays_disabled() -> None:
    deviations = set_enabled(with_rules("a", "b", "c"), "override", "b", False)

    changed = put_rule(deviations, "override", "b", LOUD)

    assert own_ids(changed) == ["a", "b", "c"]
    rule = find_rule(changed, ALICE, "override", "b")
    assert (rule["actions"], rule["enabled"]) == (["notify"], False)


def test_a_rule_of_ones_own_can_be_deleted() -> None:
    assert own_ids(delete_rule(with_rules("a", "b"), "override", "a")) == ["b"]


@pytest.mark.parametrize(
    ("kind", "rule_id"),
    [("override", "x"), ("content", "a"), ("override", ".m.rule.master"), ("nonsense", "a")],
)
def test_what_is_not_ones_own_cannot_be_deleted(kind: str, rule_id: str) -> None:
    with pytest.raises(UnknownRule):
        delete_rule(with_rules("a"), kind, rule_id)


def test_a_default_rule_can_be_changed() -> None:
    deviations = set_enabled(NO_DEVIATIONS, "override", ".m.rule.master", True)
    deviations = set_actions(deviations, "underride", ".m.rule.message", [])

    master = find_rule(deviations, ALICE, "override", ".m.rule.master")
    assert (master["enabled"], master["default"]) == (True, True)
    assert find_rule(deviations, ALICE, "underride", ".m.rule.message")["actions"] == []


def test_a_default_rule_changed_back_is_no_deviation() -> None:
    """So its user shares the ruleset of all who changed nothing."""
    changed = set_enabled(NO_DEVIATIONS, "override", ".m.rule.master", True)
    changed = set_actions(changed, "override", ".m.rule.master", ["notify"])

    back = set_actions(
        set_enabled(changed, "override", ".m.rule.master", False), "override", ".m.rule.master", []
    )

    assert back == NO_DEVIATIONS
    assert back.to_json() == NO_DEVIATIONS.to_json()


@pytest.mark.parametrize(
    ("kind", "rule_id"),
    [("override", "x"), ("underride", ".m.rule.master"), ("nonsense", ".m.rule.master")],
)
def test_a_rule_that_is_not_there_can_be_neither_found_nor_changed(kind: str, rule_id: str) -> None:
    with pytest.raises(UnknownRule):
        find_rule(NO_DEVIATIONS, ALICE, kind, rule_id)
    with pytest.raises(UnknownRule):
        set_enabled(NO_DEVIATIONS, kind, rule_id, True)
    with pytest.raises(UnknownRule):
        set_actions(NO_DEVIATIONS, kind, rule_id, [])


def test_changes_leave_the_old_rules_as_they_are() -> None:
    deviations = with_rules("a", "b")
    before = orjson.dumps(deviations.to_json())

    put_rule(deviations, "override", "a", LOUD)
    delete_rule(deviations, "override", "a")
    set_enabled(deviations, "override", "a", False)
    set_enabled(deviations, "override", ".m.rule.master", True)

    assert orjson.dumps(deviations.to_json()) == before


def test_deviations_are_stored_and_read_back() -> None:
    deviations = set_enabled(with_rules("a", "b"), "override", ".m.rule.master", True)
    deviations = put_rule(deviations, "content", "tea", {"pattern": "tea", "actions": ["notify"]})

    assert PushDeviations.from_json(orjson.loads(orjson.dumps(deviations.to_json()))) == deviations


def test_historical_actions_are_ignored() -> None:
    """A rule with ``dont_notify`` is a rule with no actions."""
    body = {"actions": ["dont_notify", "coalesce", "notify", {"set_tweak": "highlight"}]}

    rule = find_rule(put_rule(NO_DEVIATIONS, "override", "a", body), ALICE, "override", "a")

    assert rule["actions"] == ["notify", {"set_tweak": "highlight"}]


@pytest.mark.parametrize(
    ("kind", "rule_id", "body"),
    [
        ("nonsense", "a", SILENT),
        ("override", ".mine", SILENT),
        ("override", "", SILENT),
        ("override", "a/b", SILENT),
        ("override", "a\\b", SILENT),
        ("override", "a" * 256, SILENT),
        ("override", "a", {}),
        ("override", "a", {"actions": "notify"}),
        ("override", "a", {"actions": [1]}),
        ("override", "a", {"actions": [{}]}),
        ("override", "a", {"actions": [{"set_tweak": 1}]}),
        ("override", "a", {"actions": ["notify"] * 21}),
        ("override", "a", {"actions": [], "conditions": {}}),
        ("override", "a", {"actions": [], "conditions": [{}]}),
        ("override", "a", {"actions": [], "conditions": ["x"]}),
        ("override", "a", {"actions": [], "conditions": [{"kind": 1}]}),
        ("override", "a", {"actions": [], "conditions": [{"kind": "x"}] * 51}),
        ("underride", "a", {"actions": [], "conditions": [{"kind": "event_match"}]}),
        ("underride", "a", {"actions": [], "conditions": [{"kind": "event_match", "key": "x"}]}),
        (
            "override",
            "a",
            {"actions": [], "conditions": [{"kind": "event_property_is", "key": "x"}]},
        ),
        (
            "override",
            "a",
            {"actions": [], "conditions": [{"kind": "event_property_is", "key": "x", "value": {}}]},
        ),
        ("override", "a", {"actions": [], "conditions": [{"kind": "room_member_count"}]}),
        (
            "override",
            "a",
            {"actions": [], "conditions": [{"kind": "room_member_count", "is": "=2"}]},
        ),
        (
            "override",
            "a",
            {"actions": [], "conditions": [{"kind": "sender_notification_permission"}]},
        ),
        ("content", "a", {"actions": []}),
        ("content", "a", {"actions": [], "pattern": 1}),
        ("content", "a", {"actions": [], "pattern": "a" * 501}),
        ("room", "not-a-room", SILENT),
        ("sender", "alice", SILENT),
    ],
)
def test_a_malformed_rule_is_refused(kind: str, rule_id: str, body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRule):
        put_rule(NO_DEVIATIONS, kind, rule_id, body)


@pytest.mark.parametrize(
    ("kind", "rule_id", "body"),
    [
        ("override", "a", {"actions": [], "conditions": [{"kind": "org.example.unknown"}]}),
        ("override", "a", {"actions": ["org.example.unknown"]}),
        (
            "override",
            "a",
            {
                "actions": [],
                "conditions": [{"kind": "event_property_is", "key": "x", "value": None}],
            },
        ),
        ("room", "!hash", SILENT),
        ("room", "!room:domain", SILENT),
        ("sender", ALICE, SILENT),
        ("content", "a", {"actions": [], "pattern": ""}),
    ],
)
def test_what_a_later_version_may_bring_is_accepted(
    kind: str, rule_id: str, body: dict[str, Any]
) -> None:
    assert own_ids(put_rule(NO_DEVIATIONS, kind, rule_id, body), kind) == [rule_id]


def test_the_number_of_rules_is_limited() -> None:
    rule = {"rule_id": "x", "default": False, "enabled": True, "actions": []}
    many = PushDeviations({"sender": tuple({**rule, "rule_id": f"@{n}:b"} for n in range(1_000))})

    with pytest.raises(InvalidRule, match="at most"):
        put_rule(many, "override", "one-more", SILENT)
    put_rule(many, "sender", "@7:b", LOUD)


PUTS = st.lists(
    st.tuples(
        st.sampled_from("abcde"),
        st.none() | st.sampled_from("abcde"),
        st.none() | st.sampled_from("abcde"),
        st.booleans(),
    ),
    max_size=30,
)


@given(PUTS)
def test_rules_stand_as_in_a_list_in_which_each_is_moved_by_hand(
    puts: list[tuple[str, str | None, str | None, bool]],
) -> None:
    deviations, order = NO_DEVIATIONS, list[str]()
    for rule_id, before, after, delete in puts:
        body = {"actions": [], "pattern": rule_id}
        try:
            if delete:
                deviations = delete_rule(deviations, "content", rule_id)
                order.remove(rule_id)
                continue
            deviations = put_rule(deviations, "content", rule_id, body, before=before, after=after)
        except (UnknownRule, RelativeRuleNotFound) as error:
            beside = rule_id if isinstance(error, UnknownRule) else before or after
            assert beside not in order or beside == rule_id
            continue
        others = [other for other in order if other != rule_id]
        if before is not None:
            others.insert(others.index(before), rule_id)
        elif after is not None:
            others.insert(others.index(after) + 1, rule_id)
        else:
            others.insert(order.index(rule_id) if rule_id in order else 0, rule_id)
        order = others

    assert [rule["rule_id"] for rule in deviations.own("content")] == order
