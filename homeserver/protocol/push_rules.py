"""Push rules: which events notify a user, and how.

Spec: client-server API, push notifications.  Of each user only the *deviations* from the default
rules are kept: rules of their own, and what they changed about a default rule.  Most people have
none, so most people share one ruleset, and an event is evaluated once for all of them; only those
whom it singles out (mentions, invites) are looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.push_conditions import (
    BODY,
    Condition,
    PushEvent,
    RoomPushContext,
    UserPushContext,
    compile_condition,
    contains_display_name,
    is_about_user,
    mentioned_user_ids,
    mentions_user,
    never,
)
from homeserver.protocol.push_defaults import KINDS, USER_ID_PLACE
from homeserver.protocol.push_ruleset import (
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

__all__ = [
    "DEFAULT_RULESET",
    "KINDS",
    "NO_DEVIATIONS",
    "Actions",
    "CompiledRuleset",
    "InvalidRule",
    "PushDeviations",
    "PushEvent",
    "RelativeRuleNotFound",
    "RoomPushContext",
    "UnknownRule",
    "UserPushContext",
    "body_tokens",
    "delete_rule",
    "find_rule",
    "full_ruleset",
    "mentioned_user_ids",
    "name_token",
    "put_rule",
    "set_actions",
    "set_enabled",
    "singled_out_user_ids",
]

TOKEN = re.compile(r"[a-z0-9_]+")


class Actions(Struct, frozen=True):
    """How a rule that matched notifies."""

    actions: tuple[Any, ...]  # as the rule has them
    highlight: bool = False
    sound: str | None = None
    tweaks: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, actions: Iterable[Any]) -> Actions | None:
        """The actions of a rule; None if they do not notify."""
        actions = tuple(actions)
        if "notify" not in actions:
            return None
        tweaks: JsonObject = {}
        for action in actions:
            if isinstance(action, dict) and isinstance(action.get("set_tweak"), str):
                tweak = action["set_tweak"]
                # "If a highlight tweak is given with no value, its value is defined to be true."
                tweaks[tweak] = action.get("value", True if tweak == "highlight" else None)
        sound = tweaks.get("sound")
        return cls(
            actions,
            highlight=bool(tweaks.get("highlight", False)),
            sound=sound if isinstance(sound, str) else None,
            tweaks=tweaks,
        )


class _CompiledRule(Struct, frozen=True):
    conditions: tuple[Condition, ...]
    actions: Actions | None


class CompiledRuleset:
    """A ruleset, ready for evaluation.  It does not depend on whose ruleset it is, so users with
    the same deviations share it.
    """

    __slots__ = ("_above", "_below", "_rooms", "_senders", "needs_display_name")

    def __init__(self, deviations: PushDeviations) -> None:
        rules = {
            kind: [rule for rule in rules if rule["enabled"]]
            for kind, rules in full_ruleset(deviations, USER_ID_PLACE).items()
        }
        self._above = _compile(rules["override"]) + _compile(rules["content"])
        self._rooms = {rule["rule_id"]: Actions.parse(rule["actions"]) for rule in rules["room"]}
        self._senders = {
            rule["rule_id"]: Actions.parse(rule["actions"]) for rule in rules["sender"]
        }
        self._below = _compile(rules["underride"])
        self.needs_display_name = any(
            contains_display_name in rule.conditions for rule in self._above + self._below
        )

    def evaluate(
        self, event: PushEvent, room: RoomPushContext, user: UserPushContext
    ) -> Actions | None:
        """How an event notifies a user; None if it does not.

        Nobody is notified of their own events.
        """
        if event.event.sender == user.user_id:
            return None
        return self._evaluate(event, room, user)

    def evaluate_generic(self, event: PushEvent, room: RoomPushContext) -> Actions | None:
        """How an event notifies a user whom it does not single out.

        Conditions about the user do not match.  The sender is for the caller to leave out.
        """
        return self._evaluate(event, room, None)

    def _evaluate(
        self, event: PushEvent, room: RoomPushContext, user: UserPushContext | None
    ) -> Actions | None:
        rule = _first_match(self._above, event, room, user)
        if rule is not None:
            return rule.actions
        if event.event.room_id in self._rooms:
            return self._rooms[event.event.room_id]
        if event.event.sender in self._senders:
            return self._senders[event.event.sender]
        rule = _first_match(self._below, event, room, user)
        return rule.actions if rule is not None else None


def _first_match(
    rules: list[_CompiledRule],
    event: PushEvent,
    room: RoomPushContext,
    user: UserPushContext | None,
) -> _CompiledRule | None:
    for rule in rules:
        for condition in rule.conditions:
            if not condition(event, room, user):
                break
        else:
            return rule
    return None


def _compile(rules: list[JsonObject]) -> list[_CompiledRule]:
    compiled = [
        _CompiledRule(_compile_conditions(rule), Actions.parse(rule["actions"])) for rule in rules
    ]
    return [rule for rule in compiled if never not in rule.conditions]


def _compile_conditions(rule: JsonObject) -> tuple[Condition, ...]:
    if "pattern" in rule:
        # Content rules: "the match must match any substring of the content.body property".
        body = {"kind": "event_match", "key": "content.body", "pattern": rule["pattern"]}
        return (compile_condition(body),)
    compile_one = _compile_default_condition if rule["default"] else compile_condition
    return tuple(compile_one(condition) for condition in rule["conditions"])


def _compile_default_condition(condition: JsonObject) -> Condition:
    """A condition of a default rule; those that name the user wait for one."""
    if condition.get("pattern") == USER_ID_PLACE:
        return is_about_user
    if condition.get("value") == USER_ID_PLACE:
        return mentions_user
    return compile_condition(condition)


DEFAULT_RULESET = CompiledRuleset(NO_DEVIATIONS)


# ---------------------------------------------------------------- who is singled out


def singled_out_user_ids(event: Event) -> frozenset[str]:
    """The users for whom an event must be evaluated one by one: whom it mentions, and whom a
    member event is about.
    """
    mentioned = mentioned_user_ids(event)
    if event.type == "m.room.member" and event.state_key is not None:
        return mentioned | {event.state_key}
    return mentioned


def body_tokens(event: Event) -> frozenset[str]:
    """The words of the body, in lower case; see :func:`name_token`."""
    body = event.content.get(BODY[1])
    return frozenset(TOKEN.findall(body.lower())) if isinstance(body, str) else frozenset()


def name_token(display_name: str) -> str | None:
    """A word that a body must have to contain a display name.

    None if the name has none: then only a look at the whole body can tell.
    """
    return max(TOKEN.findall(display_name.lower()), key=len, default=None)
