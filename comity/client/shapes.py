"""The API's objects.  Made by ``python -m tools.generate_client``: do not edit."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Acceptance(TypedDict):
    """Let somebody in; ``join`` false: without joining the conversation yet."""

    join: NotRequired[bool]


class Acknowledgement(TypedDict):
    """Up to where the device has its messages: they are deleted here."""

    position: int


class Addressed(TypedDict):
    """To how many addressees messages went."""

    addressed: int


class Answered(TypedDict):
    """How many requests were answered, and the conversations that were joined by it.

    ``failed``: conversations that could not be joined; their people are let in all the same.
    """

    answered: int
    joined: list[str]
    failed: list[str]


class AnswersChange(TypedDict):
    """New answers in one matter: a preset, or answers for some tiers."""

    preset: NotRequired[Literal["ask", "closed", "known", "open"] | None]
    answers: NotRequired[dict[str, Literal["allow", "ask", "block"]] | None]


class ApplicationInfo(TypedDict):
    """An application. ``user_patterns``: the user names that are its users'."""

    id: str
    name: str
    user_patterns: list[str]
    scopes: list[str]
    may_create_users: bool
    bot: str | None
    created_at: str


class Availability(TypedDict):
    """Whether an account of that name could be made; its address."""

    available: bool
    address: str | None
    reason: str | None


class Blocked(TypedDict):
    """Somebody whom the caller has blocked."""

    person: Person
    since: str | None


class BundleRequest(TypedDict):
    """Whose keys are wanted. ``device_ids``: only of these devices of one person."""

    people: list[str]
    device_ids: NotRequired[list[str] | None]
    pre_keys: NotRequired[bool]


class Bundles(TypedDict):
    """The bundles that were asked for."""

    items: list[PersonBundles]
    failures: list[Unreachable]


class Call(TypedDict):
    """A call.

    ``started_by``: who calls; ``person``: who is called, null where anybody may answer.
    ``device``, ``answered_device``: which of their devices are in it, as each call names
    them. ``offer`` and ``answer`` are there until the call is over.
    """

    id: str
    conversation_id: str
    message_id: str
    state: Literal["active", "declined", "ended", "failed", "missed", "ringing"]
    media: Literal["audio", "video"]
    started_by: str
    started_at: str
    rings_until: str
    device: str
    person: NotRequired[str | None]
    offer: NotRequired[SessionDescription | None]
    answered_at: NotRequired[str | None]
    answered_by: NotRequired[str | None]
    answered_device: NotRequired[str | None]
    answer: NotRequired[SessionDescription | None]
    ended_at: NotRequired[str | None]
    ended_by: NotRequired[str | None]
    end_reason: NotRequired[
        Literal[
            "busy",
            "cancelled",
            "connection_failed",
            "declined",
            "error",
            "hung_up",
            "media_failed",
            "no_answer",
        ]
        | None
    ]
    duration_ms: NotRequired[int | None]


class CallNote(TypedDict):
    """A call that was begun in a conversation."""

    id: str
    media: NotRequired[Literal["audio", "video"]]
    rings_ms: NotRequired[int | None]


class Cancelled(TypedDict):
    """A message that was taken back. ``reached``: the instances that had it, which were asked
    to delete it; empty: nobody else ever gets what it said.
    """

    message_id: str
    reached: NotRequired[list[str]]


class Change(TypedDict):
    """A change there once was; ``state`` ``cleared`` took something back."""

    peer: str
    scope: Literal[
        "call", "federation", "group", "media", "message", "presence", "receipts", "typing"
    ]
    state: Literal["asked", "cleared", "denied", "granted", "revoked"]
    at: str
    by: str
    how: str
    expires_at: str | None


class ChangeScheduled(TypedDict):
    """What shall be otherwise with a message that is sent later."""

    message: NotRequired[NewMessage | None]
    send_at: NotRequired[str | None]


class Choice(TypedDict):
    """A choice of a poll. ``votes`` is left out while the results are not shown."""

    id: str
    text: str
    votes: NotRequired[int]


class ConsentShown(TypedDict):
    """What the user answers to whom they have not answered themselves."""

    scopes: dict[str, ScopeAnswers]
    other_instances: OtherInstances
    presets: dict[str, dict[str, Literal["allow", "ask", "block"]]]


class Contact(TypedDict):
    """Somebody who may write to the caller. ``note``: the caller's own."""

    person: Person
    note: str | None
    since: str | None


class ContactCard(TypedDict):
    """Somebody's card. ``address``: where messages reach them, if it is known."""

    name: str
    address: NotRequired[str | None]
    phones: NotRequired[list[str]]
    emails: NotRequired[list[str]]


class Conversation(TypedDict):
    """A conversation as the caller sees it.

    ``peer``: the other person of a direct one. ``muted``: true, false, or the time until
    which. ``position``: of the last thing that happened in it.
    """

    id: str
    kind: Literal["direct", "group", "self"]
    state: Literal["active", "asked", "invited", "left", "requested"]
    name: str | None
    description: str | None
    avatar: str | None
    peer: Person | None
    member_count: int
    my_role: Literal["admin", "member", "owner"]
    my_permissions: list[
        Literal[
            "administer",
            "change_settings",
            "delete_messages",
            "invite",
            "moderate",
            "remove",
            "send",
        ]
    ]
    unread: Unread
    last_message: Message | None
    last_activity_at: str | None
    muted: bool | str
    pinned: bool
    archived: bool
    encrypted: bool
    history: Literal["all", "since_invitation", "since_joining"]
    join: Literal["approval", "invite", "open"]
    permissions: Permissions
    invited_by: Person | None
    created_at: str | None


