"""Reads what events are about: the edited message, the poll, what was redacted."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from homeserver.protocol.events import Event
from homeserver.protocol.relations import latest_replacement
from homeserver.services.conversations.feed.events import edited_by
from homeserver.services.event_store import EventStore
from homeserver.storage import relations
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

Found = tuple[Mapping[str, StoredEvent], Mapping[str, Event | None]]


class Looking:
    """Looks events up, several at a time."""

    def __init__(self, *, database: Database, store: EventStore, erased: Mapping[str, int]) -> None:
        """``erased``: erased users, and when they were; it may change."""
        self._database = database
        self._store = store
        self.erased = erased

    async def look(self, event_ids: Collection[str]) -> Found:
        """The events; of redacted edits also the message, and the edit of it that now counts."""
        found = await self._store.get_many(event_ids)
        originals = {
            original
            for stored in found.values()
            if stored.redacted_by is not None and (original := edited_by(stored)) is not None
        }
        if not originals:
            return found, {}
        found.update(await self._store.get_many(originals - found.keys()))
        asked = [
            (event_id, found[event_id].event.sender) for event_id in originals if event_id in found
        ]
        edits = await relations.get_edits(self._database, asked)
        stored_edits = await self._store.get_many(edit for ids in edits.values() for edit in ids)
        return found, {
            event_id: latest_replacement(
                found[event_id].event,
                [
                    stored_edits[edit].event
                    for edit in edits.get(event_id, ())
                    if edit in stored_edits
                ],
            )
            for event_id, _ in asked
        }
