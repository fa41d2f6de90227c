"""Stripped state: what invited and knocking users may see of a room.

Spec: client-server API, stripped state.
"""

from __future__ import annotations

from homeserver.protocol.events import StateKey
from homeserver.protocol.events import stripped_state as stripped_state_event

__all__ = ["STRIPPED_STATE_KEYS", "stripped_state_event", "stripped_state_keys"]

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