class ConversationChange(TypedDict):
    """What is to be different; null takes a name, description or picture away.

    ``encrypted`` can be switched on, never off.
    """

    name: NotRequired[str | None]
    description: NotRequired[str | None]
    avatar: NotRequired[str | None]
    history: NotRequired[Literal["all", "since_invitation", "since_joining"]]
    join: NotRequired[Literal["approval", "invite", "open"]]
    encrypted: NotRequired[bool]
    permissions: NotRequired[PermissionsChange]


class Counts(TypedDict):
    """How many recipients a message has, and how many are at each status, and not further."""

    recipients: int
    pending: int
    sent: int
    delivered_to_instance: int
    delivered_to_device: int
    read: int


class CurrentSession(TypedDict):
    """Whose access token it is, and of which device.

    ``fresh_until``: until then what needs a proof needs none, for the user has just signed
    in.
    """

    person: Person
    device: Device | None
    application_id: str | None
    is_admin: bool
    fresh_until: str | None


class Deleted(TypedDict):
    """That a message is gone. ``reason``: also ``expired`` and ``viewed``."""

    at: NotRequired[str | None]
    by: NotRequired[str | None]
    reason: NotRequired[str | None]


class Deletion(TypedDict):
    """The end of an account.

    ``erase``: what the user wrote and uploaded goes too, as far as nobody else has a claim
    to it.
    """

    password: NotRequired[str | None]
    jwt: NotRequired[str | None]
    login_token: NotRequired[str | None]
    erase: NotRequired[bool]


class DeliveryInfo(TypedDict):
    """Something that was, or is to be, sent. ``id``: the header `webhook-id`.

    ``state``: pending; delivered; failed, after three days; gone: what happened was deleted
    before it could be told. ``response_status``, ``latency_ms`` and ``error`` are of the
    last attempt.
    """

    id: str
    type: str
    state: Literal["delivered", "failed", "gone", "pending"]
    position: int | None
    created_at: str
    attempts: int
    last_attempt_at: str | None
    next_attempt_at: str | None
    response_status: int | None
    latency_ms: int | None
    error: str | None


class DeliveryReport(TypedDict):
    """How far a message has come.

    ``status``: the least of all recipients'. ``recipients``: a page of them, by address;
    ``next``: the cursor of those after it.
    """

    message_id: str
    status: Literal["delivered_to_device", "delivered_to_instance", "pending", "read", "sent"]
    counts: Counts
    recipients: list[RecipientStatus]
    next: str | None


class Device(TypedDict):
    """A device on which somebody is signed in."""

    id: str
    name: str | None
    last_seen_at: str | None
    last_seen_ip: str | None
    current: bool


class DeviceBundle(TypedDict):
    """What it takes to begin an encrypted session with a device.

    Either pre-key may be missing: a one-time one where none is left, the signed one of a
    device elsewhere as long as a one-time one was to be had.
    """

    device_id: str
    name: str | None
    identity_key: IdentityKey
    one_time_pre_key: PreKeyShown | None
    signed_pre_key: PreKeyShown | None


class DeviceChange(TypedDict):
    """What to call a device."""

    name: str


class DeviceMessage(TypedDict):
    """What goes to one device of somebody's, or to all of them (``*``), untouched."""

    to: str
    device_id: NotRequired[str]
    content: dict[str, Any]


class DeviceMessageShown(TypedDict):
    """A message to the caller's device."""

    position: int
    sender: str
    kind: str
    content: dict[str, Any]


class Document(TypedDict):
    """A document that newcomers accept; ``languages``: the address of its text in each."""

    name: str
    version: str
    languages: dict[str, str]


class Draft(TypedDict):
    """What somebody has begun to write in a conversation. Their devices share it."""

    conversation_id: str
    updated_at: str
    text: NotRequired[str]
    format: NotRequired[Literal["html", "markdown", "plain"]]
    mentions: NotRequired[list[NewMention]]
    media_id: NotRequired[str | None]
    reply_to: NotRequired[str | None]
    thread: NotRequired[str | None]
    custom: NotRequired[dict[str, Any] | None]


class Edit(TypedDict):
    """One version of a message. The first is the message as it was sent."""

    id: str
    at: str
    message: Message


class EditMessage(TypedDict):
    """What a message shall say from now on: its text, or, of an encrypted one, its ciphertext."""

    text: NotRequired[str | None]
    format: NotRequired[Literal["html", "markdown", "plain"]]
    html: NotRequired[str | None]
    mentions: NotRequired[list[NewMention]]
    mentions_all: NotRequired[bool]
    location: NotRequired[NewLocation | None]
    contact: NotRequired[NewContactCard | None]
    event: NotRequired[NewHappening | None]
    custom: NotRequired[dict[str, Any] | None]
    encrypted: NotRequired[dict[str, Any] | None]


class EffectivePermissions(TypedDict):
    """What a member may do."""

    person: str
    role: Literal["admin", "member", "owner"]
    permissions: list[
        Literal[
            "administer",
            "change_settings",
            "delete_messages",
            "invite",
            "moderate",
            "remove",
            "send",
        ]
    ]


class Empty(TypedDict):
    """An answer that says nothing more than that it was done."""


class EndCall(TypedDict):
    """Why a call is ended."""

    reason: NotRequired[Literal["busy", "connection_failed", "error", "hung_up", "media_failed"]]


Expires = TypedDict(
    "Expires",
    {"after_ms": "int", "from": "Literal['read', 'sent']", "at": "NotRequired[str | None]"},
)
"""When a message ends. ``at`` is known where the time runs from the sending."""


class Forward(TypedDict):
    """Where a message shall be forwarded to."""

    conversation_ids: NotRequired[list[str]]
    to: NotRequired[list[str]]


