"""What happens, as the API tells it: over WebSocket, server-sent events, webhooks, GraphQL.

An update that is durable has a ``position``: that of the log record from which it is made.  One
that has none (typing, presence) is of the moment, and is not told again.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from homeserver.services.conversations.shapes.base import Sparse
from homeserver.services.conversations.shapes.calls import Call, EndReason, SessionDescription
from homeserver.services.conversations.shapes.conversations import State
from homeserver.services.conversations.shapes.messages import Answer, Message
from homeserver.services.conversations.shapes.scheduled import Draft

Membership = Literal["joined", "invited", "requested", "left", "removed", "banned"]
RequestState = Literal["pending", "accepted", "declined", "blocked", "expired"]


class AnyUpdate(Sparse, frozen=True, kw_only=True, tag_field="type", tag="update"):
    """What all updates have in common."""

    needs: ClassVar[str] = "messages:read"
    """Which scope a token needs to be told of it."""

    position: int | None = None
    conversation_id: str | None = None


# ---------------------------------------------------------------- messages


class MessageCreated(AnyUpdate, frozen=True, kw_only=True, tag="message.created"):
    """A message came."""

    message: Message


class MessageUpdated(AnyUpdate, frozen=True, kw_only=True, tag="message.updated"):
    """A message was edited, its last edit was taken back, or its poll was closed.

    Reactions and votes are not counted again here.
    """

    message: Message


class MessageDeleted(AnyUpdate, frozen=True, kw_only=True, tag="message.deleted"):
    """A message was deleted for everybody."""

    message_id: str
    by: str
    at: str
    reason: str | None = None


class MessageExpired(AnyUpdate, frozen=True, kw_only=True, tag="message.expired"):
    """Messages ended by themselves: their time is up, or they were to be viewed once."""

    message_ids: list[str]
    reason: Literal["expired", "viewed"] = "expired"


class MessagesHidden(AnyUpdate, frozen=True, kw_only=True, tag="messages.hidden"):
    """What the reader has deleted for themselves in a conversation, as it now stands."""

    message_ids: list[str]


class ReactionAdded(AnyUpdate, frozen=True, kw_only=True, tag="reaction.added"):
    """Somebody reacted to a message."""

    reaction_id: str
    message_id: str
    person: str
    key: str
    at: str


class ReactionRemoved(AnyUpdate, frozen=True, kw_only=True, tag="reaction.removed"):
    """A reaction was taken back.  Of one that is long gone only its ID is known."""

    reaction_id: str
    message_id: str | None = None
    person: str | None = None
    key: str | None = None


class PollVoted(AnyUpdate, frozen=True, kw_only=True, tag="poll.voted"):
    """Somebody voted, in place of any vote before.  While a poll hides its results, nobody is told
    for what: ``choices`` is null."""

    message_id: str
    person: str
    at: str
    choices: list[str] | None = None


class EventAnswered(AnyUpdate, frozen=True, kw_only=True, tag="event.answered"):
    """Somebody answered an invitation to an event."""

    message_id: str
    person: str
    answer: Answer
    at: str


class ReceiptRead(AnyUpdate, frozen=True, kw_only=True, tag="receipt.read"):
    """Somebody has read up to a message.  ``private``: the reader alone is told."""

    person: str
    message_id: str
    at: str
    thread: str | None = None
    private: bool = False


# ---------------------------------------------------------------- calls


class CallRinging(AnyUpdate, frozen=True, kw_only=True, tag="call.ringing"):
    """Somebody calls.  ``message``: the same in the conversation's list of messages."""

    call: Call
    message: Message


class CallAnswered(AnyUpdate, frozen=True, kw_only=True, tag="call.answered"):
    """A device answered; of several the first has the call.  ``device``: as the call names it."""

    call_id: str
    person: str
    device: str
    answer: SessionDescription
    at: str


class CallCandidates(AnyUpdate, frozen=True, kw_only=True, tag="call.candidates"):
    """More ways to reach a device that is in a call."""

    call_id: str
    person: str
    device: str
    candidates: list[dict[str, Any]]


class CallDeclined(AnyUpdate, frozen=True, kw_only=True, tag="call.declined"):
    """Somebody declined a call, on all their devices."""

    call_id: str
    person: str
    at: str


class CallEnded(AnyUpdate, frozen=True, kw_only=True, tag="call.ended"):
    """Somebody ended a call, or stopped ringing: read it for how it stands."""

    call_id: str
    person: str
    reason: EndReason
    at: str


# ---------------------------------------------------------------- conversations


