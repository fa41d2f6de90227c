"""Push rules: which events notify a user, and how.

Spec: client-server API, push notifications.  Of each user only the *deviations* from the default
rules are kept: rules of their own, and what they changed about a default rule.  Most people have
none, so most people share one ruleset, and an event is evaluated once for all of them; only those
whom it singles out (mentions, invites) are looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Actions:
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


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    conditions: tuple[Condition, ...]
    actions: Actions | None


class CompiledRuleset:
    """A ruleset, ready for evaluation.  It does not depend on whose ruleset it is, so users with
    the same deviations share it.
    """

    __slots__ = ("_rules", "needs_display_name")

    def __init__(self, deviations: PushDeviations) -> None:
        rules = full_ruleset(deviations, USER_ID_PLACE)
        compiled = [
            _compile_rule(kind, rule) for kind in KINDS for rule in rules[kind] if rule["enabled"]
        ]
        self._rules = [rule for rule in compiled if never not in rule.conditions]
        self.needs_display_name = any(
            contains_display_name in rule.conditions for rule in self._rules
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
        for rule in self._rules:
            for condition in rule.conditions:
                if not condition(event, room, user):
                    break
            else:
                return rule.actions
        return None


def _compile_rule(kind: str, rule: JsonObject) -> _CompiledRule:
    compile_one = _compile_default_condition if rule["default"] else compile_condition
    return _CompiledRule(
        tuple(compile_one(item) for item in _conditions(kind, rule)),
        Actions.parse(rule["actions"]),
    )


def _conditions(kind: str, rule: JsonObject) -> list[Any]:
    """The conditions of a rule; those of content, room and sender rules are predefined."""
    match kind:
        case "content":
            return [_match("content.body", rule.get("pattern"))]
        case "room":
            return [_is("room_id", rule["rule_id"])]
        case "sender":
            return [_is("sender", rule["rule_id"])]
    conditions: list[Any] = rule.get("conditions", [])
    return conditions


def _match(key: str, pattern: Any) -> JsonObject:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _is(key: str, value: Any) -> JsonObject:
    return {"kind": "event_property_is", "key": key, "value": value}


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
