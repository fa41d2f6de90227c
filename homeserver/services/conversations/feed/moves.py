"""A reader's own comings and goings as updates: they are told of these wherever they were."""

from __future__ import annotations

from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.conversations.shapes.conversations import State
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.updates import (
    AnyUpdate,
    ConversationCreated,
    ConversationNote,
    ConversationRemoved,
    ConversationUpdated,
)
from homeserver.storage.rooms import MembershipRow

PRESENT: dict[str, State] = {"join": "active", "invite": "invited", "knock": "asked"}


def route_move(row: MembershipRow, user_id: str, before: str) -> Routed | None:
    """What a change of a user's membership is to themselves.

    ``before``: their membership until then.  None for what is no change: they joined again, or left
    what they were not in.
    """
    state = PRESENT.get(row.membership)
    if (state is None and before not in PRESENT) or row.membership == before == "join":
        return None
    by = address(row.sender) if row.sender != user_id else None
    update = _update(row, before, ConversationNote(id=row.room_id, state=state or "left", by=by))
    if by is None or not (row.membership == "invite" or (state is None and before == "invite")):
        return Routed(update, users=(user_id,))
    note = ConversationNote(id=row.room_id, state="left" if state is None else "requested")
    request = _update(row, before, note)
    return Routed(update, users=(user_id,), invite=row, request=request, is_simple=False)


def _update(row: MembershipRow, before: str, note: ConversationNote) -> Update:
    kind: type[ConversationCreated | ConversationUpdated | ConversationRemoved]
    if note.state == "left":
        kind = ConversationRemoved
    else:
        kind = ConversationUpdated if before in PRESENT else ConversationCreated
    shape: AnyUpdate = kind(position=row.position, conversation_id=row.room_id, conversation=note)
    return Update(shape)
