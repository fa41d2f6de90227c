"""Polls: how they are written into events, and read.  Spec: MSC3381, in both of its spellings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.services.conversations.keys import EXTENSIBLE_TEXTS
from homeserver.services.conversations.reading import (
    as_dict,
    as_text,
    extensible_text,
    fallback_text,
)
from homeserver.services.conversations.shapes.messages import MAX_CHOICES, Choice, Poll

POLL_KEYS = ("org.matrix.msc3381.poll.start", "m.poll")
UNDISCLOSED = ("org.matrix.msc3381.poll.undisclosed", "m.undisclosed")


def read_poll(content: Mapping[str, Any]) -> Poll | None:
    """The poll that an event starts, without votes; None if it has no question or no choices."""
    poll = as_dict(content.get(POLL_KEYS[0]) or content.get(POLL_KEYS[1]))
    question = fallback_text(as_dict(poll.get("question")))
    choices = [choice for answer in _list(poll.get("answers")) if (choice := _choice(answer))]
    if question is None or not choices:
        return None
    most = poll.get("max_selections", 1)
    kind = poll.get("kind")
    return Poll(
        question=question,
        choices=list({choice.id: choice for choice in choices}.values()),
        multiple=min(max(most, 1), len(choices)) if type(most) is int else 1,
        hidden=isinstance(kind, str) and kind in UNDISCLOSED,
        closed=False,
    )


def _list(value: object) -> list[Any]:
    return value[:MAX_CHOICES] if isinstance(value, list) else []


def _choice(value: object) -> Choice | None:
    fields = as_dict(value)
    identifier = as_text(fields.get("id")) or as_text(fields.get("m.id"))
    text = next(
        (text for key in EXTENSIBLE_TEXTS if (text := extensible_text(fields.get(key)))), None
    )
    if identifier is None or text is None:
        return None
    return Choice(id=identifier, text=text)