class ForwardResult(TypedDict):
    """What became of a message that was forwarded, in the order of the request."""

    items: list[ForwardedTo]


Forwarded = TypedDict(
    "Forwarded", {"from": "NotRequired[str | None]", "sent_at": "NotRequired[str | None]"}
)
"""Where a forwarded message came from, in the word of who forwarded it."""


class ForwardedTo(TypedDict):
    """What became of a message in one of the conversations that it was forwarded to.

    ``to``: the person or conversation, as the caller named it. Either ``sent``, or
    ``problem``: problem details.
    """

    to: str
    sent: NotRequired[Sent | None]
    problem: NotRequired[dict[str, Any] | None]


class FoundIn(TypedDict):
    """The conversation in which something was found."""

    id: str
    name: str | None


class FoundMessage(TypedDict):
    """A message that was found. ``highlights``: where its text says what was searched."""

    message: Message
    conversation: FoundIn
    highlights: NotRequired[list[Highlight]]


class Grant(TypedDict):
    """What the user said to one person (an address), one instance (its name), or all (``*``)."""

    peer: str
    scope: Literal[
        "call", "federation", "group", "media", "message", "presence", "receipts", "typing"
    ]
    state: Literal["asked", "denied", "granted", "revoked"]
    expires_at: str | None
    since: str | None
    how: str | None


class GrantChange(TypedDict):
    """What to say to a peer, and until when."""

    state: Literal["denied", "granted", "revoked"]
    expires_at: NotRequired[str | None]


class Guest(TypedDict):
    """Who answered an invitation, and what."""

    person: str
    answer: Literal["maybe", "no", "yes"]
    at: str


class Happening(TypedDict):
    """An event in the sense of a calendar. ``mine``: the caller's answer."""

    title: str
    starts_at: str
    ends_at: NotRequired[str | None]
    place: NotRequired[str | None]
    description: NotRequired[str | None]
    rsvp: NotRequired[Rsvp]
    mine: NotRequired[Literal["maybe", "no", "yes"] | None]


class Highlight(TypedDict):
    """A place in the message's ``text``, in characters (Unicode code points)."""

    offset: int
    length: int


class IdentityKey(TypedDict):
    """Who a device is.

    ``agreement_key``: Curve25519; ``signing_key``: Ed25519, with which the other keys are
    signed; both in base64 without padding. ``signed_by_user``: by the person's cross-signing
    keys.
    """

    device_id: str
    agreement_key: NotRequired[str | None]
    signing_key: NotRequired[str | None]
    algorithms: NotRequired[list[str]]
    signature: NotRequired[str | None]
    other_keys: NotRequired[dict[str, str]]


class IncomingInfo(TypedDict):
    """An address to post messages to, without its secret.

    ``prefix``: what the secret begins with; ``person``: as whom it writes.
    """

    id: str
    conversation_id: str
    label: str
    prefix: str
    person: str
    created_at: str
    last_used_at: str | None


class Invited(TypedDict):
    """What became of people who were to be added, in the order in which they were named."""

    members: list[Member]
    problems: list[MemberProblem]


class JoinRequest(TypedDict):
    """Asking to be let in. ``via``: instances that may know the conversation."""

    message: NotRequired[str | None]
    via: NotRequired[list[str]]


class KeysUpload(TypedDict):
    """Keys of the caller's device to be published; what is not named stays."""

    identity_key: NotRequired[NewIdentityKey | None]
    signed_pre_key: NotRequired[PreKey | None]
    one_time_pre_keys: NotRequired[list[PreKey]]


class Link(TypedDict):
    """Addresses that need no token; a thumbnail's takes ``width`` and ``height``."""

    url: str
    thumbnail_url: str | None
    expires_at: str


class Location(TypedDict):
    """A place on earth, in degrees (WGS 84)."""

    latitude: float
    longitude: float
    description: NotRequired[str | None]


class MadeIncoming(TypedDict):
    """A new address to post messages to: ``url`` is shown this once."""

    url: str
    info: IncomingInfo


class MadeToken(TypedDict):
    """A new API token: ``token`` is shown this once."""

    token: str
    info: TokenInfo


class MadeWebhook(TypedDict):
    """A new webhook, or one with a new secret: the secret is shown this once."""

    secret: str
    info: WebhookInfo


class MarkRead(TypedDict):
    """Up to which message the caller has read; without one: all. ``private``: others are not
    told.
    """

    message_id: NotRequired[str | None]
    thread: NotRequired[str | None]
    private: NotRequired[bool]


class Me(TypedDict):
    """The caller."""

    person: Person
    status_text: str | None
    time_zone: str | None


class Media(TypedDict):
    """A file. ``encryption``: how to decrypt it, where its sender's device encrypted it."""

    id: str
    url: str
    thumbnail_url: NotRequired[str | None]
    name: NotRequired[str | None]
    mime_type: NotRequired[str | None]
    size: NotRequired[int | None]
    width: NotRequired[int | None]
    height: NotRequired[int | None]
    duration_ms: NotRequired[int | None]
    waveform: NotRequired[list[int] | None]
    blurhash: NotRequired[str | None]
    encryption: NotRequired[dict[str, Any] | None]


class Member(TypedDict):
    """Somebody's place in a conversation.

    ``state``: besides what its name says, ``inviting`` (the invitation is on its way) and
    ``not_invited`` (it could not be made: see ``problem``).
    """

    person: Person
    role: Literal["admin", "member", "owner"]
    state: Literal[
        "banned", "invited", "inviting", "joined", "left", "not_invited", "removed", "requested"
    ]
    permissions: list[
        Literal[
            "administer",
            "change_settings",
            "delete_messages",
            "invite",
            "moderate",
            "remove",
            "send",
        ]
    ]
    joined_at: NotRequired[str | None]
    invited_by: NotRequired[str | None]
    reason: NotRequired[str | None]
    problem: NotRequired[MemberProblem | None]


