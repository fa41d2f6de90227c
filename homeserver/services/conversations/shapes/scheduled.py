"""Messages that are sent later, and drafts of messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from homeserver.services.conversations.shapes.base import Input, Shape, Sparse
from homeserver.services.conversations.shapes.messages import (
    MAX_MENTIONS,
    Identifier,
    NewMention,
    NewMessage,
    Text,
)

ScheduledState = Literal["scheduled", "sending", "sent", "cancelled", "failed"]
Time = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class ScheduledMessage(NewMessage, frozen=True, kw_only=True, omit_defaults=True):
    """A message as it will be sent.  What its sender left out is left out."""


class Scheduled(Shape, frozen=True, kw_only=True):
    """A message that is sent at ``send_at``.

    ``message_id`` and ``conversation_id`` are known once it is ``sent``.  ``problem``: why it
    ``failed``; while it is ``scheduled``, why it could not be sent yet, and is tried again.
    """

    id: str
    state: ScheduledState
    send_at: str
    scheduled_at: str
    message: ScheduledMessage
    conversation_id: str | None = None
    message_id: str | None = None
    finished_at: str | None = None
    problem: dict[str, Any] | None = None


class NewScheduled(Input, frozen=True, kw_only=True):
    """A message, and when it is to be sent."""

    message: NewMessage
    send_at: Time


class ChangeScheduled(Input, frozen=True, kw_only=True):
    """What shall be otherwise with a message that is sent later."""

    message: NewMessage | None = None
    send_at: Time | None = None


class ScheduledQuery(Input, frozen=True, kw_only=True):
    """Which of the caller's scheduled messages."""

    conversation_id: Identifier | None = None
    state: ScheduledState | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None


class Draft(Sparse, frozen=True, kw_only=True):
    """What somebody has begun to write in a conversation.  Their devices share it."""

    conversation_id: str
    updated_at: str
    text: str = ""
    format: Literal["plain", "markdown", "html"] = "plain"
    mentions: list[NewMention] = []
    media_id: str | None = None
    reply_to: str | None = None
    thread: str | None = None
    custom: dict[str, Any] | None = None


class NewDraft(Input, frozen=True, kw_only=True):
    """A draft, as a whole."""

    text: Text = ""
    format: Literal["plain", "markdown", "html"] = "plain"
    mentions: Annotated[list[NewMention], msgspec.Meta(max_length=MAX_MENTIONS)] = []
    media_id: Identifier | None = None
    reply_to: Identifier | None = None
    thread: Identifier | None = None
    custom: dict[str, Any] | None = None


class PageQuery(Input, frozen=True, kw_only=True):
    """A page of a list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None
