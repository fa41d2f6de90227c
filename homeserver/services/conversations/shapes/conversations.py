"""Conversations and their members, as the API's JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from homeserver.services.conversations.shapes.base import Input, Shape, Sparse
from homeserver.services.conversations.shapes.messages import Message
from homeserver.services.conversations.shapes.pages import DEFAULT_LIMIT, MOST_PER_PAGE
from homeserver.services.conversations.shapes.people import Person

Kind = Literal["direct", "group", "self"]
State = Literal["active", "requested", "invited", "asked", "left"]
Role = Literal["owner", "admin", "member"]
Permission = Literal[
    "send", "invite", "remove", "change_settings", "delete_messages", "moderate", "administer"
]
History = Literal["all", "since_invitation", "since_joining"]
JoinMode = Literal["invite", "approval", "open"]
MemberState = Literal[
    "joined", "invited", "requested", "removed", "banned", "left", "inviting", "not_invited"
]

MAX_MEMBERS_AT_ONCE = 1_500
MAX_NAME_LENGTH = 255
MAX_DESCRIPTION_LENGTH = 4_000
MAX_REASON_LENGTH = 500

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
Description = Annotated[str, Meta(max_length=MAX_DESCRIPTION_LENGTH)]
Reason = Annotated[str, Meta(max_length=MAX_REASON_LENGTH)]
MediaId = Annotated[str, Meta(min_length=1, max_length=512)]
PersonText = Annotated[str, Meta(min_length=3, max_length=255)]
People = Annotated[list[PersonText], Meta(max_length=MAX_MEMBERS_AT_ONCE)]


class Unread(Shape, frozen=True, kw_only=True):
    """How much the caller has not read."""

    messages: int = 0
    mentions: int = 0


class Permissions(Shape, frozen=True, kw_only=True):
    """Which role each permission takes: those of that role and above have it."""

    send: Role = "member"
    invite: Role = "member"
    remove: Role = "admin"
    change_settings: Role = "admin"
    delete_messages: Role = "admin"
    moderate: Role = "admin"
    administer: Role = "owner"


class Conversation(Shape, frozen=True, kw_only=True):
    """A conversation as the caller sees it.

    ``peer``: the other person of a direct one.  ``muted``: true, false, or the time until which.
    ``position``: of the last thing that happened in it.
    """

    id: str
    kind: Kind
    state: State
    name: str | None = None
    description: str | None = None
    avatar: str | None = None  # a media ID
    peer: Person | None = None
    member_count: int = 0
    my_role: Role = "member"
    my_permissions: list[Permission] = field(default_factory=list)
    unread: Unread = Unread()
    last_message: Message | None = None
    last_activity_at: str | None = None
    muted: bool | str = False
    pinned: bool = False
    archived: bool = False
    encrypted: bool = False
    history: History = "all"
    join: JoinMode = "invite"
    permissions: Permissions = Permissions()
    invited_by: Person | None = None  # while the caller has not answered
    created_at: str | None = None


class MemberProblem(Shape, frozen=True, kw_only=True):
    """Why somebody was not invited.  ``code``: as in the problems of this API."""

    person: str
    code: str
    detail: str


class Member(Sparse, frozen=True, kw_only=True):
    """Somebody's place in a conversation.

    ``state``: besides what its name says, ``inviting`` (the invitation is on its way) and
    ``not_invited`` (it could not be made: see ``problem``).
    """

    person: Person
    role: Role
    state: MemberState
    permissions: list[Permission]
    joined_at: str | None = None
    invited_by: str | None = None
    reason: str | None = None
    problem: MemberProblem | None = None


class Invited(Shape, frozen=True, kw_only=True):
    """What became of people who were to be added, in the order in which they were named."""

    members: list[Member]
    problems: list[MemberProblem]


class EffectivePermissions(Shape, frozen=True, kw_only=True):
    """What a member may do."""

    person: str
    role: Role
    permissions: list[Permission]


# ---------------------------------------------------------------- what is asked


class PermissionsChange(Input, frozen=True, kw_only=True):
    """The permissions to be changed; others stay."""

    send: Role | UnsetType = UNSET
    invite: Role | UnsetType = UNSET
    remove: Role | UnsetType = UNSET
    change_settings: Role | UnsetType = UNSET
    delete_messages: Role | UnsetType = UNSET
    moderate: Role | UnsetType = UNSET
    administer: Role | UnsetType = UNSET


class ConversationsQuery(Input, frozen=True, kw_only=True):
    """Which conversations are wanted.

    ``state``: active, invited and asked, unless said otherwise.  ``query``: part of a name, or of
    the address of whom it is with.
    """

    limit: Annotated[int, Meta(ge=1, le=MOST_PER_PAGE)] = DEFAULT_LIMIT
    cursor: str | None = None
    kind: Kind | None = None
    state: list[State] = field(default_factory=list)
    archived: bool | None = None
    pinned: bool | None = None
    unread: bool | None = None
    query: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)] | None = None


class MembersQuery(Input, frozen=True, kw_only=True):
    """Which members are wanted.

    ``state``: unless said otherwise those who are there, and those who are to come.  ``query``:
    part of a name or an address.
    """

    limit: Annotated[int, Meta(ge=1, le=MOST_PER_PAGE)] = DEFAULT_LIMIT
    cursor: str | None = None
    state: list[MemberState] = field(default_factory=list)
    role: Role | None = None
    query: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)] | None = None


class NewConversation(Input, frozen=True, kw_only=True):
    """A conversation to be made, or, of the kinds ``direct`` and ``self``, to be found.

    ``peer``: the other person of a direct one.  All else is for groups.
    """

    kind: Kind = "group"
    peer: PersonText | None = None
    name: Name | None = None
    description: Description | None = None
    avatar: MediaId | None = None
    members: People = field(default_factory=list)
    permissions: PermissionsChange | None = None
    history: History = "all"
    join: JoinMode = "invite"
    encrypted: bool = False


class ConversationChange(Input, frozen=True, kw_only=True):
    """What is to be different; null takes a name, description or picture away.

    ``encrypted`` can be switched on, never off.
    """

    name: Name | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    avatar: MediaId | UnsetType | None = UNSET
    history: History | UnsetType = UNSET
    join: JoinMode | UnsetType = UNSET
    encrypted: bool | UnsetType = UNSET
    permissions: PermissionsChange | UnsetType = UNSET


class SettingsChange(Input, frozen=True, kw_only=True):
    """The caller's own settings of a conversation.

    ``muted``: true, false, or a time until which, such as ``2026-11-21T09:41:16Z``.
    """

    muted: bool | str | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET


class Settings(Shape, frozen=True, kw_only=True):
    """The caller's own settings of a conversation."""

    muted: bool | str = False
    pinned: bool = False
    archived: bool = False


class NewMembers(Input, frozen=True, kw_only=True):
    """People to be added."""

    people: Annotated[list[PersonText], Meta(min_length=1, max_length=MAX_MEMBERS_AT_ONCE)]
    reason: Reason | None = None


class RoleChange(Input, frozen=True, kw_only=True):
    """Another role for a member.  Ownership is handed over, not given."""

    role: Literal["admin", "member"]


class NewOwner(Input, frozen=True, kw_only=True):
    """Who is to own the conversation from now on."""

    person: PersonText


class WithReason(Input, frozen=True, kw_only=True):
    """A reason that the person concerned may read."""

    reason: Reason | None = None


class JoinRequest(Input, frozen=True, kw_only=True):
    """Asking to be let in.  ``via``: instances that may know the conversation."""

    message: Reason | None = None
    via: Annotated[list[str], Meta(max_length=10)] = field(default_factory=list)
