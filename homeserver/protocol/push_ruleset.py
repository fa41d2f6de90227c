"""A user's push rules as data: what they changed, and the whole that it makes.

Spec: client-server API, push rules API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from homeserver.protocol.identifiers import InvalidIdentifier, RoomId, UserId
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.push_conditions import MEMBER_COUNT
from homeserver.protocol.push_defaults import DEFAULT_RULES, KINDS, MASTER, USER_ID_PLACE

MAX_RULES = 1_000
MAX_RULE_ID_LENGTH = 255
MAX_CONDITIONS = 50
MAX_ACTIONS = 20
MAX_PATTERN_LENGTH = 500
HISTORICAL_ACTIONS = ("dont_notify", "coalesce")


class InvalidRule(ValueError):
    """A rule, or a change to one, that is not allowed; the text says why."""


class RelativeRuleNotFound(InvalidRule):
    """``before`` or ``after`` names no rule of the user's own."""


class UnknownRule(LookupError):
    """There is no rule of that kind and ID."""


class PushDeviations(Struct, frozen=True):
    """What a user changed.  Never changed itself: changes make another one.

    ``rules``: the user's own, per kind, the most important first.
    ``defaults``: per default rule, its ``enabled`` or ``actions`` where they differ.
    """

    rules: Mapping[str, tuple[JsonObject, ...]] = field(default_factory=dict)
    defaults: Mapping[str, JsonObject] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: JsonObject) -> PushDeviations:
        """Read what :meth:`to_json` wrote."""
        return cls(
            {kind: tuple(rules) for kind, rules in value.get("rules", {}).items()},
            dict(value.get("defaults", {})),
        )

    def to_json(self) -> JsonObject:
        """A form to store; the same deviations have the same form."""
        return {
            "rules": {kind: list(rules) for kind, rules in self.rules.items() if rules},
            "defaults": dict(self.defaults),
        }

    def own(self, kind: str) -> tuple[JsonObject, ...]:
        """The user's own rules of a kind."""
        return self.rules.get(kind, ())


NO_DEVIATIONS = PushDeviations()


# ---------------------------------------------------------------- reading


def full_ruleset(deviations: PushDeviations, user_id: str) -> dict[str, list[JsonObject]]:
    """All rules of a user, per kind, the most important first: ``global`` of ``m.push_rules``.

    The user's own come before the defaults, except that ``.m.rule.master`` is above all.
    """
    ruleset: dict[str, list[JsonObject]] = {}
    for kind in KINDS:
        defaults = [
            {**_for_user(rule, user_id), **deviations.defaults.get(rule["rule_id"], {})}
            for rule in DEFAULT_RULES[kind]
        ]
        above = [rule for rule in defaults if rule["rule_id"] == MASTER]
        below = [rule for rule in defaults if rule["rule_id"] != MASTER]
        ruleset[kind] = [*above, *deviations.own(kind), *below]
    return ruleset


def _for_user(rule: JsonObject, user_id: str) -> JsonObject:
    """A default rule with the user's ID in its place."""
    conditions = [
        {key: user_id if value == USER_ID_PLACE else value for key, value in condition.items()}
        for condition in rule["conditions"]
    ]
    return {**rule, "conditions": conditions}


def find_rule(deviations: PushDeviations, user_id: str, kind: str, rule_id: str) -> JsonObject:
    """One rule.  Raises :class:`UnknownRule`."""
    if kind in KINDS:
        for rule in full_ruleset(deviations, user_id)[kind]:
            if rule["rule_id"] == rule_id:
                return rule
    raise UnknownRule("there is no such push rule")


# ---------------------------------------------------------------- changing


def put_rule(
    deviations: PushDeviations,
    kind: str,
    rule_id: str,
    body: Mapping[str, Any],
    *,
    before: str | None = None,
    after: str | None = None,
) -> PushDeviations:
    """Add a rule of the user's own, or change it.

    ``before``, ``after``: the rule next to which it is to stand; ``before`` prevails.  Without
    them a new rule becomes the most important, and a changed one stays where it is.
    Raises: :class:`InvalidRule`, :class:`RelativeRuleNotFound`.
    """
    rule = _check_rule(kind, rule_id, body)
    own = deviations.own(kind)
    others = [other for other in own if other["rule_id"] != rule_id]
    old = next((other for other in own if other["rule_id"] == rule_id), None)
    if old is not None:
        rule["enabled"] = old["enabled"]
    elif sum(map(len, deviations.rules.values())) >= MAX_RULES:
        raise InvalidRule(f"you can have at most {MAX_RULES} push rules")
    if before is not None:
        place = _place_of(others, before)
    elif after is not None:
        place = _place_of(others, after) + 1
    else:
        place = own.index(old) if old is not None else 0
    others.insert(place, rule)
    return _with_own(deviations, kind, others)


def delete_rule(deviations: PushDeviations, kind: str, rule_id: str) -> PushDeviations:
    """Remove a rule of the user's own.  Raises :class:`UnknownRule`."""
    own = deviations.own(kind)
    kept = [rule for rule in own if rule["rule_id"] != rule_id]
    if len(kept) == len(own):
        raise UnknownRule("there is no such push rule of your own")
    return _with_own(deviations, kind, kept)


def set_enabled(
    deviations: PushDeviations, kind: str, rule_id: str, enabled: bool
) -> PushDeviations:
    """Enable or disable a rule, default or own.  Raises :class:`UnknownRule`."""
    return _change(deviations, kind, rule_id, "enabled", enabled)


