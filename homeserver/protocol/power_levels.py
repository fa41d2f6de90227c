"""Power levels: who may do what in a room.

Spec: client-server API, ``m.room.power_levels``; room versions 1 (strings and floats), 10
(integers only) and 12 (creators above all levels).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import RoomVersion

# Levels compare as numbers; a version 12 creator's is above every integer.
Level = float
CREATOR_LEVEL: Level = math.inf

REMEMBERED = 256  # rooms' levels

LEVEL_KEYS = (
    "users_default",
    "events_default",
    "state_default",
    "ban",
    "redact",
    "kick",
    "invite",
)
SPACES = " \t\n\r\f\v"
MOST_DIGITS = 32  # the spec sets no limit


def parse_level(value: Any, version: RoomVersion) -> int | None:
    """A level as it stands in an event; None if it is not one.

    Before version 10 texts and floats count as the integers that they represent.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if version.integer_power_levels:
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    return _parse_text(value) if isinstance(value, str) else None


def _parse_text(text: str) -> int | None:
    """The integer that a text represents: spaces around it, a sign and leading zeroes may be."""
    digits = text.strip(SPACES)
    sign = digits[:1] if digits[:1] in ("+", "-") else ""
    digits = digits[len(sign) :]
    if not digits.isascii() or not digits.isdigit():
        return None
    significant = digits.lstrip("0")
    return int(sign + (significant or "0")) if len(significant) <= MOST_DIGITS else None


def creators(create: Event | None) -> frozenset[str]:
    """The room's creators: the sender (before version 11 the named creator), and from version 12
    on ``additional_creators``."""
    if create is None:
        return frozenset()
    version = create.room_version
    if not version.implicit_room_creator:
        creator = create.content.get("creator")
        return frozenset({creator}) if isinstance(creator, str) else frozenset()
    found = {create.sender}
    if version.privileged_creators:
        more = create.content.get("additional_creators")
        if isinstance(more, list):
            found.update(user_id for user_id in more if isinstance(user_id, str))
    return frozenset(found)


class PowerLevels:
    """The levels in force, defaults filled in."""

    __slots__ = (
        "_creators",
        "_events",
        "_events_default",
        "_notifications",
        "_state_default",
        "_users",
        "_users_default",
        "ban",
        "invite",
        "kick",
        "redact",
    )

    def __init__(
        self, content: dict[str, Any] | None, creator_ids: frozenset[str], version: RoomVersion
    ) -> None:
        def level(key: str, default: int) -> int:
            parsed = parse_level(given.get(key), version)
            return default if parsed is None else parsed

        def levels(key: str) -> dict[str, int]:
            entries = given.get(key)
            if not isinstance(entries, dict):
                return {}
            parsed = {name: parse_level(value, version) for name, value in entries.items()}
            return {name: value for name, value in parsed.items() if value is not None}

        given = content if content is not None else {}
        self.ban = level("ban", 50)
        self.kick = level("kick", 50)
        self.redact = level("redact", 50)
        self.invite = level("invite", 0)
        self._users = levels("users")
        self._users_default = level("users_default", 0)
        self._events = levels("events")
        self._events_default = level("events_default", 0)
        # Without any power levels event, everybody may set state.
        self._state_default = level("state_default", 50 if content is not None else 0)
        self._notifications = levels("notifications")
        self._creators: frozenset[str] = frozenset()
        if version.privileged_creators:
            self._creators = creator_ids
        elif content is None:
            self._users = dict.fromkeys(creator_ids, 100)

    @classmethod
    def from_state(
        cls, create: Event | None, power_levels: Event | None, version: RoomVersion
    ) -> PowerLevels:
        """The levels that two state events make.

        It is asked for every event that is sent, of the same two events, mostly; a room may name
        thousands of users.
        """
        key = (id(create), id(power_levels))
        known = _recent.get(key)
        if known is not None and known.version is version:
            return known.levels
        content = power_levels.content if power_levels is not None else None
        levels = cls(content, creators(create), version)
        # The events are kept, so that their identities stay theirs.
        _recent[key] = _Made(create, power_levels, version, levels)
        if len(_recent) > REMEMBERED:
            _recent.popitem(last=False)
        return levels

    def user(self, user_id: str) -> Level:
        """A user's level."""
        if user_id in self._creators:
            return CREATOR_LEVEL
        return self._users.get(user_id, self._users_default)

    def required_for_event(self, event_type: str, is_state: bool) -> int:
        """The level that sending an event needs."""
        default = self._state_default if is_state else self._events_default
        return self._events.get(event_type, default)

    @property
    def notifications(self) -> Mapping[str, int]:
        """The levels that kinds of notifications need, as far as the room names any."""
        return self._notifications

    def notification(self, key: str) -> int:
        """The level that a kind of notification (``room``) needs."""
        return self._notifications.get(key, 50)


class _Made(NamedTuple):
    """Levels, and what they were made of."""

    create: Event | None
    power_levels: Event | None
    version: RoomVersion
    levels: PowerLevels


_recent: OrderedDict[tuple[int, int], _Made] = OrderedDict()
