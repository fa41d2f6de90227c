"""What is searched, and what is found."""

from __future__ import annotations

from homeserver.services.conversations.shapes.base import Shape, Sparse
from homeserver.services.conversations.shapes.messages import Message


class Highlight(Shape, frozen=True, kw_only=True):
    """A place in the message's ``text``, in characters (Unicode code points)."""

    offset: int
    length: int


class FoundIn(Shape, frozen=True, kw_only=True):
    """The conversation in which something was found."""

    id: str
    name: str | None


class FoundMessage(Sparse, frozen=True, kw_only=True):
    """A message that was found.  ``highlights``: where its text says what was searched."""

    message: Message
    conversation: FoundIn
    highlights: list[Highlight] = []