class MemberProblem(TypedDict):
    """Why somebody was not invited. ``code``: as in the problems of this API."""

    person: str
    code: str
    detail: str


class Mention(TypedDict):
    """A person whom a message names. Offset and length count Unicode code points of ``text``;
    without them the message names the person, and does not say where.
    """

    person: str
    offset: NotRequired[int | None]
    length: NotRequired[int | None]


class Message(TypedDict):
    """A message. What it does not have is left out.

    ``reply_to``: the message that it answers; ``thread``: the message on which its thread
    hangs; ``replies``: what hangs on this one. ``custom``: the sending application's own
    data. ``label``: where it comes from, as the program says that posted it in the sender's
    name.
    """

    id: str
    conversation_id: str
    position: int
    sender: str
    sent_at: str
    kind: Literal[
        "audio",
        "call",
        "contact",
        "encrypted",
        "event",
        "file",
        "image",
        "location",
        "poll",
        "sticker",
        "system",
        "text",
        "unknown",
        "video",
        "voice",
    ]
    client_id: NotRequired[str | None]
    text: NotRequired[str | None]
    html: NotRequired[str | None]
    mentions: NotRequired[list[Mention]]
    mentions_all: NotRequired[bool]
    emote: NotRequired[bool]
    media: NotRequired[Media | None]
    location: NotRequired[Location | None]
    contact: NotRequired[ContactCard | None]
    poll: NotRequired[Poll | None]
    event: NotRequired[Happening | None]
    call: NotRequired[CallNote | None]
    system: NotRequired[System | None]
    encrypted: NotRequired[dict[str, Any] | None]
    reply_to: NotRequired[str | None]
    thread: NotRequired[str | None]
    replies: NotRequired[Thread | None]
    reactions: NotRequired[list[Reaction]]
    edited_at: NotRequired[str | None]
    forwarded: NotRequired[Forwarded | None]
    deleted: NotRequired[Deleted | None]
    expires: NotRequired[Expires | None]
    view_once: NotRequired[bool]
    status: NotRequired[Status | None]
    custom: NotRequired[dict[str, Any] | None]
    label: NotRequired[str | None]


class MessagePage(TypedDict):
    """A part of a conversation, the newest message first.

    ``next``: the cursor of what is older; null where the conversation begins. ``previous``:
    of what is newer; it is always there, since there may be more at any time.
    """

    items: list[Message]
    next: str | None
    previous: str


class MyChanges(TypedDict):
    """What to change about oneself: what is not named stays; null takes it away."""

    name: NotRequired[str | None]
    avatar: NotRequired[str | None]
    status_text: NotRequired[str | None]
    time_zone: NotRequired[str | None]


class NewAccount(TypedDict):
    """An account to be. ``code``: an invitation, or a registration token.

    ``accept_terms``: name and version of each document that the newcomer has read.
    """

    user_name: str
    password: str
    name: NotRequired[str | None]
    code: NotRequired[str | None]
    accept_terms: NotRequired[dict[str, str]]
    device_name: NotRequired[str | None]
    refreshable: NotRequired[bool]


class NewAnswer(TypedDict):
    """The caller's answer to an invitation, in place of any before."""

    answer: Literal["maybe", "no", "yes"]


class NewCall(TypedDict):
    """A call to a person, or in a conversation.

    ``person``: who is called in a group; in a conversation between two it is the other.
    """

    offer: NewDescription
    media: Literal["audio", "video"]
    to: NotRequired[str | None]
    conversation_id: NotRequired[str | None]
    person: NotRequired[str | None]
    ring_seconds: NotRequired[int]
    allow_unencrypted: NotRequired[bool]


class NewCallAnswer(TypedDict):
    """The answer to a call."""

    answer: NewDescription


class NewCandidates(TypedDict):
    """More ways to reach the caller's device, as WebRTC's ``icecandidate`` events have them."""

    candidates: list[dict[str, Any]]


class NewChoice(TypedDict):
    """A choice of a poll. Without an ID it gets one."""

    text: str
    id: NotRequired[str | None]


class NewContact(TypedDict):
    """A contact to be added or changed; ``note`` null takes the note away."""

    note: NotRequired[str | None]


class NewContactCard(TypedDict):
    """Somebody's card."""

    name: str
    address: NotRequired[str | None]
    phones: NotRequired[list[str]]
    emails: NotRequired[list[str]]


class NewConversation(TypedDict):
    """A conversation to be made, or, of the kinds ``direct`` and ``self``, to be found.

    ``peer``: the other person of a direct one. All else is for groups.
    """

    kind: NotRequired[Literal["direct", "group", "self"]]
    peer: NotRequired[str | None]
    name: NotRequired[str | None]
    description: NotRequired[str | None]
    avatar: NotRequired[str | None]
    members: NotRequired[list[str]]
    permissions: NotRequired[PermissionsChange | None]
    history: NotRequired[Literal["all", "since_invitation", "since_joining"]]
    join: NotRequired[Literal["approval", "invite", "open"]]
    encrypted: NotRequired[bool]


class NewDescription(TypedDict):
    """What one side of a call can do: what WebRTC's ``createOffer`` or ``createAnswer`` gives."""

    sdp: str
    type: NotRequired[Literal["answer", "offer"] | None]


class NewDeviceMessages(TypedDict):
    """Messages to devices. ``kind``: says to the receiver what they are; ``encrypted`` mostly."""

    kind: NotRequired[str]
    messages: list[DeviceMessage]


