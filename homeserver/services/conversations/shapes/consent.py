"""What people allow others, and who waits for their answer, as the API's JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from homeserver.services.conversations.shapes.base import Input, Shape
from homeserver.services.conversations.shapes.people import ListQuery, Person

Preset = Literal["open", "known", "ask", "closed"]
Tier = Literal["contact", "shared_room", "contact_of_contact", "known_server", "stranger"]
Answer = Literal["allow", "ask", "block"]
State = Literal["granted", "denied", "revoked", "asked"]
ScopeName = Literal[
    "message", "group", "media", "call", "presence", "typing", "receipts", "federation"
]
TieredScope = Literal["message", "group", "media", "call", "presence", "typing", "receipts"]
Reason = Annotated[str, Meta(max_length=1_000, pattern=r"^[^\x00]*$")]


class ScopeAnswers(Shape, frozen=True, kw_only=True):
    """What the user answers in one matter, by who asks.

    ``preset``: the preset that is just this, if any.  ``may_change``: false where the admin
    decides.
    """

    answers: dict[Tier, Answer]
    preset: Preset | None
    may_change: bool


class OtherInstances(Shape, frozen=True, kw_only=True):
    """Whether anything of the user's may go to other instances.

    ``required``: whether they have to allow it first.
    """

    allowed: bool
    required: bool
    may_change: bool


class ConsentShown(Shape, frozen=True, kw_only=True):
    """What the user answers to whom they have not answered themselves."""

    scopes: dict[TieredScope, ScopeAnswers]
    other_instances: OtherInstances
    presets: dict[Preset, dict[Tier, Answer]]


class PresetChange(Input, frozen=True, kw_only=True):
    """A preset for messages, groups, media and calls."""

    preset: Preset


class AnswersChange(Input, frozen=True, kw_only=True):
    """New answers in one matter: a preset, or answers for some tiers."""

    preset: Preset | None = None
    answers: dict[Tier, Answer] | None = None


class Grant(Shape, frozen=True, kw_only=True):
    """What the user said to one person (an address), one instance (its name), or all (``*``)."""

    peer: str
    scope: ScopeName
    state: State
    expires_at: str | None = None
    since: str | None = None
    how: str | None = None


class GrantChange(Input, frozen=True, kw_only=True):
    """What to say to a peer, and until when."""

    state: Literal["granted", "denied", "revoked"]
    expires_at: str | None = None


class GrantsQuery(ListQuery, frozen=True, kw_only=True):
    """Which grants to list."""

    scope: ScopeName | None = None
    peer: str | None = None


class Change(Shape, frozen=True, kw_only=True):
    """A change there once was; ``state`` ``cleared`` took something back."""

    peer: str
    scope: ScopeName
    state: Literal["granted", "denied", "revoked", "asked", "cleared"]
    at: str
    by: str
    how: str
    expires_at: str | None = None


class PeerQuery(Input, frozen=True, kw_only=True):
    """In which matter another's consent is asked for."""

    scope: Literal["message", "group", "media", "call"] = "message"


class PeerAnswer(Shape, frozen=True, kw_only=True):
    """Whether somebody lets the caller, as far as their instance says."""

    address: str
    scope: str
    answer: Literal["granted", "not_given", "unknown"]


# ---------------------------------------------------------------- requests

RequestState = Literal["pending", "accepted", "declined", "blocked", "expired"]


class Request(Shape, frozen=True, kw_only=True):
    """Somebody who wants to write to the user, or to have them in a group.

    ``relation``: who they are to the user.  While they wait, name and picture are not shown.
    """

    person: Person
    conversation_id: str
    kind: Literal["direct", "group"]
    state: RequestState
    relation: Tier
    attempts: int
    created_at: str
    updated_at: str
    expires_at: str | None = None
    reported: bool = False


class RequestsQuery(ListQuery, frozen=True, kw_only=True):
    """Which requests to list."""

    state: RequestState = "pending"


class Acceptance(Input, frozen=True, kw_only=True):
    """Let somebody in; ``join`` false: without joining the conversation yet."""

    join: bool = True


class Refusal(Input, frozen=True, kw_only=True):
    """Why; only reports pass it on."""

    reason: Reason = ""


class RequestAnswer(Input, frozen=True, kw_only=True):
    """One answer to several: to these people, to all of an instance, or to all who wait."""

    answer: Literal["accept", "decline", "block", "report"]
    people: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=200)] = []
    instance: Annotated[str, Meta(max_length=255)] | None = None
    all: bool = False
    join: bool = True
    reason: Reason = ""


class Answered(Shape, frozen=True, kw_only=True):
    """How many requests were answered, and the conversations that were joined by it.

    ``failed``: conversations that could not be joined; their people are let in all the same.
    """

    answered: int
    joined: list[str]
    failed: list[str]