class MemberNote(Sparse, frozen=True, kw_only=True):
    """Somebody's place in a conversation."""

    person: str
    state: Membership
    name: str | None = None
    by: str | None = None
    reason: str | None = None


class MemberUpdated(AnyUpdate, frozen=True, kw_only=True, tag="member.updated"):
    """Somebody came, went, was invited or removed, or changed their name or picture.

    ``message``: the same in the conversation's list of messages.
    """

    member: MemberNote
    message: Message | None = None


class ConversationNote(Sparse, frozen=True, kw_only=True):
    """A conversation in short; read it for the rest."""

    id: str
    state: State
    by: str | None = None
    reason: str | None = None


class ConversationCreated(AnyUpdate, frozen=True, kw_only=True, tag="conversation.created"):
    """The reader has a conversation that they did not have: they joined, or are invited."""

    conversation: ConversationNote


class ConversationUpdated(AnyUpdate, frozen=True, kw_only=True, tag="conversation.updated"):
    """The reader's place in a conversation changed (``conversation``), or what all see of it
    (``changed``: what to read again; ``message``: the same in the list of messages)."""

    conversation: ConversationNote | None = None
    changed: str | None = None
    message: Message | None = None


class ConversationRemoved(AnyUpdate, frozen=True, kw_only=True, tag="conversation.removed"):
    """The reader is out of a conversation, and hears no more of it."""

    conversation: ConversationNote


class ConversationSettings(AnyUpdate, frozen=True, kw_only=True, tag="conversation.settings"):
    """The reader pinned or archived a conversation, or no longer does, on any of their devices."""

    pinned: bool
    archived: bool


class SettingsUpdated(AnyUpdate, frozen=True, kw_only=True, tag="settings.updated"):
    """Something of the reader's own changed, on any of their devices: read it again.

    ``what``: ``notifications`` (what is muted), ``blocked``, ``contacts`` (notes on them), or the
    name of other data.
    """

    what: str


class DraftUpdated(AnyUpdate, frozen=True, kw_only=True, tag="draft.updated"):
    """The reader's draft in a conversation; null once it is gone."""

    draft: Draft | None = None


# ---------------------------------------------------------------- people


class RequestNote(Sparse, frozen=True, kw_only=True):
    """Somebody who asks for the reader's consent to write to them."""

    person: str
    state: RequestState
    conversation_id: str
    at: str
    expires_at: str | None = None


class RequestCreated(AnyUpdate, frozen=True, kw_only=True, tag="request.created"):
    """Somebody whom the reader does not know wants to write to them."""

    needs: ClassVar[str] = "consent"

    request: RequestNote


class RequestUpdated(AnyUpdate, frozen=True, kw_only=True, tag="request.updated"):
    """A request was answered, or its time is up."""

    needs: ClassVar[str] = "consent"

    request: RequestNote


class ConsentUpdated(AnyUpdate, frozen=True, kw_only=True, tag="consent.updated"):
    """The reader allowed or refused something.  ``peer``: an address, an instance's name, or a
    group of people such as ``tier:stranger``."""

    needs: ClassVar[str] = "consent"

    peer: str
    scope: str
    state: str
    expires_at: str | None = None


# ---------------------------------------------------------------- of the moment


class Typing(AnyUpdate, frozen=True, kw_only=True, tag="typing"):
    """Somebody began to type, or stopped."""

    person: str
    typing: bool


class PresenceChanged(AnyUpdate, frozen=True, kw_only=True, tag="presence"):
    """Somebody came online, went away, or says how they are."""

    needs: ClassVar[str] = "presence"

    person: str
    state: str
    text: str | None = None
    last_seen_at: str | None = None


class MessageStatus(AnyUpdate, frozen=True, kw_only=True, tag="message.status"):
    """How far a message of the reader's has come."""

    message_id: str
    recipient: str
    status: str
    reason: str | None = None
    at: str | None = None


class KeysLow(AnyUpdate, frozen=True, kw_only=True, tag="keys.low"):
    """A device of the reader's has few one-time pre-keys left."""

    needs: ClassVar[str] = "keys"

    device_id: str
    remaining: int


class DeviceMessage(AnyUpdate, frozen=True, kw_only=True, tag="device.message"):
    """A message to the reader's device from another.  It waits until it is acknowledged."""

    needs: ClassVar[str] = "keys"

    sender: str
    kind: str
    content: dict[str, Any]


class Reset(AnyUpdate, frozen=True, kw_only=True, tag="reset"):
    """What happened since the position that was asked for cannot be told: read everything anew,
    and go on from ``position``."""

    reason: Literal["unknown_position", "too_much", "failed"]
