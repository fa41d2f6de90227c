"""How events relate to each other: edits, reactions, threads, replies.

Spec: client-server API, forming relationships between events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from homeserver.protocol.events import Event

REPLACE = "m.replace"
ANNOTATION = "m.annotation"
THREAD = "m.thread"
REFERENCE = "m.reference"
MAX_ID_LENGTH = 255


class Relation(Struct, frozen=True):
    """What an event says it is to another one."""

    rel_type: str
    event_id: str
    key: str | None = None  # of an annotation: the emoji


def relation_of(content: Mapping[str, Any]) -> Relation | None:
    """The relation in an event's content; None if there is none, or none that is well formed.

    A mere reply has none: see :func:`reply_target`.
    """
    relates_to = _relates_to(content)
    rel_type = relates_to.get("rel_type")
    event_id = _event_id(relates_to)
    if not isinstance(rel_type, str) or event_id is None:
        return None
    key = relates_to.get("key")
    return Relation(rel_type, event_id, key if isinstance(key, str) else None)


def thread_root(content: Mapping[str, Any]) -> str | None:
    """The root of the thread that an event belongs to by its own word.

    Spec: client-server API, threading.
    """
    relation = relation_of(content)
    return relation.event_id if relation is not None and relation.rel_type == THREAD else None


def reply_target(content: Mapping[str, Any]) -> str | None:
    """The event that it replies to; None if it only says so for clients without threads.

    Spec: client-server API, rich replies; threading, fallback for unthreaded clients.
    """
    relates_to = _relates_to(content)
    if relates_to.get("rel_type") == THREAD and relates_to.get("is_falling_back") is True:
        return None
    reply = relates_to.get("m.in_reply_to")
    return _event_id(reply) if isinstance(reply, dict) else None


def is_edit(content: Mapping[str, Any]) -> bool:
    """Whether an event means to replace another; see :func:`is_valid_replacement`."""
    relation = relation_of(content)
    return relation is not None and relation.rel_type == REPLACE


def is_valid_replacement(edit: Event, original: Event) -> bool:
    """Whether an edit is one that takes effect on the original.

    Spec: client-server API, event replacements, validity of replacement events.  Of an encrypted
    edit only a client can see whether it has ``m.new_content``.
    """
    relation = relation_of(edit.content)
    return (
        relation is not None
        and relation.rel_type == REPLACE
        and relation.event_id == original.event_id
        and edit.room_id == original.room_id
        and edit.sender == original.sender
        and edit.type == original.type
        and edit.state_key is None
        and original.state_key is None
        and not is_edit(original.content)
        and (edit.type == "m.room.encrypted" or isinstance(edit.content.get("m.new_content"), dict))
    )


def latest_replacement(original: Event, edits: list[Event]) -> Event | None:
    """The valid edit that counts.  Spec: event replacements, server-side aggregation."""
    valid = [edit for edit in edits if is_valid_replacement(edit, original)]
    return max(valid, key=lambda edit: (edit.origin_server_ts, edit.event_id), default=None)


def can_be_thread_root(event: Event) -> bool:
    """Whether a thread may start from an event: not from one that itself relates to another.

    Spec: client-server API, threading.
    """
    return "rel_type" not in _relates_to(event.content)


def _relates_to(content: Mapping[str, Any]) -> Mapping[str, Any]:
    relates_to = content.get("m.relates_to")
    return relates_to if isinstance(relates_to, dict) else {}


def _event_id(value: Mapping[str, Any]) -> str | None:
    event_id = value.get("event_id")
    if isinstance(event_id, str) and event_id.startswith("$") and len(event_id) <= MAX_ID_LENGTH:
        return event_id
    return None
