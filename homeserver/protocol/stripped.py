"""Stripped state: what invited and knocking users may see of a room.

Spec: client-server API, stripped state.
"""

from __future__ import annotations

from collections.abc import Iterable

from homeserver.protocol.events import JsonObject, StateKey
from homeserver.protocol.events import stripped_state as stripped_state_event

__all__ = [
    "STRIPPED_STATE_KEYS",
    "stripped_state_event",
    "stripped_state_keys",
    "without_strangers_choices",
]

STRIPPED_STATE_KEYS: tuple[StateKey, ...] = (
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.encryption", ""),
)


def stripped_state_keys(sender: str) -> tuple[StateKey, ...]:
    """The state to strip: what describes the room, and who invites or knocks."""
    return (*STRIPPED_STATE_KEYS, ("m.room.member", sender))


# What is shown of a room to somebody who has not agreed to see what its members chose to show:
# the fields of some events.
SHOWN_OF_STRANGERS = {
    "m.room.create": frozenset({"creator", "room_version", "type", "m.federate"}),
    "m.room.join_rules": frozenset({"join_rule"}),
    "m.room.encryption": frozenset({"algorithm"}),
    "m.room.member": frozenset({"membership", "displayname", "is_direct"}),
}


def without_strangers_choices(events: Iterable[JsonObject]) -> list[JsonObject]:
    """Stripped state without what its members chose to show: a stranger's request shows no more
    than who asks, for what kind of room."""
    kept = []
    for event in events:
        fields = SHOWN_OF_STRANGERS.get(str(event.get("type")))
        content = event.get("content")
        if fields is not None and isinstance(content, dict):
            plain = {key: value for key, value in content.items() if key in fields}
            kept.append({**event, "content": plain})
    return kept
