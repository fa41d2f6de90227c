"""State that a client sends and nobody could read: refused as malformed, before it is not allowed.

Spec: client-server API, common error codes (``M_BAD_JSON``); room versions, authorisation rules.
"""

from __future__ import annotations

from homeserver.errors import BadJson
from homeserver.protocol.events import JsonObject
from homeserver.protocol.power_levels import LEVEL_KEYS, parse_level
from homeserver.protocol.room_versions import RoomVersion

MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")


def check_state_content(event_type: str, content: JsonObject, version: RoomVersion) -> None:
    """Refuse members without a membership, and power levels that are no numbers.

    Raises :class:`BadJson`.
    """
    if event_type == "m.room.member" and content.get("membership") not in MEMBERSHIPS:
        raise BadJson(f"'membership' must be one of {', '.join(MEMBERSHIPS)}")
    if event_type == "m.room.power_levels":
        _check_power_levels(content, version)


def _check_power_levels(content: JsonObject, version: RoomVersion) -> None:
    """Before version 10 servers read what they can, and only the form of ``users`` is set."""
    maps = ["users"]
    if version.integer_power_levels:
        maps += ["events", "notifications"]
        for key in LEVEL_KEYS:
            if key in content and parse_level(content[key], version) is None:
                raise BadJson(f"'{key}' must be an integer")
    for name in maps:
        levels = content.get(name, {})
        if not isinstance(levels, dict):
            raise BadJson(f"'{name}' must be an object")
        for key, level in levels.items():
            if parse_level(level, version) is None:
                raise BadJson(f"'{name}': the level of '{key}' must be an integer")
