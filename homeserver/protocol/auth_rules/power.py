"""Rule 10: ``m.room.power_levels``."""

from __future__ import annotations

from typing import Any

from homeserver.protocol.auth_rules.verdict import ALLOWED, Rejected, Verdict
from homeserver.protocol.events import Event
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.protocol.power_levels import LEVEL_KEYS, Level, creators, parse_level
from homeserver.protocol.room_versions import RoomVersion

ABOVE_SENDER = "the change is above the sender's own power level"


def check_power_levels(
    event: Event, current: Event | None, create: Event, sender_level: Level
) -> Verdict:
    """Whether the sender may change the power levels so."""
    version = event.room_version
    malformed = _check_form(event.content, create, version)
    if malformed is not None:
        return malformed
    # 10.5
    if current is None:
        return ALLOWED
    before, after = current.content, event.content
    # 10.6
    for key in LEVEL_KEYS:
        if not _may_change(before.get(key), after.get(key), sender_level, version):
            return Rejected(f"{key}: {ABOVE_SENDER}")
    # 10.7, 10.8; v6 added notifications
    maps = ["events"]
    if version.limit_notifications_power_levels:
        maps.append("notifications")
    for name in maps:
        old, new = _entries(before, name), _entries(after, name)
        for key in old.keys() | new.keys():
            if not _may_change(old.get(key), new.get(key), sender_level, version):
                return Rejected(f"{name}.{key}: {ABOVE_SENDER}")
    return _check_users(event, _entries(before, "users"), sender_level)


def _check_form(content: dict[str, Any], create: Event, version: RoomVersion) -> Rejected | None:
    """10.1 to 10.4; before v10 only the form of ``users`` is checked."""
    users = content.get("users", {})
    if version.integer_power_levels:
        for key in LEVEL_KEYS:
            if key in content and parse_level(content[key], version) is None:
                return Rejected(f"{key} is not an integer")
        for name in ("events", "notifications"):
            if name in content and not _is_level_map(content[name], version):
                return Rejected(f"{name} is not an object of integers")
    if not _is_level_map(users, version) or not all(_is_user_id(key) for key in users):
        return Rejected("users is not an object of user IDs and integers")
    # v12, 10.4
    if version.privileged_creators and not creators(create).isdisjoint(users):
        return Rejected("a creator's power level cannot be set")
    return None


def _is_level_map(value: Any, version: RoomVersion) -> bool:
    return isinstance(value, dict) and all(
        parse_level(level, version) is not None for level in value.values()
    )


def _is_user_id(text: str) -> bool:
    try:
        UserId.parse(text)
    except InvalidIdentifier:
        return False
    return True


def _entries(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _may_change(old: Any, new: Any, sender_level: Level, version: RoomVersion) -> bool:
    """A level may be set, changed or removed if both values are within the sender's own."""
    before, after = parse_level(old, version), parse_level(new, version)
    if before == after:
        return True
    return (before is None or before <= sender_level) and (after is None or after <= sender_level)


def _check_users(event: Event, old: dict[str, Any], sender_level: Level) -> Verdict:
    version = event.room_version
    new = _entries(event.content, "users")
    for user_id in old.keys() | new.keys():
        before = parse_level(old.get(user_id), version)
        after = parse_level(new.get(user_id), version)
        if before == after:
            continue
        # 10.9: others at or above the sender's level are out of reach
        if before is not None and user_id != event.sender and before >= sender_level:
            return Rejected(f"users.{user_id}: the user's power level is not below the sender's")
        # 10.10 (and a sender may only lower their own)
        if after is not None and after > sender_level:
            return Rejected(f"users.{user_id}: {ABOVE_SENDER}")
    return ALLOWED
