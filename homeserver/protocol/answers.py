"""What reactions, votes and answers to invitations say, in a word: what they are counted by.

Spec: client-server API, event annotations; MSC3381, polls, in both of its spellings; Comity's
``dev.comity.rsvp``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from homeserver.protocol.events import Event
from homeserver.protocol.relations import ANNOTATION

POLL_STARTS = ("org.matrix.msc3381.poll.start", "m.poll.start")
POLL_RESPONSES = ("org.matrix.msc3381.poll.response", "m.poll.response")
POLL_ENDS = ("org.matrix.msc3381.poll.end", "m.poll.end")
RESPONSE_KEYS = ("org.matrix.msc3381.poll.response", "m.selections")
RSVP = "dev.comity.rsvp"  # an event type, and the key of the answer in its content
ANSWERS = ("yes", "no", "maybe")
MAX_KEY_LENGTH = 4_000
MOST_CHOICES = 20


def relation_key(event: Event) -> str | None:
    """What an event is counted by; None for events that are not counted."""
    key: object = None
    if event.type in POLL_RESPONSES:
        selections = read_selections(event.content)
        key = json.dumps(selections, ensure_ascii=False) if selections is not None else "[]"
    elif event.type == RSVP:
        key = event.content.get(RSVP)
        key = key if key in ANSWERS else None
    else:
        relates_to = event.content.get("m.relates_to")
        if isinstance(relates_to, dict) and relates_to.get("rel_type") == ANNOTATION:
            key = relates_to.get("key")
    if not isinstance(key, str) or len(key) > MAX_KEY_LENGTH or "\0" in key:
        return None
    return key


def read_selections(content: Mapping[str, Any]) -> list[str] | None:
    """The choices that a response takes; None if it is malformed, which spoils the vote."""
    block = content.get(RESPONSE_KEYS[0])
    choices = block.get("answers") if isinstance(block, dict) else content.get(RESPONSE_KEYS[1])
    if not isinstance(choices, list):
        return None
    return [choice for choice in choices[:MOST_CHOICES] if isinstance(choice, str)]


def selections_of(key: str | None) -> list[str]:
    """The choices of a vote as :func:`relation_key` gave them."""
    try:
        choices = json.loads(key) if key else []
    except ValueError:
        return []
    if not isinstance(choices, list):
        return []
    return [choice for choice in choices[:MOST_CHOICES] if isinstance(choice, str)]
