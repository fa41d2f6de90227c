"""Messages: what the API answers with, and what it takes.

What depends on the reader (``mine``, ``status``) is left out where all readers get the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from homeserver.services.conversations.shapes.base import Input, Shape, Sparse
from homeserver.services.conversations.shapes.delivery import State
from homeserver.services.conversations.shapes.media import Media

Kind = Literal[
    "text",
    "image",
    "video",
    "audio",
    "voice",
    "file",
    "location",
    "contact",
    "poll",
    "event",
    "call",
    "system",
    "sticker",
    "encrypted",
    "unknown",
]
SendKind = Literal[
    "text",
    "image",
    "video",
    "audio",
    "voice",
    "file",
    "location",
    "contact",
    "poll",
    "event",
    "sticker",
    "encrypted",
]
Answer = Literal["yes", "no", "maybe"]
ConversationKind = Literal["direct", "group", "self"]
Outcome = Literal["sent", "requested", "held"]

MAX_TEXT = 40_000  # characters; an event as a whole has 65,536 bytes
MAX_ID = 255
MAX_CHOICES = 20
MAX_MENTIONS = 100
MAX_CUSTOM_BYTES = 8_192

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Long = Annotated[str, msgspec.Meta(max_length=4_000)]
NO_CONTROLS = r"^[^\x00-\x1f]*$"
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID, pattern=NO_CONTROLS)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
ClientId = Identifier

# ---------------------------------------------------------------- what is answered


class Mention(Sparse, frozen=True, kw_only=True):
    """A person whom a message names.  Offset and length count Unicode code points of ``text``;
    without them the message names the person, and does not say where."""

    person: str
    offset: int | None = None
    length: int | None = None


class Location(Sparse, frozen=True, kw_only=True):
    """A place on earth, in degrees (WGS 84)."""

    latitude: float
    longitude: float
    description: str | None = None


class ContactCard(Sparse, frozen=True, kw_only=True):
    """Somebody's card.  ``address``: where messages reach them, if it is known."""

    name: str
    address: str | None = None
    phones: list[str] = []
    emails: list[str] = []


class Choice(Sparse, frozen=True, kw_only=True):
    """A choice of a poll.  ``votes`` is left out while the results are not shown."""

    id: str
    text: str
    votes: int | UnsetType = UNSET


class Poll(Sparse, frozen=True, kw_only=True):
    """A poll.  ``multiple``: how many choices a person may take.  ``hidden``: nobody is shown the
    results before it is closed.  ``mine``: the caller's choices."""

    question: str
    choices: list[Choice]
    multiple: int
    hidden: bool
    closed: bool
    voters: int | UnsetType = UNSET
    mine: list[str] | UnsetType = UNSET


class Rsvp(Sparse, frozen=True, kw_only=True):
    """How many people gave which answer to an invitation."""

    yes: int
    no: int
    maybe: int


class Happening(Sparse, frozen=True, kw_only=True):
    """An event in the sense of a calendar.  ``mine``: the caller's answer."""

    title: str
    starts_at: str
    ends_at: str | None = None
    place: str | None = None
    description: str | None = None
    rsvp: Rsvp | UnsetType = UNSET
    mine: Answer | UnsetType | None = UNSET


class CallNote(Sparse, frozen=True, kw_only=True):
    """A call that was begun in a conversation."""

    id: str
    media: Literal["audio", "video"] = "audio"
    rings_ms: int | None = None


class System(Sparse, frozen=True, kw_only=True):
    """Something that happened to the conversation.  ``person``: whom it is about."""

    what: str
    person: str | None = None
    value: str | None = None
    previous: str | None = None
    reason: str | None = None


class Reaction(Sparse, frozen=True, kw_only=True):
    """How many people reacted with a key.  ``mine``: whether the caller is one of them."""

    key: str
    count: int
    mine: bool | UnsetType = UNSET


class Forwarded(Sparse, frozen=True, kw_only=True):
    """Where a forwarded message came from, in the word of who forwarded it."""

    from_person: str | None = msgspec.field(default=None, name="from")
    sent_at: str | None = None


class Deleted(Sparse, frozen=True, kw_only=True):
    """That a message is gone.  ``reason``: also ``expired`` and ``viewed``."""

    at: str | None = None
    by: str | None = None
    reason: str | None = None


class Expires(Sparse, frozen=True, kw_only=True):
    """When a message ends.  ``at`` is known where the time runs from the sending."""

    after_ms: int
    from_: Literal["sent", "read"] = msgspec.field(name="from")
    at: str | None = None


