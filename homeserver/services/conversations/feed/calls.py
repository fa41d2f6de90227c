"""Events of calls as updates; like those of messages made from the event alone."""

from __future__ import annotations

from collections.abc import Callable

from homeserver.protocol.calls import (
    ANSWER,
    CANDIDATES,
    HANGUP,
    INVITE,
    REJECT,
    CallStep,
    read_step,
)
from homeserver.services.conversations.call_views import end_reason, ringing_call
from homeserver.services.conversations.rendering import render
from homeserver.services.conversations.shapes.calls import SessionDescription
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.conversations.shapes.updates import (
    AnyUpdate,
    CallAnswered,
    CallCandidates,
    CallDeclined,
    CallEnded,
    CallRinging,
)
from homeserver.storage.events import StoredEvent


def call_update(stored: StoredEvent) -> AnyUpdate | None:
    """What an event says of a call; None if nothing, or nothing any more."""
    if stored.redacted_by is not None or stored.erased is not None:
        return None
    step = read_step(stored.event)
    return MAKERS[stored.event.type](stored, step) if step is not None else None


def _ringing(stored: StoredEvent, step: CallStep) -> AnyUpdate:
    return CallRinging(
        position=stored.position,
        conversation_id=stored.event.room_id,
        call=ringing_call(stored, step),
        message=render(stored.event, stored.position),
    )


def _answered(stored: StoredEvent, step: CallStep) -> AnyUpdate:
    return CallAnswered(
        position=stored.position,
        conversation_id=stored.event.room_id,
        call_id=step.key,
        person=address(stored.event.sender),
        device=step.party_id,
        answer=SessionDescription(type="answer", sdp=step.description or ""),
        at=rfc3339(stored.event.origin_server_ts),
    )


def _candidates(stored: StoredEvent, step: CallStep) -> AnyUpdate | None:
    if not step.candidates:
        return None
    return CallCandidates(
        position=stored.position,
        conversation_id=stored.event.room_id,
        call_id=step.key,
        person=address(stored.event.sender),
        device=step.party_id,
        candidates=[dict(candidate) for candidate in step.candidates],
    )


def _declined(stored: StoredEvent, step: CallStep) -> AnyUpdate:
    return CallDeclined(
        position=stored.position,
        conversation_id=stored.event.room_id,
        call_id=step.key,
        person=address(stored.event.sender),
        at=rfc3339(stored.event.origin_server_ts),
    )


def _ended(stored: StoredEvent, step: CallStep) -> AnyUpdate:
    return CallEnded(
        position=stored.position,
        conversation_id=stored.event.room_id,
        call_id=step.key,
        person=address(stored.event.sender),
        reason=end_reason(step.reason),
        at=rfc3339(stored.event.origin_server_ts),
    )


MAKERS: dict[str, Callable[[StoredEvent, CallStep], AnyUpdate | None]] = {
    INVITE: _ringing,
    ANSWER: _answered,
    CANDIDATES: _candidates,
    REJECT: _declined,
    HANGUP: _ended,
}
