"""Calls as Matrix events tell them.  Pure, and total: whatever stands in an event.

Spec: client-server API, voice over IP.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Literal, TypeGuard

from msgspec import Struct

from homeserver.protocol.events import Event

INVITE = "m.call.invite"
ANSWER = "m.call.answer"
CANDIDATES = "m.call.candidates"
HANGUP = "m.call.hangup"
REJECT = "m.call.reject"
SELECT_ANSWER = "m.call.select_answer"
VERSION = "1"
MANAGED = "dev.comity.managed"
"""In an invite: the caller's instance chooses the answer and ends the ringing."""

LONGEST_RING_MS = 10 * 60_000
MAX_ID_LENGTH = 255
MAX_CANDIDATES = 200
REASONS = frozenset(
    {
        "ice_timeout",
        "ice_failed",
        "invite_timeout",
        "user_hangup",
        "user_media_failed",
        "user_busy",
        "unknown_error",
    }
)
Media = Literal["audio", "video"]


class CallStep(Struct, frozen=True):
    """What an event says of a call.  ``key``: the call's name within all rooms.

    ``description``: of an invite or an answer, the session description (SDP).
    """

    key: str
    call_id: str
    party_id: str
    description: str | None = None
    media: Media = "audio"
    lifetime_ms: int = 0
    invitee: str | None = None
    managed: bool = False
    reason: str = "user_hangup"
    candidates: tuple[Mapping[str, Any], ...] = ()


def call_key(room_id: str, call_id: str) -> str:
    """The name of a call, whoever called it so: who comes second says nothing new."""
    digest = hashlib.sha256(f"{room_id}\0{call_id}".encode("utf-8", "replace")).digest()
    return "call_" + base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def read_step(event: Event) -> CallStep | None:
    """What an event says of a call; None if that makes no sense."""
    content = event.content
    call_id, party_id = content.get("call_id"), content.get("party_id", "")
    if not _is_id(call_id) or not (party_id == "" or _is_id(party_id)):
        return None
    step = CallStep(call_key(event.room_id, call_id), call_id, party_id)
    if event.type == INVITE:
        return _invite(step, content)
    if event.type == ANSWER:
        answer = _sdp(content.get("answer"))
        return _with(step, description=answer) if answer is not None else None
    if event.type == CANDIDATES:
        given = content.get("candidates")
        found = given[:MAX_CANDIDATES] if isinstance(given, list) else []
        return _with(step, candidates=tuple(c for c in found if isinstance(c, dict)))
    if event.type == HANGUP:
        reason = content.get("reason")
        known = reason if isinstance(reason, str) and reason in REASONS else "user_hangup"
        return _with(step, reason=known)
    return step if event.type == REJECT else None


def _invite(step: CallStep, content: Mapping[str, Any]) -> CallStep | None:
    offer, lifetime = _sdp(content.get("offer")), content.get("lifetime")
    if offer is None or type(lifetime) is not int or lifetime <= 0:
        return None
    invitee = content.get("invitee")
    return _with(
        step,
        description=offer,
        media=media_of(offer),
        lifetime_ms=min(lifetime, LONGEST_RING_MS),
        invitee=invitee if _is_id(invitee) else None,
        managed=content.get(MANAGED) is True,
    )


def media_of(sdp: str) -> Media:
    """What a session is of."""
    return "video" if "m=video" in sdp else "audio"


def _with(step: CallStep, **more: Any) -> CallStep:
    return CallStep(step.key, step.call_id, step.party_id, **more)


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and "\0" not in value


def _sdp(value: object) -> str | None:
    sdp = value.get("sdp") if isinstance(value, dict) else None
    return sdp if isinstance(sdp, str) and sdp else None