class Thread(Shape, frozen=True, kw_only=True):
    """The replies that hang on a message."""

    replies: int
    last_reply_id: str
    last_reply_at: str


class Status(Sparse, frozen=True, kw_only=True):
    """How far a message of the caller's has come: the least of all recipients.

    ``delivered``: to how many recipients' devices; ``read``: by how many; in large groups only
    ``read`` is counted.  ``reason``: what stands in its way, where it is ``pending``.
    """

    state: State
    recipients: int | None = None
    delivered: int | None = None
    read: int | None = None
    reason: str | None = None


class Message(Sparse, frozen=True, kw_only=True):
    """A message.  What it does not have is left out.

    ``reply_to``: the message that it answers; ``thread``: the message on which its thread hangs;
    ``replies``: what hangs on this one.  ``custom``: the sending application's own data.
    ``label``: where it comes from, as the program says that posted it in the sender's name.
    """

    id: str
    conversation_id: str
    position: int
    sender: str
    sent_at: str
    kind: Kind
    client_id: str | None = None  # of the caller's own device
    text: str | None = None
    html: str | None = None
    mentions: list[Mention] = []
    mentions_all: bool = False
    emote: bool = False  # the text says what the sender does
    media: Media | None = None
    location: Location | None = None
    contact: ContactCard | None = None
    poll: Poll | None = None
    event: Happening | None = None
    call: CallNote | None = None
    system: System | None = None
    encrypted: dict[str, Any] | None = None
    reply_to: str | None = None
    thread: str | None = None
    replies: Thread | None = None
    reactions: list[Reaction] = []
    edited_at: str | None = None
    forwarded: Forwarded | None = None
    deleted: Deleted | None = None
    expires: Expires | None = None
    view_once: bool = False
    status: Status | None = None
    custom: dict[str, Any] | None = None
    label: str | None = None


class Edit(Sparse, frozen=True, kw_only=True):
    """One version of a message.  The first is the message as it was sent."""

    id: str
    at: str
    message: Message


class Reactor(Shape, frozen=True, kw_only=True):
    """Who reacted, with what, and when."""

    person: str
    key: str
    at: str


class Voter(Shape, frozen=True, kw_only=True):
    """Who voted for what."""

    person: str
    choices: list[str]
    at: str


class Guest(Shape, frozen=True, kw_only=True):
    """Who answered an invitation, and what."""

    person: str
    answer: Answer
    at: str


class SentTo(Shape, frozen=True, kw_only=True):
    """The conversation that a message went to.  ``created``: with this message."""

    id: str
    kind: ConversationKind
    created: bool


class MessagePage(Shape, frozen=True, kw_only=True):
    """A part of a conversation, the newest message first.

    ``next``: the cursor of what is older; null where the conversation begins.  ``previous``: of
    what is newer; it is always there, since there may be more at any time.
    """

    items: list[Message]
    next: str | None
    previous: str


class Sent(Sparse, frozen=True, kw_only=True):
    """What became of a message: ``sent``; ``requested``: the recipient is asked first whether they
    want to hear from the sender; ``held``: a moderator looks at it first."""

    message: Message
    conversation: SentTo
    outcome: Outcome
    detail: str | None = None


class ForwardedTo(Sparse, frozen=True, kw_only=True):
    """What became of a message in one of the conversations that it was forwarded to.

    ``to``: the person or conversation, as the caller named it.  Either ``sent``, or ``problem``:
    problem details.
    """

    to: str
    sent: Sent | None = None
    problem: dict[str, Any] | None = None


class ForwardResult(Shape, frozen=True, kw_only=True):
    """What became of a message that was forwarded, in the order of the request."""

    items: list[ForwardedTo]


class ReadState(Shape, frozen=True, kw_only=True):
    """Up to which message the caller has read; null in an empty conversation."""

    message_id: str | None


# ---------------------------------------------------------------- what is taken


class NewMention(Input, frozen=True, kw_only=True):
    """A person whom a message names, with the place in ``text``."""

    person: Identifier
    offset: Count | None = None
    length: Count | None = None


class NewMedia(Input, frozen=True, kw_only=True):
    """A file that was uploaded before, with what the sender knows of it."""

    id: Identifier
    name: Line | None = None
    mime_type: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    size: Count | None = None
    width: Count | None = None
    height: Count | None = None
    duration_ms: Count | None = None
    thumbnail_id: Identifier | None = None
    waveform: (
        Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=1024)]], msgspec.Meta(max_length=256)]
        | None
    ) = None
    blurhash: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    encryption: dict[str, Any] | None = None


