"""What a client's event may not relate to.

Asked only of events that annotate or belong to a thread; others cost nothing.

Spec: client-server API, avoiding duplicate annotations; validation of ``m.thread`` relationships.
"""

from __future__ import annotations

from homeserver.errors import MatrixError
from homeserver.protocol.relations import (
    ANNOTATION,
    THREAD,
    Relation,
    can_be_thread_root,
    relation_of,
)
from homeserver.services.event_store import EventStore
from homeserver.services.rooms import Draft, Rooms
from homeserver.storage import relations as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import ClientTransaction


class DuplicateAnnotation(MatrixError):
    """The sender has annotated the event like this already."""

    errcode, status = "M_DUPLICATE_ANNOTATION", 400


class RelationRules:
    """Refuses relations that the spec has servers refuse."""

    def __init__(self, *, database: Database, rooms: Rooms, store: EventStore) -> None:
        self._database = database
        self._rooms = rooms
        self._store = store

    async def check(self, room_id: str, draft: Draft, transaction: ClientTransaction) -> None:
        """Refuse a second annotation of the same kind, and threads within threads.

        Who sends the same transaction again is not refused: it is answered with the first event.
        Raises: :class:`DuplicateAnnotation`, 400 ``M_UNKNOWN``.
        """
        if "m.relates_to" not in draft.content:
            return
        relation = relation_of(draft.content)
        if relation is None:
            return
        if relation.rel_type == ANNOTATION and relation.key is not None:
            await self._check_annotation(room_id, draft, relation, transaction)
        elif relation.rel_type == THREAD:
            root = await self._store.get(relation.event_id)
            if root is not None and not can_be_thread_root(root.event):
                raise MatrixError("A thread cannot start from an event that relates to another")

    async def _check_annotation(
        self, room_id: str, draft: Draft, relation: Relation, transaction: ClientTransaction
    ) -> None:
        key = relation.key or ""
        if "\0" in key or not await storage.has_annotated(
            self._database, room_id, relation.event_id, draft.sender, draft.type, key
        ):
            return
        if await self._rooms.sent_before(transaction) is None:
            raise DuplicateAnnotation("You have annotated that event like this already")
