"""Push rules: evaluation."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.push_rules import (
    DEFAULT_RULESET,
    KINDS,
    NO_DEVIATIONS,
    Actions,
    CompiledRuleset,
    PushEvent,
    RoomPushContext,
    UserPushContext,
    body_tokens,
    full_ruleset,
    mentioned_user_ids,
    name_token,
    put_rule,
    set_enabled,
    singled_out_user_ids,
)
from tests.protocol.push_cases import (
    BOBS,
    GROUP,
    HIGHLIGHT,
    LOUD,
    NOTIFY,
    PAIR,
    V11,
    condition_matches,
    push_event,
    says,
)
from tests.protocol.sample_events import ALICE, BOB, json_values, make_event

# ---------------------------------------------------------------- default rules


@pytest.mark.parametrize(
    ("event", "room", "actions"),
    [
        (says("Hello"), GROUP, ("notify",)),
        (says("Hello"), PAIR, ("notify", LOUD)),
        (push_event(type="m.room.encrypted", content={}), GROUP, ("notify",)),
        (push_event(type="m.room.encrypted", content={}), PAIR, ("notify", LOUD)),
        (
            push_event(type="m.call.invite", content={}),
            GROUP,
            ("notify", {"set_tweak": "sound", "value": "ring"}),
        ),
        (
            push_event(type="m.room.tombstone", state_key="", content={}),
            GROUP,
            ("notify", HIGHLIGHT),
        ),
        (
            push_event(type="m.room.member", state_key=BOB, content={"membership": "invite"}),
            GROUP,
            ("notify", LOUD),
        ),
        (says("Hi", **{"m.mentions": {"user_ids": [BOB]}}), GROUP, ("notify", LOUD, HIGHLIGHT)),
    ],
)
def test_the_default_rules_notify(
    event: PushEvent, room: RoomPushContext, actions: tuple[Any, ...]
) -> None:
    found = DEFAULT_RULESET.evaluate(event, room, BOBS)

    assert found is not None
    assert found.actions == actions
    assert found.highlight is (HIGHLIGHT in actions)


@pytest.mark.parametrize(
    "event",
    [
        push_event(content={"msgtype": "m.notice", "body": "beep"}),
        push_event(type="m.reaction", content={}),
        push_event(type="m.room.name", state_key="", content={"name": "x"}),
        push_event(type="m.room.server_acl", state_key="", content={}),
        push_event(type="m.room.tombstone", content={}),  # no state event
        push_event(type="m.room.member", state_key=ALICE, content={"membership": "join"}),
        push_event(type="m.room.member", state_key="@eve:domain", content={"membership": "invite"}),
        says("* Hi", **{"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}),
        push_event(type="org.example", content={"body": "Bob B."}),
    ],
)
def test_the_default_rules_are_silent(event: PushEvent) -> None:
    assert DEFAULT_RULESET.evaluate(event, PAIR, BOBS) is None


def test_a_mention_notifies_in_any_event_and_only_whom_it_names() -> None:
    mention = {"m.mentions": {"user_ids": [BOB]}}
    event = push_event(type="org.example", content=mention)

    assert DEFAULT_RULESET.evaluate(event, GROUP, BOBS) is not None
    assert DEFAULT_RULESET.evaluate(event, GROUP, UserPushContext("@eve:domain")) is None


def test_a_name_in_the_text_is_no_mention() -> None:
    """Since v1.17."""
    found = DEFAULT_RULESET.evaluate(says(f"Hello Bob B. {BOB} bob @room"), GROUP, BOBS)

    assert found == NOTIFY


@pytest.mark.parametrize(
    ("power", "levels", "highlight"),
    [
        (50, {}, True),
        (49, {}, False),
        (10, {"room": 10}, True),
        (9, {"room": 10}, False),
        (math.inf, {"room": 1000}, True),
    ],
)
def test_the_room_is_mentioned_by_who_may(
    power: float, levels: dict[str, int], highlight: bool
) -> None:
    room = RoomPushContext(5, power, levels)
    event = says("Hi", **{"m.mentions": {"room": True}})

    found = DEFAULT_RULESET.evaluate(event, room, BOBS)

    assert found is not None
    assert found.highlight is highlight


@pytest.mark.parametrize("room", ["true", 1, None, [True]])
def test_the_room_is_mentioned_only_with_true(room: Any) -> None:
    event = says("Hi", **{"m.mentions": {"room": room}})

    assert DEFAULT_RULESET.evaluate(event, RoomPushContext(5, 100), BOBS) == NOTIFY


def test_nobody_is_notified_of_their_own_events() -> None:
    event = says("Hi", **{"m.mentions": {"user_ids": [ALICE]}})

    assert DEFAULT_RULESET.evaluate(event, PAIR, UserPushContext(ALICE)) is None


def test_the_master_rule_silences_everything() -> None:
    deviations = put_rule(NO_DEVIATIONS, "override", "mine", {"actions": ["notify"]})
    silent = CompiledRuleset(set_enabled(deviations, "override", ".m.rule.master", True))

    assert silent.evaluate(says("Hi"), PAIR, BOBS) is None


def test_the_default_rules_are_those_of_the_spec() -> None:
    """Spec v1.19: predefined rules, in their order."""
    ruleset = full_ruleset(NO_DEVIATIONS, BOB)

    assert {kind: [rule["rule_id"] for rule in rules] for kind, rules in ruleset.items()} == {
        "override": [
            ".m.rule.master",
            ".m.rule.suppress_notices",
            ".m.rule.invite_for_me",
            ".m.rule.member_event",
            ".m.rule.is_user_mention",
            ".m.rule.is_room_mention",
            ".m.rule.tombstone",
            ".m.rule.reaction",
            ".m.rule.room.server_acl",
            ".m.rule.suppress_edits",
        ],
        "content": [],
        "room": [],
        "sender": [],
        "underride": [
            ".m.rule.call",
            ".m.rule.encrypted_room_one_to_one",
            ".m.rule.room_one_to_one",
            ".m.rule.message",
            ".m.rule.encrypted",
        ],
    }
    assert [rule["rule_id"] for rule in ruleset["override"] if not rule["enabled"]] == [
        ".m.rule.master"
    ]


# ---------------------------------------------------------------- once for many


def test_one_evaluation_is_right_for_all_whom_the_event_does_not_single_out() -> None:
    users = [UserPushContext(f"@user{number}:domain", f"User {number}") for number in range(5)]
    event = says("Hi", **{"m.mentions": {"user_ids": ["@user3:domain"]}})

    generic = DEFAULT_RULESET.evaluate_generic(event, GROUP)

    single = singled_out_user_ids(event.event)
    assert single == {"@user3:domain"}
    for user in users:
        found = DEFAULT_RULESET.evaluate(event, GROUP, user)
        assert (found == generic) is (user.user_id not in single)


def test_a_member_event_singles_out_whom_it_is_about() -> None:
    event = make_event(V11, type="m.room.member", state_key=BOB, content={"membership": "invite"})

    assert singled_out_user_ids(event) == {BOB}
    assert DEFAULT_RULESET.evaluate_generic(PushEvent(event), GROUP) is None


@pytest.mark.parametrize(
    ("mentions", "user_ids"),
    [
        ({"user_ids": [ALICE, BOB, ALICE]}, {ALICE, BOB}),
        ({"user_ids": [1, None, {}, BOB]}, {BOB}),
        ({"user_ids": BOB}, set()),
        ({}, set()),
        (None, set()),
        ([BOB], set()),
    ],
)
def test_mentions_are_read_from_what_is_well_formed(mentions: Any, user_ids: set[str]) -> None:
    assert mentioned_user_ids(make_event(V11, content={"m.mentions": mentions})) == user_ids


@pytest.mark.parametrize(
    ("body", "display_name", "matches"),
    [
        ("hello bob b., how are you", "Bob B.", True),
        ("BOB B.", "Bob B.", True),
        ("bobby", "Bob", False),
        ("kebob", "Bob", False),
        ("_bob_", "Bob", False),
        ("Übob", "Bob", True),
        ("kebob bob", "Bob", True),
        ("Grüße an Jürgen!", "jürgen", True),
        ("a*c", "a*c", True),
        ("abc", "a*c", False),
        ("hello", "", False),
        (1, "Bob", False),
    ],
)
def test_a_display_name_is_found_as_a_word(body: Any, display_name: str, matches: bool) -> None:
    condition = {"kind": "contains_display_name"}
    user = UserPushContext(BOB, display_name)

    assert condition_matches(condition, says(body), user=user) is matches
    if matches:
        token = name_token(display_name)
        assert token is None or token in body_tokens(says(body).event)


def test_without_a_display_name_none_is_found() -> None:
    condition = {"kind": "contains_display_name"}

    assert not condition_matches(condition, says("None"), user=UserPushContext(BOB))


def test_a_ruleset_knows_whether_names_matter() -> None:
    rule = {"conditions": [{"kind": "contains_display_name"}], "actions": ["notify"]}
    deviations = put_rule(NO_DEVIATIONS, "override", "name", rule)

    assert not DEFAULT_RULESET.needs_display_name
    assert CompiledRuleset(deviations).needs_display_name
    assert not CompiledRuleset(
        set_enabled(deviations, "override", "name", False)
    ).needs_display_name


# ---------------------------------------------------------------- kinds of rules


def test_kinds_are_checked_in_their_order() -> None:
    """Override, content, room, sender, underride; each overrides those below it."""
    targets: dict[str, tuple[str, dict[str, Any]]] = {
        "underride": ("low", {"conditions": []}),
        "sender": (ALICE, {}),
        "room": ("!room:domain", {}),
        "content": ("word", {"pattern": "hello"}),
        "override": ("high", {"conditions": []}),
    }
    deviations = NO_DEVIATIONS
    for kind, (rule_id, parameters) in targets.items():
        sound = {"set_tweak": "sound", "value": kind}
        body = {**parameters, "actions": ["notify", sound]}
        deviations = put_rule(deviations, kind, rule_id, body)

        found = CompiledRuleset(deviations).evaluate(says("Well, hello!"), GROUP, BOBS)

        assert found is not None
        assert found.sound == kind


def test_a_room_rule_concerns_its_room_and_a_sender_rule_its_sender() -> None:
    deviations = put_rule(NO_DEVIATIONS, "room", "!room:domain", {"actions": []})
    deviations = put_rule(deviations, "sender", "@eve:domain", {"actions": []})
    ruleset = CompiledRuleset(deviations)

    assert ruleset.evaluate(says("Hi"), GROUP, BOBS) is None
    assert ruleset.evaluate(push_event(room_id="!other:domain"), GROUP, BOBS) == NOTIFY
    assert (
        ruleset.evaluate(push_event(room_id="!other:domain", sender="@eve:domain"), GROUP, BOBS)
        is None
    )


def test_a_rule_of_ones_own_prevails_over_the_default_ones() -> None:
    rule = {"conditions": [], "actions": ["notify"]}
    ruleset = CompiledRuleset(put_rule(NO_DEVIATIONS, "override", "all", rule))

    assert ruleset.evaluate(push_event(type="m.reaction"), GROUP, BOBS) == NOTIFY


def test_a_users_rule_cannot_stand_for_whoever_reads_it() -> None:
    """The placeholder for the user's ID means nothing outside of default rules."""
    condition = {"kind": "event_match", "key": "state_key", "pattern": "[the user's Matrix ID]"}
    rule = {"conditions": [condition], "actions": ["notify", HIGHLIGHT]}
    ruleset = CompiledRuleset(put_rule(NO_DEVIATIONS, "override", "x", rule))

    assert ruleset.evaluate(push_event(state_key=BOB), GROUP, BOBS) == NOTIFY