def set_actions(
    deviations: PushDeviations, kind: str, rule_id: str, actions: Any
) -> PushDeviations:
    """Change the actions of a rule, default or own.

    Raises: :class:`UnknownRule`, :class:`InvalidRule`.
    """
    return _change(deviations, kind, rule_id, "actions", check_actions(actions))


def _change(
    deviations: PushDeviations, kind: str, rule_id: str, name: str, value: Any
) -> PushDeviations:
    default = next(
        (rule for rule in DEFAULT_RULES.get(kind, ()) if rule["rule_id"] == rule_id), None
    )
    if default is not None:
        changes = {**deviations.defaults.get(rule_id, {}), name: value}
        if default[name] == value:
            # As by default: no deviation, so that the user shares the others' ruleset again.
            del changes[name]
        defaults = {**deviations.defaults, rule_id: changes}
        return replace(deviations, defaults={key: item for key, item in defaults.items() if item})
    own = deviations.own(kind)
    if not any(rule["rule_id"] == rule_id for rule in own):
        raise UnknownRule("there is no such push rule")
    return _with_own(
        deviations,
        kind,
        ({**rule, name: value} if rule["rule_id"] == rule_id else rule for rule in own),
    )


def _with_own(deviations: PushDeviations, kind: str, rules: Iterable[JsonObject]) -> PushDeviations:
    return replace(deviations, rules={**deviations.rules, kind: tuple(rules)})


def _place_of(rules: list[JsonObject], rule_id: str) -> int:
    for place, rule in enumerate(rules):
        if rule["rule_id"] == rule_id:
            return place
    raise RelativeRuleNotFound(f"before/after rule not found: {rule_id}")


# ---------------------------------------------------------------- checking


def _check_rule(kind: str, rule_id: str, body: Mapping[str, Any]) -> JsonObject:
    """A rule of the user's own, from a request."""
    if kind not in KINDS:
        raise InvalidRule(f"'{kind}' is not a kind of push rule")
    if rule_id.startswith("."):
        raise InvalidRule("rule IDs that start with '.' are reserved for the server's own rules")
    if not rule_id or "/" in rule_id or "\\" in rule_id or len(rule_id) > MAX_RULE_ID_LENGTH:
        raise InvalidRule("a rule ID must be short and have no slashes or backslashes")
    rule: JsonObject = {
        "rule_id": rule_id,
        "default": False,
        "enabled": True,
        "actions": check_actions(body.get("actions")),
    }
    match kind:
        case "override" | "underride":
            rule["conditions"] = _check_conditions(body.get("conditions", []))
        case "content":
            rule["pattern"] = _check_pattern(body.get("pattern"))
        case "room" | "sender":
            _check_target(kind, rule_id)
    return rule


def _check_target(kind: str, rule_id: str) -> None:
    try:
        if kind == "room":
            RoomId.parse(rule_id)
        else:
            UserId.parse(rule_id)
    except InvalidIdentifier as error:
        raise InvalidRule(f"the ID of a {kind} rule: {error}") from error


def check_actions(actions: Any) -> list[Any]:
    """Actions from a request, without the historical ones.  Raises :class:`InvalidRule`."""
    if not isinstance(actions, list) or len(actions) > MAX_ACTIONS:
        raise InvalidRule(f"'actions' must be an array of at most {MAX_ACTIONS}")
    for action in actions:
        if isinstance(action, dict):
            if not isinstance(action.get("set_tweak"), str):
                raise InvalidRule("an action that is an object must have a 'set_tweak'")
        elif not isinstance(action, str):
            raise InvalidRule("an action must be a string or an object")
    return [action for action in actions if action not in HISTORICAL_ACTIONS]


def _check_pattern(pattern: Any) -> str:
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN_LENGTH:
        raise InvalidRule(f"'pattern' must be a string of at most {MAX_PATTERN_LENGTH} characters")
    return pattern


def _check_conditions(conditions: Any) -> list[JsonObject]:
    if not isinstance(conditions, list) or len(conditions) > MAX_CONDITIONS:
        raise InvalidRule(f"'conditions' must be an array of at most {MAX_CONDITIONS}")
    for condition in conditions:
        if not isinstance(condition, dict) or not isinstance(condition.get("kind"), str):
            raise InvalidRule("a condition must be an object with a 'kind'")
        _check_condition(condition)
    return conditions


def _check_condition(condition: JsonObject) -> None:
    """The parameters of a condition of a kind that we know; others never match."""
    kind = condition["kind"]
    if kind in NEEDS_KEY and not isinstance(condition.get("key"), str):
        raise InvalidRule(f"a condition '{kind}' must have a 'key'")
    if kind == "event_match":
        _check_pattern(condition.get("pattern"))
    elif kind in ("event_property_is", "event_property_contains"):
        value = condition.get("value", [])
        if value is not None and not isinstance(value, str | int | bool):
            raise InvalidRule(f"a condition '{kind}' must have a 'value' that is not compound")
    elif kind == "room_member_count":
        count = condition.get("is")
        if not isinstance(count, str) or not MEMBER_COUNT.fullmatch(count):
            raise InvalidRule("a condition 'room_member_count' must have an 'is' such as '>2'")


NEEDS_KEY = (
    "event_match",
    "event_property_is",
    "event_property_contains",
    "sender_notification_permission",
)
