"""Calls as their participants see them."""

from __future__ import annotations

from homeserver.protocol.calls import CallStep
from homeserver.services.conversations.shapes.calls import (
    Call,
    CallMedia,
    CallState,
    EndReason,
    SessionDescription,
)
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.storage.calls import CallRow
from homeserver.storage.events import StoredEvent

REASONS: dict[str, EndReason] = {
    "ice_timeout": "connection_failed",
    "ice_failed": "connection_failed",
    "invite_timeout": "no_answer",
    "user_hangup": "hung_up",
    "user_media_failed": "media_failed",
    "user_busy": "busy",
    "unknown_error": "error",
}
MATRIX_REASONS = {
    "hung_up": "user_hangup",
    "busy": "user_busy",
    "connection_failed": "ice_failed",
    "media_failed": "user_media_failed",
    "error": "unknown_error",
}
FAILED = ("connection_failed", "media_failed", "error")


def end_reason(reason: str) -> EndReason:
    """What the API calls a reason of Matrix's."""
    return REASONS.get(reason, "error")


def state_of(row: CallRow, now: int) -> tuple[CallState, EndReason | None]:
    """How a call stands, and why it is over."""
    reason = end_reason(row.outcome) if row.outcome is not None else None
    if row.answered_at is not None:
        if row.ended_at is None:
            return "active", None
        return ("failed" if reason in FAILED else "ended"), reason
    if row.ended_at is None:
        return ("ringing", None) if now <= row.rings_until else ("missed", "no_answer")
    if row.outcome == "declined":
        return "declined", "declined"
    if reason == "busy":
        return "declined", "busy"
    if reason in FAILED:
        return "failed", reason
    return "missed", "cancelled" if reason == "hung_up" else reason


def call_of(row: CallRow, now: int, *, offer: str | None = None, answer: str | None = None) -> Call:
    """A call as it stands.  ``offer``, ``answer``: SDP."""
    state, reason = state_of(row, now)
    ended_at = row.ended_at
    if state == "missed" and ended_at is None:
        ended_at = row.rings_until
    media: CallMedia = "video" if row.media == "video" else "audio"
    duration = None
    if row.answered_at is not None and ended_at is not None:
        duration = max(ended_at - row.answered_at, 0)
    return Call(
        id=row.call_key,
        conversation_id=row.room_id,
        message_id=row.event_id,
        state=state,
        media=media,
        started_by=address(row.caller),
        started_at=rfc3339(row.started_at),
        rings_until=rfc3339(row.rings_until),
        device=row.party_id,
        person=_address(row.invitee),
        offer=SessionDescription(type="offer", sdp=offer) if offer is not None else None,
        answered_at=_time(row.answered_at),
        answered_by=_address(row.answered_by),
        answered_device=row.answered_party,
        answer=SessionDescription(type="answer", sdp=answer) if answer is not None else None,
        ended_at=_time(ended_at),
        ended_by=_address(row.ended_by),
        end_reason=reason,
        duration_ms=duration,
    )


def ringing_call(stored: StoredEvent, step: CallStep) -> Call:
    """A call as it begins, from its event alone."""
    event = stored.event
    assert step.description is not None
    return Call(
        id=step.key,
        conversation_id=event.room_id,
        message_id=event.event_id,
        state="ringing",
        media=step.media,
        started_by=address(event.sender),
        started_at=rfc3339(event.origin_server_ts),
        rings_until=rfc3339(event.origin_server_ts + step.lifetime_ms),
        device=step.party_id,
        person=_address(step.invitee),
        offer=SessionDescription(type="offer", sdp=step.description),
    )


def _time(ms: int | None) -> str | None:
    return rfc3339(ms) if ms is not None else None


def _address(user_id: str | None) -> str | None:
    return address(user_id) if user_id is not None else None