# ---------------------------------------------------------------- actions


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], None),
        ([HIGHLIGHT], None),
        (["notify"], NOTIFY),
        (["notify", HIGHLIGHT], (True, None)),
        (["notify", {"set_tweak": "highlight", "value": True}], (True, None)),
        (["notify", {"set_tweak": "highlight", "value": False}], (False, None)),
        (["notify", LOUD], (False, "default")),
        (["notify", {"set_tweak": "sound", "value": 1}], (False, None)),
        (["notify", {"set_tweak": 1}, {}, 5], (False, None)),
    ],
)
def test_actions_say_whether_and_how_to_notify(actions: list[Any], expected: Any) -> None:
    found = Actions.parse(actions)

    if isinstance(expected, tuple):
        assert found is not None
        assert (found.highlight, found.sound) == expected
    else:
        assert found == expected


def test_tweaks_that_nobody_knows_are_passed_on() -> None:
    found = Actions.parse(["notify", {"set_tweak": "org.example.flash", "value": "red"}])

    assert found is not None
    assert found.tweaks == {"org.example.flash": "red"}


# ---------------------------------------------------------------- robustness


@given(json_values())
def test_any_content_can_be_evaluated(value: Any) -> None:
    event = push_event(content={"body": value, "m.mentions": value, "m.relates_to": value})

    DEFAULT_RULESET.evaluate(event, PAIR, BOBS)
    body_tokens(event.event)


