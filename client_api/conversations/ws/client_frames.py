"""What a client sends over the WebSocket: one type per frame, told apart by ``type``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeserver.services.conversations.shapes.base import Input
from homeserver.services.conversations.shapes.messages import (
    ClientId,
    EditMessage,
    Identifier,
    Key,
    NewMessage,
)

Position = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class HelloFrame(Input, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    """The first frame of a client that could not send headers.

    ``since``: the last position that it has; ``user``: for whom an application acts.
    """

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]
    since: Position | None = None
    user: Identifier | None = None


class SendFrame(NewMessage, frozen=True, kw_only=True, tag_field="type", tag="send"):
    """Send a message: the fields of ``POST /messages``.  The same ``client_id`` again, over this
    socket, another one of the device or REST, gives the same message."""


class EditFrame(EditMessage, frozen=True, kw_only=True, tag_field="type", tag="edit"):
    """Edit a message of one's own."""

    client_id: ClientId
    conversation_id: Identifier
    message_id: Identifier


class ReactFrame(Input, frozen=True, kw_only=True, tag_field="type", tag="react"):
    """React to a message, or, with ``remove``, take the reaction back."""

    client_id: ClientId
    conversation_id: Identifier
    message_id: Identifier
    key: Key
    remove: bool = False


class DeleteFrame(Input, frozen=True, kw_only=True, tag_field="type", tag="delete"):
    """Delete a message for everybody, or for oneself alone."""

    client_id: ClientId
    conversation_id: Identifier
    message_id: Identifier
    scope: Literal["everybody", "me"] = "everybody"
    reason: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class ReadFrame(Input, frozen=True, kw_only=True, tag_field="type", tag="read"):
    """Mark a conversation as read: up to a message, or all of it.  ``private``: others are not
    told."""

    conversation_id: Identifier
    message_id: Identifier | None = None
    thread: Identifier | None = None
    private: bool = False
    client_id: ClientId | None = None


class TypingFrame(Input, frozen=True, kw_only=True, tag_field="type", tag="typing"):
    """The user types; good for 10 seconds."""

    conversation_id: Identifier
    typing: bool = True
    client_id: ClientId | None = None


class PresenceFrame(Input, frozen=True, kw_only=True, tag_field="type", tag="presence"):
    """How the user is, and what they say of it; a text that is not named stays."""

    state: Literal["online", "away", "busy", "offline"] = "online"
    text: Annotated[str, msgspec.Meta(max_length=1000)] | msgspec.UnsetType | None = msgspec.UNSET
    client_id: ClientId | None = None


class AckFrame(Input, frozen=True, kw_only=True, tag_field="type", tag="ack"):
    """This device has everything up to a position."""

    position: Position


class PingFrame(Input, frozen=True, kw_only=True, tag_field="type", tag="ping"):
    """A sign of life, for clients that cannot send WebSocket pings; answered with ``pong``."""

    client_id: ClientId | None = None


ClientFrame = (
    HelloFrame
    | SendFrame
    | EditFrame
    | ReactFrame
    | DeleteFrame
    | ReadFrame
    | TypingFrame
    | PresenceFrame
    | AckFrame
    | PingFrame
)
