"""Conditions of push rules, compiled.

Spec: client-server API, push notifications, conditions.  A condition becomes a function of the
event, the room and the user.  What it computes from the event alone is kept with the event, so
that many rulesets share it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.globs import glob_to_regex, is_glob, word_matcher
from homeserver.protocol.paths import get_path, split_path

BODY = ("content", "body")
# m.room.power_levels, content.notifications: what is not named there needs 50.
DEFAULT_NOTIFICATION_LEVEL = 50

MEMBER_COUNT = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,15})", re.ASCII)
COMPARISONS: dict[str | None, Callable[[int, int], bool]] = {
    None: operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class RoomPushContext(Struct, frozen=True):
    """What conditions ask about the room in which the event is."""

    member_count: int
    sender_power: float = 0  # infinite for the creators from room version 12
    notification_levels: Mapping[str, int] = field(default_factory=dict)


class UserPushContext(Struct, frozen=True):
    """What conditions ask about the user whom the event may notify."""

    user_id: str
    display_name: str | None = None


class PushEvent:
    """An event as conditions see it; make one, and use it for all users and rulesets."""

    __slots__ = ("_lowered", "event", "fields", "mentions")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.fields: JsonObject = {
            "content": event.content,
            "event_id": event.event_id,
            "origin_server_ts": event.origin_server_ts,
            "room_id": event.room_id,
            "sender": event.sender,
            "type": event.type,
        }
        if event.state_key is not None:
            self.fields["state_key"] = event.state_key
        if event.redacts is not None:
            self.fields["redacts"] = event.redacts
        self.mentions = mentioned_user_ids(event)
        self._lowered: dict[tuple[str, ...], str | None] = {}

    def lowered(self, path: tuple[str, ...]) -> str | None:
        """The string at a path in lower case; None if there is no string."""
        try:
            return self._lowered[path]
        except KeyError:
            found = get_path(self.fields, path)
            lowered = self._lowered[path] = found.lower() if isinstance(found, str) else None
            return lowered


def mentioned_user_ids(event: Event) -> frozenset[str]:
    """The users whom the event mentions.  Spec: user and room mentions, ``m.mentions``."""
    mentions = event.content.get("m.mentions")
    user_ids = mentions.get("user_ids") if isinstance(mentions, dict) else None
    if not isinstance(user_ids, list):
        return frozenset()
    return frozenset(user_id for user_id in user_ids if isinstance(user_id, str))


Condition = Callable[[PushEvent, RoomPushContext, UserPushContext | None], bool]


def never(event: PushEvent, room: RoomPushContext, user: UserPushContext | None) -> bool:
    """Match nothing: what is not recognised.  It disables its rule."""
    return False


def mentions_user(event: PushEvent, room: RoomPushContext, user: UserPushContext | None) -> bool:
    """Whether ``m.mentions`` names the user: the condition of ``.m.rule.is_user_mention``."""
    return user is not None and user.user_id in event.mentions


def is_about_user(event: PushEvent, room: RoomPushContext, user: UserPushContext | None) -> bool:
    """Whether the state key is the user's ID: a condition of ``.m.rule.invite_for_me``."""
    return user is not None and event.event.state_key == user.user_id


def contains_display_name(
    event: PushEvent, room: RoomPushContext, user: UserPushContext | None
) -> bool:
    """Whether ``content.body`` has the user's display name as a word."""
    if user is None or not user.display_name:
        return False
    body = event.lowered(BODY)
    name = user.display_name.lower()
    # Spares compiling a pattern for each user who is not named.
    return body is not None and name in body and contains_word(body, name)


def contains_word(text: str, word: str) -> bool:
    """Whether a text has a part, between word boundaries, that is exactly the word."""
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        if _is_boundary(text, start) and _is_boundary(text, end):
            return True
        start = text.find(word, start + 1)
    return False


def _is_boundary(text: str, position: int) -> bool:
    return not (
        0 < position < len(text)
        and _is_word_character(text[position - 1])
        and _is_word_character(text[position])
    )


def _is_word_character(character: str) -> bool:
    return character == "_" or (character.isascii() and character.isalnum())


def compile_condition(condition: Any) -> Condition:
    """A condition as a function; :func:`never` for what is not recognised or not well formed."""
    if not isinstance(condition, dict):
        return never
    match condition.get("kind"):
        case "event_match":
            return _event_match(condition.get("key"), condition.get("pattern"))
        case "event_property_is":
            return _event_property_is(condition)
        case "event_property_contains":
            return _event_property_contains(condition)
        case "contains_display_name":
            return contains_display_name
        case "room_member_count":
            return _room_member_count(condition.get("is"))
        case "sender_notification_permission":
            return _sender_notification_permission(condition.get("key"))
    return never


def _event_match(key: Any, pattern: Any) -> Condition:
    if not isinstance(key, str) or not isinstance(pattern, str):
        return never
    path, pattern = split_path(key), pattern.lower()
    matches: Callable[[str], Any]
    if path == BODY:
        matches = word_matcher(pattern)
    elif is_glob(pattern):
        matches = glob_to_regex(pattern).match
    else:
        return lambda event, room, user: event.lowered(path) == pattern

    def event_match(event: PushEvent, room: RoomPushContext, user: UserPushContext | None) -> bool:
        value = event.lowered(path)
        return value is not None and bool(matches(value))

    return event_match


def _is_simple(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int)


def _equals(left: Any, right: Any) -> bool:
    """Equality of simple values as JSON has it: ``true`` is not ``1``."""
    return type(left) is type(right) and bool(left == right)


def _event_property_is(condition: JsonObject) -> Condition:
    key, value = condition.get("key"), condition.get("value")
    if not isinstance(key, str) or "value" not in condition or not _is_simple(value):
        return never
    path = split_path(key)

    def event_property_is(
        event: PushEvent, room: RoomPushContext, user: UserPushContext | None
    ) -> bool:
        return _equals(get_path(event.fields, path, MISSING), value)

    return event_property_is


def _event_property_contains(condition: JsonObject) -> Condition:
    key, value = condition.get("key"), condition.get("value")
    if not isinstance(key, str) or "value" not in condition or not _is_simple(value):
        return never
    path = split_path(key)

    def event_property_contains(
        event: PushEvent, room: RoomPushContext, user: UserPushContext | None
    ) -> bool:
        found = get_path(event.fields, path)
        return isinstance(found, list) and any(_equals(item, value) for item in found)

    return event_property_contains


class _Missing:
    """Equal to no JSON value: there is no such property."""


MISSING = _Missing()


def _room_member_count(condition: Any) -> Condition:
    found = MEMBER_COUNT.fullmatch(condition) if isinstance(condition, str) else None
    if found is None:
        return never
    compare, count = COMPARISONS[found[1]], int(found[2])
    return lambda event, room, user: compare(room.member_count, count)


def _sender_notification_permission(key: Any) -> Condition:
    if not isinstance(key, str):
        return never

    def has_permission(
        event: PushEvent, room: RoomPushContext, user: UserPushContext | None
    ) -> bool:
        needed = room.notification_levels.get(key, DEFAULT_NOTIFICATION_LEVEL)
        return room.sender_power >= needed

    return has_permission