@given(json_values())
def test_any_condition_can_be_compiled(value: Any) -> None:
    condition_matches(value, says("Hi"))
    condition_matches({"kind": "event_match", "key": value, "pattern": value}, says("Hi"))
    condition_matches({"kind": "event_property_is", "key": "type", "value": value}, says("Hi"))


def test_no_pattern_makes_evaluation_slow() -> None:
    rule = {"pattern": "a*" * 240 + "b", "actions": ["notify"]}
    ruleset = CompiledRuleset(put_rule(NO_DEVIATIONS, "content", "slow", rule))
    event = says("a" * 60_000)
    started = time.process_time()

    ruleset.evaluate(event, GROUP, BOBS)

    assert time.process_time() - started < 5


OWN_RULES = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.sampled_from(["tea", "time"]), st.booleans(), st.booleans()
    ),
    max_size=8,
)


@given(OWN_RULES, st.sampled_from(["tea", "time for tea", "neither"]))
def test_the_first_enabled_rule_that_matches_decides(
    rules: list[tuple[str, str, bool, bool]], body: str
) -> None:
    event = says(body)
    deviations = NO_DEVIATIONS
    for kind, word, enabled, notifies in rules:
        rule_id = {"room": event.event.room_id, "sender": ALICE}.get(kind, word)
        condition = {"kind": "event_match", "key": "content.body", "pattern": word}
        actions = ["notify", {"set_tweak": "rule", "value": f"{kind} {rule_id}"}]
        rule = {"conditions": [condition], "pattern": word, "actions": actions if notifies else []}
        deviations = put_rule(deviations, kind, rule_id, rule)
        deviations = set_enabled(deviations, kind, rule_id, enabled)

    found = CompiledRuleset(deviations).evaluate(event, GROUP, BOBS)

    matching = {".m.rule.message", event.event.room_id, ALICE, *body.split()}
    decisive = next(
        rule
        for rules_of_kind in full_ruleset(deviations, BOB).values()
        for rule in rules_of_kind
        if rule["enabled"] and rule["rule_id"] in matching
    )
    assert (list(found.actions) if found is not None else []) == decisive["actions"]