class NewDraft(TypedDict):
    """A draft, as a whole."""

    text: NotRequired[str]
    format: NotRequired[Literal["html", "markdown", "plain"]]
    mentions: NotRequired[list[NewMention]]
    media_id: NotRequired[str | None]
    reply_to: NotRequired[str | None]
    thread: NotRequired[str | None]
    custom: NotRequired[dict[str, Any] | None]


NewExpires = TypedDict(
    "NewExpires", {"after_ms": "int", "from": "NotRequired[Literal['read', 'sent']]"}
)
"""When a message ends: so long after it was sent, or first read."""


class NewHappening(TypedDict):
    """An event to which the members are invited."""

    title: str
    starts_at: str
    ends_at: NotRequired[str | None]
    place: NotRequired[str | None]
    description: NotRequired[str | None]


class NewIdentityKey(TypedDict):
    """A device's identity key to be published.

    ``algorithms``: what the device speaks. ``signature``: by the signing key, over what the
    page about keys says.
    """

    agreement_key: str
    signing_key: str
    algorithms: NotRequired[list[str]]
    signature: NotRequired[str | None]


class NewIncoming(TypedDict):
    """``label``: where messages come from, as their readers are told, such as ``Build server``."""

    label: str


class NewLink(TypedDict):
    """For how many seconds the link is to be good."""

    valid_for: NotRequired[int]


class NewLocation(TypedDict):
    """A place on earth, in degrees (WGS 84)."""

    latitude: float
    longitude: float
    description: NotRequired[str | None]


class NewMedia(TypedDict):
    """A file that was uploaded before, with what the sender knows of it."""

    id: str
    name: NotRequired[str | None]
    mime_type: NotRequired[str | None]
    size: NotRequired[int | None]
    width: NotRequired[int | None]
    height: NotRequired[int | None]
    duration_ms: NotRequired[int | None]
    thumbnail_id: NotRequired[str | None]
    waveform: NotRequired[list[int] | None]
    blurhash: NotRequired[str | None]
    encryption: NotRequired[dict[str, Any] | None]


class NewMembers(TypedDict):
    """People to be added."""

    people: list[str]
    reason: NotRequired[str | None]


class NewMention(TypedDict):
    """A person whom a message names, with the place in ``text``."""

    person: str
    offset: NotRequired[int | None]
    length: NotRequired[int | None]


class NewMessage(TypedDict):
    """A message to be sent.

    ``to``: a person's address, or ``conversation_id``; neither where the path says it.
    ``format`` says what ``text`` is; ``html`` goes beside a plain ``text``. ``media_id`` is
    short for ``media: {"id": ...}``; the text of a file is its caption. ``client_id``: the
    same one again from the same device sends nothing, and answers with the first message.
    """

    to: NotRequired[str | None]
    conversation_id: NotRequired[str | None]
    client_id: NotRequired[str | None]
    kind: NotRequired[
        Literal[
            "audio",
            "contact",
            "encrypted",
            "event",
            "file",
            "image",
            "location",
            "poll",
            "sticker",
            "text",
            "video",
            "voice",
        ]
    ]
    text: NotRequired[str | None]
    format: NotRequired[Literal["html", "markdown", "plain"]]
    html: NotRequired[str | None]
    mentions: NotRequired[list[NewMention]]
    mentions_all: NotRequired[bool]
    media_id: NotRequired[str | None]
    media: NotRequired[NewMedia | None]
    location: NotRequired[NewLocation | None]
    contact: NotRequired[NewContactCard | None]
    poll: NotRequired[NewPoll | None]
    event: NotRequired[NewHappening | None]
    reply_to: NotRequired[str | None]
    thread: NotRequired[str | None]
    expires: NotRequired[NewExpires | None]
    view_once: NotRequired[bool]
    custom: NotRequired[dict[str, Any] | None]
    encrypted: NotRequired[dict[str, Any] | None]
    allow_unencrypted: NotRequired[bool]


class NewOwnSession(TypedDict):
    """A device that is logged in. A ``device_id`` that is known is logged in anew."""

    device_id: NotRequired[str | None]
    device_name: NotRequired[str | None]


class NewOwnUser(TypedDict):
    """A user to be. ``localpart``: their address before the @."""

    localpart: str
    name: NotRequired[str | None]


class NewOwner(TypedDict):
    """Who is to own the conversation from now on."""

    person: str


class NewPassword(TypedDict):
    """A password to be set."""

    password: NotRequired[str | None]
    jwt: NotRequired[str | None]
    login_token: NotRequired[str | None]
    new_password: str
    sign_out_others: NotRequired[bool]


class NewPoll(TypedDict):
    """A poll. ``multiple``: how many choices a person may take."""

    question: str
    choices: list[NewChoice]
    multiple: NotRequired[int]
    hidden: NotRequired[bool]


class NewPresence(TypedDict):
    """How the caller is. A text that is not named stays."""

    state: Literal["away", "busy", "offline", "online"]
    text: NotRequired[str | None]


class NewScheduled(TypedDict):
    """A message, and when it is to be sent."""

    message: NewMessage
    send_at: str


class NewSession(TypedDict):
    """How somebody signs in: ``user`` and ``password``, or ``jwt``, or ``login_token``.

    ``user`` is an address, or the part of it before the ``@``. ``device_id`` signs a device
    in again. A ``refreshable`` session's access token is good for minutes.
    """

    user: NotRequired[str | None]
    password: NotRequired[str | None]
    jwt: NotRequired[str | None]
    login_token: NotRequired[str | None]
    device_id: NotRequired[str | None]
    device_name: NotRequired[str | None]
    refreshable: NotRequired[bool]


