"""Calls between people."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from homeserver.services.conversations.shapes.base import Input, Shape, Sparse

CallState = Literal["ringing", "active", "ended", "missed", "declined", "failed"]
CallMedia = Literal["audio", "video"]
EndReason = Literal[
    "hung_up",
    "cancelled",
    "declined",
    "busy",
    "no_answer",
    "connection_failed",
    "media_failed",
    "error",
]
MAX_SDP = 40_000

Sdp = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SDP)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=600)]


class SessionDescription(Shape, frozen=True, kw_only=True):
    """What one side of a call can do: a WebRTC session description."""

    type: Literal["offer", "answer"]
    sdp: str


class Call(Sparse, frozen=True, kw_only=True):
    """A call.

    ``started_by``: who calls; ``person``: who is called, null where anybody may answer.
    ``device``, ``answered_device``: which of their devices are in it, as each call names them.
    ``offer`` and ``answer`` are there until the call is over.
    """

    id: str
    conversation_id: str
    message_id: str
    state: CallState
    media: CallMedia
    started_by: str
    started_at: str
    rings_until: str
    device: str
    person: str | None = None
    offer: SessionDescription | None = None
    answered_at: str | None = None
    answered_by: str | None = None
    answered_device: str | None = None
    answer: SessionDescription | None = None
    ended_at: str | None = None
    ended_by: str | None = None
    end_reason: EndReason | None = None
    duration_ms: int | None = None


class TurnServer(Shape, frozen=True, kw_only=True):
    """Credentials for the servers that relay calls, as WebRTC's ``RTCIceServer`` takes them."""

    urls: list[str]
    username: str
    credential: str
    expires_at: str


class TurnServers(Shape, frozen=True, kw_only=True):
    """The servers that relay calls; none where the instance has none."""

    items: list[TurnServer]


class NewDescription(Input, frozen=True, kw_only=True):
    """What one side of a call can do: what WebRTC's ``createOffer`` or ``createAnswer`` gives."""

    sdp: Sdp
    type: Literal["offer", "answer"] | None = None


class NewCall(Input, frozen=True, kw_only=True):
    """A call to a person, or in a conversation.

    ``person``: who is called in a group; in a conversation between two it is the other.
    """

    offer: NewDescription
    media: CallMedia
    to: Identifier | None = None
    conversation_id: Identifier | None = None
    person: Identifier | None = None
    ring_seconds: Annotated[int, msgspec.Meta(ge=10, le=600)] = 90
    allow_unencrypted: bool = False  # also in an encrypted conversation


class NewCallAnswer(Input, frozen=True, kw_only=True):
    """The answer to a call."""

    answer: NewDescription


class EndCall(Input, frozen=True, kw_only=True):
    """Why a call is ended."""

    reason: Literal["hung_up", "busy", "connection_failed", "media_failed", "error"] = "hung_up"


class NewCandidates(Input, frozen=True, kw_only=True):
    """More ways to reach the caller's device, as WebRTC's ``icecandidate`` events have them."""

    candidates: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=100)]
