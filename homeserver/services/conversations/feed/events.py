"""Events as updates.

The same function makes an update when the event is committed and when it is read again, so that
both are the same; but what was redacted meanwhile is told as deleted, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from msgspec.structs import replace

from homeserver.protocol.answers import (
    POLL_ENDS,
    POLL_RESPONSES,
    POLL_STARTS,
    RSVP,
    read_selections,
)
from homeserver.protocol.events import Event
from homeserver.protocol.relations import REPLACE, is_valid_replacement, relation_of
from homeserver.services.conversations.feed.calls import MAKERS as CALLS
from homeserver.services.conversations.feed.calls import call_update
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.conversations.polls import read_poll
from homeserver.services.conversations.reading import as_dict, as_text
from homeserver.services.conversations.rendering import is_message, render, render_deleted
from homeserver.services.conversations.shapes.messages import Deleted, Message
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.conversations.shapes.updates import (
    AnyUpdate,
    ConversationUpdated,
    EventAnswered,
    MemberNote,
    Membership,
    MemberUpdated,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
    PollVoted,
    ReactionAdded,
    ReactionRemoved,
)
from homeserver.services.visibility import CALL_TYPES
from homeserver.storage.events import StoredEvent

logger = structlog.get_logger(__name__)

REACTION = "m.reaction"
REDACTION = "m.room.redaction"
MEMBER = "m.room.member"
CHANGED = {
    "m.room.name": "name",
    "m.room.topic": "description",
    "m.room.avatar": "avatar",
    "m.room.join_rules": "join",
    "m.room.history_visibility": "history",
    "m.room.power_levels": "permissions",
    "m.room.encryption": "encrypted",
    "m.room.pinned_events": "pinned_messages",
    "m.room.tombstone": "moved",
}
ANSWERS = ("yes", "no", "maybe")


class Known(Protocol):
    """What an event is about."""

    def get(self, event_id: str) -> StoredEvent | None:
        """An event: of :func:`targets`, or what redacted one."""

    def edit_left(self, event_id: str) -> Event | None:
        """The edit of a message that counts, now that another was redacted."""

    def member_before(self, event_id: str) -> Event | None:
        """The member event that a member event replaced."""


def targets(event: Event) -> Sequence[str]:
    """The events that must be known to tell what an event says."""
    if event.type == REDACTION:
        redacts = event.redacts
        return (redacts,) if redacts is not None else ()
    if event.state_key is not None or "m.relates_to" not in event.content:
        return ()
    relation = relation_of(event.content)
    if relation is None:
        return ()
    if relation.rel_type == REPLACE or event.type in POLL_RESPONSES or event.type in POLL_ENDS:
        return (relation.event_id,)
    return ()


def edited_by(redacted: StoredEvent) -> str | None:
    """The message to which a redacted edit belonged: what it says now must be looked up."""
    relation = relation_of(redacted.event.content)
    if relation is None or relation.rel_type != REPLACE:
        return None
    return relation.event_id


def route_event(stored: StoredEvent, known: Known) -> Routed | None:
    """The update that an event is to the members of its room; None if it says nothing."""
    event = stored.event
    shape = _shape(stored, known)
    if shape is None:
        return None
    was_held = stored.position != stored.timeline_order
    return Routed(
        Update(shape),
        event.room_id,
        event=event if event.state_key is None else None,
        stored=stored if was_held else None,
        is_simple=not was_held and not event.type.startswith(CALL_TYPES),
    )


def route_safely(stored: StoredEvent, known: Known) -> Routed | None:
    """:func:`route_event`, written as JSON; None for what cannot be told.

    One event, whoever sent it, must not keep a room's members from all that comes after it.
    """
    try:
        routed = route_event(stored, known)
        if routed is not None:
            assert routed.update.json
    except Exception:
        logger.exception("an event cannot be told", event_id=stored.event.event_id)
        return None
    return routed


def _shape(stored: StoredEvent, known: Known) -> AnyUpdate | None:
    event = stored.event
    if event.state_key is not None:
        return _of_state(stored, known)
    make = MAKERS.get(event.type)
    if make is not None:
        return make(stored, known)
    if event.type in CALLS and (told := call_update(stored)) is not None:
        return told
    if event.type == REDACTION:
        return _redaction(stored, known)
    if is_message(event):
        return MessageCreated(
            position=stored.position,
            conversation_id=event.room_id,
            message=_message(stored, known),
        )
    return _edit(stored, known)


def _message(stored: StoredEvent, known: Known) -> Message:
    event = stored.event
    if stored.redacted_by is None and stored.erased is None:
        previous = known.member_before(event.event_id) if event.type == MEMBER else None
        return render(event, stored.position, previous=previous)
    redaction = known.get(stored.redacted_by) if stored.redacted_by is not None else None
    deleted = Deleted(reason=stored.erased)
    if redaction is not None:
        deleted = _deleted(redaction.event)
    return render_deleted(event, stored.position, deleted)


def _deleted(redaction: Event) -> Deleted:
    return Deleted(
        at=rfc3339(redaction.origin_server_ts),
        by=address(redaction.sender),
        reason=as_text(redaction.content.get("reason")),
    )


def _original(stored: StoredEvent, known: Known) -> StoredEvent | None:
    """The message that an event relates to, unless either was redacted."""
    relation = relation_of(stored.event.content)
    if relation is None or stored.redacted_by is not None:
        return None
    original = known.get(relation.event_id)
    if original is None or original.redacted_by is not None or original.erased is not None:
        return None
    if original.event.room_id != stored.event.room_id or not original.shown:
        return None
    return original


def _edit(stored: StoredEvent, known: Known) -> AnyUpdate | None:
    original = _original(stored, known)
    if original is None or not is_valid_replacement(stored.event, original.event):
        return None
    return MessageUpdated(
        position=stored.position,
        conversation_id=stored.event.room_id,
        message=render(original.event, original.position, edit=stored.event),
    )


# ---------------------------------------------------------------- redactions


def _redaction(stored: StoredEvent, known: Known) -> AnyUpdate | None:
    event = stored.event
    target = known.get(event.redacts) if event.redacts is not None else None
    if target is None or target.redacted_by != event.event_id:
        return None
    if target.event.type == REACTION:
        return _reaction_removed(stored, target)
    original = edited_by(target)
    if original is not None:
        return _edit_taken_back(stored, known.get(original), known)
    if not is_message(target.event):
        return None
    return MessageDeleted(
        position=stored.position,
        conversation_id=event.room_id,
        message_id=target.event.event_id,
        by=address(event.sender),
        at=rfc3339(event.origin_server_ts),
        reason=as_text(event.content.get("reason")),
    )


def _reaction_removed(stored: StoredEvent, target: StoredEvent) -> AnyUpdate:
    relation = relation_of(target.event.content)
    return ReactionRemoved(
        position=stored.position,
        conversation_id=stored.event.room_id,
        reaction_id=target.event.event_id,
        message_id=relation.event_id if relation is not None else None,
        person=address(target.event.sender),
        key=relation.key if relation is not None else None,
    )


def _edit_taken_back(
    stored: StoredEvent, original: StoredEvent | None, known: Known
) -> AnyUpdate | None:
    if original is None or original.redacted_by is not None or original.erased is not None:
        return None
    edit = known.edit_left(original.event.event_id)
    return MessageUpdated(
        position=stored.position,
        conversation_id=stored.event.room_id,
        message=render(original.event, original.position, edit=edit),
    )


# ---------------------------------------------------------------- what is said of messages


def _reaction(stored: StoredEvent, known: Known) -> AnyUpdate | None:
    event = stored.event
    relation = relation_of(event.content)
    if relation is None or relation.key is None or stored.redacted_by is not None:
        return None
    return ReactionAdded(
        position=stored.position,
        conversation_id=event.room_id,
        reaction_id=event.event_id,
        message_id=relation.event_id,
        person=address(event.sender),
        key=relation.key,
        at=rfc3339(event.origin_server_ts),
    )


def _vote(stored: StoredEvent, known: Known) -> AnyUpdate | None:
    poll = _original(stored, known)
    if poll is None or poll.event.type not in POLL_STARTS:
        return None
    asked = read_poll(poll.event.content)
    if asked is None:
        return None
    chosen = read_selections(stored.event.content) or []
    possible = {choice.id for choice in asked.choices}
    return PollVoted(
        position=stored.position,
        conversation_id=stored.event.room_id,
        message_id=poll.event.event_id,
        person=address(stored.event.sender),
        at=rfc3339(stored.event.origin_server_ts),
        choices=None
        if asked.hidden
        else [choice for choice in chosen if choice in possible][: asked.multiple],
    )


def _poll_end(stored: StoredEvent, known: Known) -> AnyUpdate | None:
    poll = _original(stored, known)
    if poll is None or poll.event.sender != stored.event.sender:
        return None
    message = render(poll.event, poll.position)
    if message.poll is None:
        return None
    return MessageUpdated(
        position=stored.position,
        conversation_id=stored.event.room_id,
        message=replace(message, poll=replace(message.poll, closed=True)),
    )


def _answer(stored: StoredEvent, known: Known) -> AnyUpdate | None:
    event = stored.event
    relation, answer = relation_of(event.content), event.content.get(RSVP)
    if relation is None or answer not in ANSWERS or stored.redacted_by is not None:
        return None
    return EventAnswered(
        position=stored.position,
        conversation_id=event.room_id,
        message_id=relation.event_id,
        person=address(event.sender),
        answer=answer,
        at=rfc3339(event.origin_server_ts),
    )


MAKERS: dict[str, Callable[[StoredEvent, Known], AnyUpdate | None]] = {
    REACTION: _reaction,
    RSVP: _answer,
    **dict.fromkeys(POLL_RESPONSES, _vote),
    **dict.fromkeys(POLL_ENDS, _poll_end),
}


# ---------------------------------------------------------------- state


def _of_state(stored: StoredEvent, known: Known) -> AnyUpdate:
    event = stored.event
    message = _message(stored, known) if is_message(event) else None
    if event.type == MEMBER and event.state_key:
        return MemberUpdated(
            position=stored.position,
            conversation_id=event.room_id,
            member=member_note(event),
            message=message,
        )
    return ConversationUpdated(
        position=stored.position,
        conversation_id=event.room_id,
        changed=CHANGED.get(event.type, "other") if event.state_key == "" else "other",
        message=message,
    )


def member_note(event: Event) -> MemberNote:
    """What a member event says of its member."""
    own = event.sender == event.state_key
    return MemberNote(
        person=address(event.state_key or ""),
        state=membership_name(event.membership, own=own),
        name=as_text(as_dict(event.content).get("displayname")),
        by=None if own else address(event.sender),
        reason=as_text(event.content.get("reason")),
    )


def membership_name(membership: str | None, *, own: bool) -> Membership:
    """What the API calls a membership that somebody came to by themselves, or by another."""
    match membership:
        case "join":
            return "joined"
        case "invite":
            return "invited"
        case "knock":
            return "requested"
        case "ban":
            return "banned"
        case _:
            return "left" if own else "removed"