class NewToken(TypedDict):
    """What an API token shall be good for. Without ``expires_at`` it is good until revoked."""

    name: str
    scopes: list[str]
    expires_at: NotRequired[str | None]


class NewVote(TypedDict):
    """The choices that the caller takes, in place of any before; none takes the vote back."""

    choices: list[str]


class NewWebhookBody(TypedDict):
    """What shall be told, and where. ``concurrency``: requests under way at once, 1 to 16."""

    url: str
    events: list[str]
    description: NotRequired[str]
    concurrency: NotRequired[int]


class OnlineCount(TypedDict):
    """How many people of this instance are here. ``total``: in all three states."""

    total: int
    online: int
    away: int
    busy: int


class OtherInstances(TypedDict):
    """Whether anything of the user's may go to other instances.

    ``required``: whether they have to allow it first.
    """

    allowed: bool
    required: bool
    may_change: bool


class OwnKeys(TypedDict):
    """The keys of the caller's device.

    ``low_water``: with fewer one-time pre-keys than that, the update `keys.low` says so.
    ``signed_pre_key_used``: it was given out because no other was left: make a new one.
    """

    device_id: str
    identity_key: IdentityKey | None
    one_time_pre_keys: int
    low_water: int
    has_signed_pre_key: bool
    signed_pre_key_used: bool


class OwnSession(TypedDict):
    """The token by which a user's own device speaks to this instance: shown this once."""

    address: str
    device_id: str
    access_token: str


class OwnUserInfo(TypedDict):
    """A user of an application's."""

    address: str
    name: str | None
    created_at: str


class PageOfBlocked(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Blocked]
    next: str | None


class PageOfCall(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Call]
    next: str | None


class PageOfChange(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Change]
    next: str | None


class PageOfContact(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Contact]
    next: str | None


class PageOfConversation(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Conversation]
    next: str | None


