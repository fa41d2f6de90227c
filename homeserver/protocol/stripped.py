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


# What its members chose to show of a room, and might show to somebody who has not agreed to see it.
CHOSEN_BY_MEMBERS = frozenset({"m.room.avatar", "m.room.name", "m.room.topic"})


def without_strangers_choices(events: Iterable[JsonObject]) -> list[JsonObject]:
    """Stripped state without pictures and without the room's name and topic: a stranger's request
    shows no more than who asks."""
    kept = []
    for event in events:
        if event.get("type") in CHOSEN_BY_MEMBERS:
            continue
        content = event.get("content")
        if isinstance(content, dict) and "avatar_url" in content:
            plain = {key: value for key, value in content.items() if key != "avatar_url"}
            kept.append({**event, "content": plain})
        else:
            kept.append(event)
    return kept
