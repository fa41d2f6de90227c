"""What is in the log beside events, as updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import structlog

from homeserver.services.audience import RECEIPTS_SCOPE
from homeserver.services.conversations.drafts import DRAFT, draft_of
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.conversations.reading import as_dict
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.conversations.shapes.updates import (
    AnyUpdate,
    ConsentUpdated,
    ConversationSettings,
    DraftUpdated,
    MessageExpired,
    MessagesHidden,
    ReceiptRead,
    RequestCreated,
    RequestNote,
    RequestState,
    RequestUpdated,
    SettingsUpdated,
)
from homeserver.services.hidden_events import HIDDEN
from homeserver.storage.account_data import GLOBAL, AccountDataRecord
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.erasures import VIEWED, ErasureRecord
from homeserver.storage.log import Record
from homeserver.storage.message_requests import PENDING, RequestRecord
from homeserver.storage.receipts import MAIN_THREAD, READ, READ_PRIVATE, UNTHREADED, ReceiptRecord

logger = structlog.get_logger(__name__)

TAGS = "m.tag"
PINNED, ARCHIVED = "m.favourite", "m.lowpriority"
OWN_SETTINGS = {
    "m.push_rules": "notifications",
    "m.ignored_user_list": "blocked",
    "dev.comity.contacts": "contacts",
}


def route_record(position: int, record: Record) -> Routed | None:
    """The update that a record is, and whom it reaches; None if it says nothing.

    Events are not among these: see :mod:`.events`.
    """
    make = MAKERS.get(type(record))
    if make is None:
        return None
    try:
        routed = make(position, record)
        if routed is not None:
            assert routed.update.json
    except Exception:  # it must not keep others from all that comes after it
        logger.exception("a record cannot be told", kind=type(record).__name__, position=position)
        return None
    return routed


def _receipt(position: int, record: ReceiptRecord) -> Routed | None:
    if not record.moved or record.receipt_type not in (READ, READ_PRIVATE):
        return None
    is_private = record.receipt_type == READ_PRIVATE
    threaded = record.thread_id not in (UNTHREADED, MAIN_THREAD)
    shape = ReceiptRead(
        position=position,
        conversation_id=record.room_id,
        person=address(record.user_id),
        message_id=record.event_id,
        at=rfc3339(record.ts),
        thread=record.thread_id if threaded else None,
        private=is_private,
    )
    if is_private:
        return Routed(Update(shape), users=(record.user_id,))
    return Routed(
        Update(shape),
        record.room_id,
        owner=record.user_id,
        scope=RECEIPTS_SCOPE,
        is_simple=False,
    )


def _erasure(position: int, record: ErasureRecord) -> Routed | None:
    if not record.told:
        return None
    shape = MessageExpired(
        position=position,
        conversation_id=record.room_id,
        message_ids=list(record.told),
        reason="viewed" if record.why == VIEWED else "expired",
    )
    return Routed(Update(shape), record.room_id)


def _account_data(position: int, record: AccountDataRecord) -> Routed | None:
    shape = _own(position, record)
    return Routed(Update(shape), users=(record.user_id,)) if shape is not None else None


def _own(position: int, record: AccountDataRecord) -> AnyUpdate | None:
    if record.room_id == GLOBAL:
        what = OWN_SETTINGS.get(record.type)
        return SettingsUpdated(position=position, what=what) if what is not None else None
    content = as_dict(record.content)
    if record.type == TAGS:
        tags = as_dict(content.get("tags"))
        return ConversationSettings(
            position=position,
            conversation_id=record.room_id,
            pinned=PINNED in tags,
            archived=ARCHIVED in tags,
        )
    if record.type == HIDDEN:
        hidden = content.get("event_ids")
        return MessagesHidden(
            position=position,
            conversation_id=record.room_id,
            message_ids=[i for i in hidden if isinstance(i, str)]
            if isinstance(hidden, list)
            else [],
        )
    if record.type == DRAFT:
        return DraftUpdated(
            position=position,
            conversation_id=record.room_id,
            draft=draft_of(record.room_id, content),
        )
    return None


def _request(position: int, record: RequestRecord) -> Routed | None:
    request = record.request
    if request.state not in get_args(RequestState):
        return None
    note = RequestNote(
        person=address(request.sender),
        state=cast("RequestState", request.state),
        conversation_id=request.room_id,
        at=rfc3339(request.created_at),
        expires_at=rfc3339(request.expires_at) if request.state == PENDING else None,
    )
    is_new = request.state == PENDING and request.created_at == request.updated_at
    kind = RequestCreated if is_new else RequestUpdated
    shape = kind(position=position, conversation_id=request.room_id, request=note)
    return Routed(Update(shape), users=(request.owner,))


def _consent(position: int, record: ConsentRecord) -> Routed | None:
    shape = ConsentUpdated(
        position=position,
        peer=address(record.peer) if record.peer.startswith("@") else record.peer,
        scope=record.scope,
        state=record.state,
        expires_at=rfc3339(record.expires_at) if record.expires_at is not None else None,
    )
    return Routed(Update(shape), users=(record.owner,))


MAKERS: dict[type[Record], Callable[[int, Any], Routed | None]] = {
    ReceiptRecord: _receipt,
    ErasureRecord: _erasure,
    AccountDataRecord: _account_data,
    RequestRecord: _request,
    ConsentRecord: _consent,
}