class NewLocation(Input, frozen=True, kw_only=True):
    """A place on earth, in degrees (WGS 84)."""

    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    description: Long | None = None


class NewContactCard(Input, frozen=True, kw_only=True):
    """Somebody's card."""

    name: Line
    address: Identifier | None = None
    phones: Annotated[list[Line], msgspec.Meta(max_length=20)] = []
    emails: Annotated[list[Line], msgspec.Meta(max_length=20)] = []


class NewChoice(Input, frozen=True, kw_only=True):
    """A choice of a poll.  Without an ID it gets one."""

    text: Line
    id: Key | None = None


class NewPoll(Input, frozen=True, kw_only=True):
    """A poll.  ``multiple``: how many choices a person may take."""

    question: Line
    choices: Annotated[list[NewChoice], msgspec.Meta(min_length=1, max_length=MAX_CHOICES)]
    multiple: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] = 1
    hidden: bool = False


class NewHappening(Input, frozen=True, kw_only=True):
    """An event to which the members are invited."""

    title: Line
    starts_at: Identifier
    ends_at: Identifier | None = None
    place: Line | None = None
    description: Long | None = None


class NewExpires(Input, frozen=True, kw_only=True):
    """When a message ends: so long after it was sent, or first read."""

    after_ms: Annotated[int, msgspec.Meta(ge=1_000, le=365 * 24 * 3_600_000)]
    from_: Literal["sent", "read"] = msgspec.field(default="sent", name="from")


class NewForwarded(Input, frozen=True, kw_only=True):
    """Where a message came from that is passed on."""

    from_person: Identifier | None = msgspec.field(default=None, name="from")
    sent_at: Identifier | None = None


class NewMessage(Input, frozen=True, kw_only=True):
    """A message to be sent.

    ``to``: a person's address, or ``conversation_id``; neither where the path says it.
    ``format`` says what ``text`` is; ``html`` goes beside a plain ``text``.  ``media_id`` is short
    for ``media: {"id": ...}``; the text of a file is its caption.  ``client_id``: the same one
    again from the same device sends nothing, and answers with the first message.
    """

    to: Identifier | None = None
    conversation_id: Identifier | None = None
    client_id: ClientId | None = None
    kind: SendKind = "text"
    text: Text | None = None
    format: Literal["plain", "markdown", "html"] = "plain"
    html: Text | None = None
    mentions: Annotated[list[NewMention], msgspec.Meta(max_length=MAX_MENTIONS)] = []
    mentions_all: bool = False
    media_id: Identifier | None = None
    media: NewMedia | None = None
    location: NewLocation | None = None
    contact: NewContactCard | None = None
    poll: NewPoll | None = None
    event: NewHappening | None = None
    reply_to: Identifier | None = None
    thread: Identifier | None = None
    expires: NewExpires | None = None
    view_once: bool = False
    custom: dict[str, Any] | None = None
    encrypted: dict[str, Any] | None = None
    allow_unencrypted: bool = False  # also in an encrypted conversation


class EditMessage(Input, frozen=True, kw_only=True):
    """What a message shall say from now on: its text, or, of an encrypted one, its ciphertext."""

    text: Text | None = None
    format: Literal["plain", "markdown", "html"] = "plain"
    html: Text | None = None
    mentions: Annotated[list[NewMention], msgspec.Meta(max_length=MAX_MENTIONS)] = []
    mentions_all: bool = False
    location: NewLocation | None = None
    contact: NewContactCard | None = None
    event: NewHappening | None = None
    custom: dict[str, Any] | None = None
    encrypted: dict[str, Any] | None = None


class NewVote(Input, frozen=True, kw_only=True):
    """The choices that the caller takes, in place of any before; none takes the vote back."""

    choices: Annotated[list[Key], msgspec.Meta(max_length=MAX_CHOICES)]


class NewAnswer(Input, frozen=True, kw_only=True):
    """The caller's answer to an invitation, in place of any before."""

    answer: Answer


class Forward(Input, frozen=True, kw_only=True):
    """Where a message shall be forwarded to."""

    conversation_ids: Annotated[list[Identifier], msgspec.Meta(max_length=20)] = []
    to: Annotated[list[Identifier], msgspec.Meta(max_length=20)] = []


class MarkRead(Input, frozen=True, kw_only=True):
    """Up to which message the caller has read; without one: all.  ``private``: others are not
    told."""

    message_id: Identifier | None = None
    thread: Identifier | None = None
    private: bool = False
