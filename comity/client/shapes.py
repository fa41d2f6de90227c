"""The API's objects.  Made by ``python -m tools.generate_client``: do not edit."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


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


class ChangeScheduled(TypedDict):
    """What shall be otherwise with a message that is sent later."""

    message: NotRequired[NewMessage | None]
    send_at: NotRequired[str | None]


class Choice(TypedDict):
    """A choice of a poll. ``votes`` is left out while the results are not shown."""

    id: str
    text: str
    votes: NotRequired[int]


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


class DeviceChange(TypedDict):
    """What to call a device."""

    name: str


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


class Empty(TypedDict):
    """An answer that says nothing more than that it was done."""


Expires = TypedDict(
    "Expires",
    {"after_ms": "int", "from": "Literal['read', 'sent']", "at": "NotRequired[str | None]"},
)
"""When a message ends. ``at`` is known where the time runs from the sending."""


Forwarded = TypedDict(
    "Forwarded", {"from": "NotRequired[str | None]", "sent_at": "NotRequired[str | None]"}
)
"""Where a forwarded message came from, in the word of who forwarded it."""


class Happening(TypedDict):
    """An event in the sense of a calendar. ``mine``: the caller's answer."""

    title: str
    starts_at: str
    ends_at: NotRequired[str | None]
    place: NotRequired[str | None]
    description: NotRequired[str | None]
    rsvp: NotRequired[Rsvp]
    mine: NotRequired[Literal["maybe", "no", "yes"] | None]


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


class MadeToken(TypedDict):
    """A new API token: ``token`` is shown this once."""

    token: str
    info: TokenInfo


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
    data.
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


class NewOwnSession(TypedDict):
    """A device that is logged in. A ``device_id`` that is known is logged in anew."""

    device_id: NotRequired[str | None]
    device_name: NotRequired[str | None]


class NewOwnUser(TypedDict):
    """A user to be. ``localpart``: their address before the @."""

    localpart: str
    name: NotRequired[str | None]


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


class OnlineCount(TypedDict):
    """How many people of this instance are here. ``total``: in all three states."""

    total: int
    online: int
    away: int
    busy: int


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


class PageOfContact(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Contact]
    next: str | None


class PageOfConversation(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Conversation]
    next: str | None


class PageOfDevice(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Device]
    next: str | None


class PageOfDraft(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Draft]
    next: str | None


class PageOfOwnUserInfo(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[OwnUserInfo]
    next: str | None


class PageOfPerson(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Person]
    next: str | None


class PageOfScheduled(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[Scheduled]
    next: str | None


class PageOfTokenInfo(TypedDict):
    """A part of a list. ``next``: the cursor of the part after it; null at the end."""

    items: list[TokenInfo]
    next: str | None


class Permissions(TypedDict):
    """Which role each permission takes: those of that role and above have it."""

    send: Literal["admin", "member", "owner"]
    invite: Literal["admin", "member", "owner"]
    remove: Literal["admin", "member", "owner"]
    change_settings: Literal["admin", "member", "owner"]
    delete_messages: Literal["admin", "member", "owner"]
    moderate: Literal["admin", "member", "owner"]
    administer: Literal["admin", "member", "owner"]


class Person(TypedDict):
    """Somebody, as the caller may see them."""

    address: str
    name: str | None
    avatar: str | None
    is_local: bool


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


class ProblemDetails(TypedDict):
    """What went wrong (RFC 9457). Some codes come with more members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None
    consent_url: str | None
    retry_after_ms: int | None


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


class Retried(TypedDict):
    """The instances that are tried again now, for a message."""

    message_id: str
    instances: list[str]


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
    message: NewMessage
    conversation_id: str | None
    message_id: str | None
    finished_at: str | None
    problem: dict[str, Any] | None


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


class Unread(TypedDict):
    """How much the caller has not read."""

    messages: int
    mentions: int


class Ways(TypedDict):
    """The ways to sign in, and to become somebody who can.

    ``registration``: who may make an account: nobody, who has a code, or everybody.
    """

    password: bool
    jwt: bool
    providers: list[Provider]
    registration: Literal["closed", "code", "open"]
    terms: list[Document]