class PageOfDeliveryInfo(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[DeliveryInfo]
    next: str | None


class PageOfDevice(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Device]
    next: str | None


class PageOfDeviceMessageShown(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[DeviceMessageShown]
    next: str | None


class PageOfDraft(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Draft]
    next: str | None


class PageOfEdit(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Edit]
    next: str | None


class PageOfFoundMessage(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[FoundMessage]
    next: str | None


class PageOfGrant(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Grant]
    next: str | None


class PageOfGuest(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Guest]
    next: str | None


class PageOfIncomingInfo(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[IncomingInfo]
    next: str | None


class PageOfMember(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Member]
    next: str | None


class PageOfOwnUserInfo(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[OwnUserInfo]
    next: str | None


class PageOfPerson(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Person]
    next: str | None


class PageOfReactor(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Reactor]
    next: str | None


class PageOfRequest(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Request]
    next: str | None


class PageOfScheduled(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Scheduled]
    next: str | None


class PageOfTokenInfo(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[TokenInfo]
    next: str | None


class PageOfVoter(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Voter]
    next: str | None


class PageOfWebhookInfo(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[WebhookInfo]
    next: str | None


class PeerAnswer(TypedDict):
    """Whether somebody lets the caller, as far as their instance says."""

    address: str
    scope: str
    answer: Literal["granted", "not_given", "unknown"]


class Permissions(TypedDict):
    """Which role each permission takes: those of that role and above have it."""

    send: Literal["admin", "member", "owner"]
    invite: Literal["admin", "member", "owner"]
    remove: Literal["admin", "member", "owner"]
    change_settings: Literal["admin", "member", "owner"]
    delete_messages: Literal["admin", "member", "owner"]
    moderate: Literal["admin", "member", "owner"]
    administer: Literal["admin", "member", "owner"]


class PermissionsChange(TypedDict):
    """The permissions to be changed; others stay."""

    send: NotRequired[Literal["admin", "member", "owner"]]
    invite: NotRequired[Literal["admin", "member", "owner"]]
    remove: NotRequired[Literal["admin", "member", "owner"]]
    change_settings: NotRequired[Literal["admin", "member", "owner"]]
    delete_messages: NotRequired[Literal["admin", "member", "owner"]]
    moderate: NotRequired[Literal["admin", "member", "owner"]]
    administer: NotRequired[Literal["admin", "member", "owner"]]


class Person(TypedDict):
    """Somebody, as the caller may see them."""

    address: str
    name: str | None
    avatar: str | None
    is_local: bool


class PersonBundles(TypedDict):
    """A person's devices; none, where there are none, or where they may not be seen."""

    address: str
    devices: list[DeviceBundle]


class Poll(TypedDict):
    """A poll. ``multiple``: how many choices a person may take. ``hidden``: nobody is shown the
    results before it is closed. ``mine``: the caller's choices.
    """

    question: str
    choices: list[Choice]
    multiple: int
    hidden: bool
    closed: bool
    voters: NotRequired[int]
    mine: NotRequired[list[str]]


class PreKey(TypedDict):
    """A Curve25519 key with which somebody begins an encrypted session.

    ``signature``: by the device's signing key, over the canonical JSON ``{"key": "..."}``;
    of the signed pre-key over ``{"fallback": true, "key": "..."}``.
    """

    id: str
    key: str
    signature: NotRequired[str | None]


class PreKeyShown(TypedDict):
    """A pre-key as somebody else published it."""

    id: str
    key: str
    signature: str | None


class Presence(TypedDict):
    """How somebody is. Who may not be seen is offline, and was never seen."""

    address: str
    state: Literal["away", "busy", "offline", "online"]
    text: str | None
    active_now: bool
    last_seen_at: str | None


class PresenceQuery(TypedDict):
    """Whose presence is asked for."""

    people: list[str]


class Presences(TypedDict):
    """How the people are who were asked for, in their order."""

    items: list[Presence]


class PresetChange(TypedDict):
    """A preset for messages, groups, media and calls."""

    preset: Literal["ask", "closed", "known", "open"]


class ProblemDetails(TypedDict):
    """What went wrong (RFC 9457). Some codes come with more members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: NotRequired[str | None]
    consent_url: NotRequired[str | None]
    retry_after_ms: NotRequired[int | None]


class ProblemKind(TypedDict):
    """A kind of problem, as its ``type`` names it."""

    code: str
    title: str


class Profile(TypedDict):
    """Somebody, and what the caller has to do with them."""

    person: Person
    is_contact: bool
    is_blocked: bool
    note: str | None
    time_zone: str | None


class Proof(TypedDict):
    """That it is really the user: their password, or another way by which they sign in.

    Not needed within ten minutes after signing in.
    """

    password: NotRequired[str | None]
    jwt: NotRequired[str | None]
    login_token: NotRequired[str | None]


class Provider(TypedDict):
    """Somebody else who says who people are. ``url``: where to send the browser."""

    id: str
    name: str
    url: str


class Reaction(TypedDict):
    """How many people reacted with a key. ``mine``: whether the caller is one of them."""

    key: str
    count: int
    mine: NotRequired[bool]


class Reactor(TypedDict):
    """Who reacted, with what, and when."""

    person: str
    key: str
    at: str


class ReadState(TypedDict):
    """Up to which message the caller has read; null in an empty conversation."""

    message_id: str | None


class Reason(TypedDict):
    """Why a message is not with a recipient yet.

    ``consent``: they were asked whether they want to hear from the sender; ``policy``: a
    moderator looks at it first, or nothing may be sent to that instance; ``queued``: much
    goes to their instance, or it is slow; ``unreachable``: it has not answered ``since``;
    ``refused``: it did not take the message, and says why in ``detail``.
    """

    code: Literal["consent", "policy", "queued", "refused", "unreachable"]
    instance: NotRequired[str | None]
    since: NotRequired[str | None]
    detail: NotRequired[str | None]


class RecipientStatus(TypedDict):
    """How far a message has come to one person. ``at``: since when, where that is known."""

    person: str
    status: Literal["delivered_to_device", "delivered_to_instance", "pending", "read", "sent"]
    at: NotRequired[str | None]
    reason: NotRequired[Reason | None]


class Refresh(TypedDict):
    """A refresh token to be changed for new tokens."""

    refresh_token: str


class Refusal(TypedDict):
    """Why; only reports pass it on."""

    reason: NotRequired[str]


class ReplayBody(TypedDict):
    """Since when to send again what failed; with ``delivered``, what was accepted as well."""

    since: str
    delivered: NotRequired[bool]


class Replayed(TypedDict):
    """How many deliveries are sent again."""

    count: int


class Request(TypedDict):
    """Somebody who wants to write to the user, or to have them in a group.

    ``relation``: who they are to the user. While they wait, name and picture are not shown.
    """

    person: Person
    conversation_id: str
    kind: Literal["direct", "group"]
    state: Literal["accepted", "blocked", "declined", "expired", "pending"]
    relation: Literal["contact", "contact_of_contact", "known_server", "shared_room", "stranger"]
    attempts: int
    created_at: str
    updated_at: str
    expires_at: str | None
    reported: bool


class RequestAnswer(TypedDict):
    """One answer to several: to these people, to all of an instance, or to all who wait."""

    answer: Literal["accept", "block", "decline", "report"]
    people: NotRequired[list[str]]
    instance: NotRequired[str | None]
    all: NotRequired[bool]
    join: NotRequired[bool]
    reason: NotRequired[str]


class Retried(TypedDict):
    """The instances that are tried again now, for a message."""

    message_id: str
    instances: list[str]


class RoleChange(TypedDict):
    """Another role for a member. Ownership is handed over, not given."""

    role: Literal["admin", "member"]


class Rsvp(TypedDict):
    """How many people gave which answer to an invitation."""

    yes: int
    no: int
    maybe: int


class Scheduled(TypedDict):
    """A message that is sent at ``send_at``.

    ``message_id`` and ``conversation_id`` are known once it is ``sent``. ``problem``: why it
    ``failed``; while it is ``scheduled``, why it could not be sent yet, and is tried again.
    """

    id: str
    state: Literal["cancelled", "failed", "scheduled", "sending", "sent"]
    send_at: str
    scheduled_at: str
    message: ScheduledMessage
    conversation_id: str | None
    message_id: str | None
    finished_at: str | None
    problem: dict[str, Any] | None


class ScheduledMessage(TypedDict):
    """A message as it will be sent. What its sender left out is left out."""

    to: NotRequired[str | None]
    conversation_id: NotRequired[str | None]
    client_id: NotRequired[str | None]
    kind: NotRequired[
        Literal[
            "audio",
            "contact",
            "encrypted",
            "event",
            "file",
            "image",
            "location",
            "poll",
            "sticker",
            "text",
            "video",
            "voice",
        ]
    ]
    text: NotRequired[str | None]
    format: NotRequired[Literal["html", "markdown", "plain"]]
    html: NotRequired[str | None]
    mentions: NotRequired[list[NewMention]]
    mentions_all: NotRequired[bool]
    media_id: NotRequired[str | None]
    media: NotRequired[NewMedia | None]
    location: NotRequired[NewLocation | None]
    contact: NotRequired[NewContactCard | None]
    poll: NotRequired[NewPoll | None]
    event: NotRequired[NewHappening | None]
    reply_to: NotRequired[str | None]
    thread: NotRequired[str | None]
    expires: NotRequired[NewExpires | None]
    view_once: NotRequired[bool]
    custom: NotRequired[dict[str, Any] | None]
    encrypted: NotRequired[dict[str, Any] | None]
    allow_unencrypted: NotRequired[bool]


class ScopeAnswers(TypedDict):
    """What the user answers in one matter, by who asks.

    ``preset``: the preset that is just this, if any. ``may_change``: false where the admin
    decides.
    """

    answers: dict[str, Literal["allow", "ask", "block"]]
    preset: Literal["ask", "closed", "known", "open"] | None
    may_change: bool


class Sent(TypedDict):
    """What became of a message: ``sent``; ``requested``: the recipient is asked first whether
    they want to hear from the sender; ``held``: a moderator looks at it first.
    """

    message: Message
    conversation: SentTo
    outcome: Literal["held", "requested", "sent"]
    detail: NotRequired[str | None]


class SentTo(TypedDict):
    """The conversation that a message went to. ``created``: with this message."""

    id: str
    kind: Literal["direct", "group", "self"]
    created: bool


class Server(TypedDict):
    """The instance that answers."""

    server_name: str
    version: str
    openapi: str
    reference: str


class Session(TypedDict):
    """Somebody who is signed in. The tokens are shown this once."""

    person: Person
    device_id: str
    access_token: str
    refresh_token: NotRequired[str | None]
    expires_in_ms: NotRequired[int | None]


class SessionDescription(TypedDict):
    """What one side of a call can do: a WebRTC session description."""

    type: Literal["answer", "offer"]
    sdp: str


class SettingsChange(TypedDict):
    """The caller's own settings of a conversation.

    ``muted``: true, false, or a time until which, such as ``2026-11-21T09:41:16Z``.
    """

    muted: NotRequired[bool | str]
    pinned: NotRequired[bool]
    archived: NotRequired[bool]


class SignOutOthers(TypedDict):
    """Which devices to sign out; null: all but the caller's."""

    password: NotRequired[str | None]
    jwt: NotRequired[str | None]
    login_token: NotRequired[str | None]
    device_ids: NotRequired[list[str] | None]


class SignedOut(TypedDict):
    """How many devices were signed out."""

    signed_out: int


class Status(TypedDict):
    """How far a message of the caller's has come: the least of all recipients.

    ``delivered``: to how many recipients' devices; ``read``: by how many; in large groups
    only ``read`` is counted. ``reason``: what stands in its way, where it is ``pending``.
    """

    state: Literal["delivered_to_device", "delivered_to_instance", "pending", "read", "sent"]
    recipients: NotRequired[int | None]
    delivered: NotRequired[int | None]
    read: NotRequired[int | None]
    reason: NotRequired[str | None]


class System(TypedDict):
    """Something that happened to the conversation. ``person``: whom it is about."""

    what: str
    person: NotRequired[str | None]
    value: NotRequired[str | None]
    previous: NotRequired[str | None]
    reason: NotRequired[str | None]


class Thread(TypedDict):
    """The replies that hang on a message."""

    replies: int
    last_reply_id: str
    last_reply_at: str


class TokenInfo(TypedDict):
    """An API token, without its secret."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class Tokens(TypedDict):
    """New tokens; the old ones are good until the new access token is first used."""

    access_token: str
    refresh_token: NotRequired[str | None]
    expires_in_ms: NotRequired[int | None]


class TurnServer(TypedDict):
    """Credentials for the servers that relay calls, as WebRTC's ``RTCIceServer`` takes them."""

    urls: list[str]
    username: str
    credential: str
    expires_at: str


class TurnServers(TypedDict):
    """The servers that relay calls; none where the instance has none."""

    items: list[TurnServer]


class TypingChange(TypedDict):
    """Whether the caller types."""

    typing: NotRequired[bool]


class Unreachable(TypedDict):
    """An instance that did not answer: its people are missing from the answer."""

    instance: str
    detail: str


class Unread(TypedDict):
    """How much the caller has not read."""

    messages: int
    mentions: int


class Upload(TypedDict):
    """An upload: `receiving`, `done` (then `media` is the file), or `refused` (then `problem`)."""

    id: str
    state: str
    offset: int
    length: int | None
    name: str | None
    mime_type: str | None
    expires_at: str
    media: Media | None
    problem: dict[str, str | int] | None


class Voter(TypedDict):
    """Who voted for what."""

    person: str
    choices: list[str]
    at: str


class Ways(TypedDict):
    """The ways to sign in, and to become somebody who can.

    ``registration``: who may make an account: nobody, who has a code, or everybody.
    """

    password: bool
    jwt: bool
    providers: list[Provider]
    registration: Literal["closed", "code", "open"]
    terms: list[Document]


class WebhookChangesBody(TypedDict):
    """What shall be otherwise."""

    url: NotRequired[str | None]
    events: NotRequired[list[str] | None]
    description: NotRequired[str | None]
    concurrency: NotRequired[int | None]
    state: NotRequired[Literal["active", "paused"] | None]


class WebhookInfo(TypedDict):
    """A webhook, without its secret.

    ``state``: active; paused, by you; disabled, because nothing was accepted for three days
    (``reason``). ``failures``: in a row. ``position``: all of the log up to it is queued.
    """

    id: str
    url: str
    events: list[str]
    description: str
    concurrency: int
    state: Literal["active", "disabled", "paused"]
    reason: str | None
    failures: int
    failing_since: str | None
    rests_until: str | None
    position: int
    created_at: str


class WithReason(TypedDict):
    """A reason that the person concerned may read."""

    reason: NotRequired[str | None]
