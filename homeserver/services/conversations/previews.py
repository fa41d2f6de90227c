"""Messages as a list of conversations shows them: as they stand, edits taken up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeserver.protocol.events import Event
from homeserver.protocol.relations import latest_replacement
from homeserver.services.conversations.rendering import render, render_deleted
from homeserver.services.conversations.shapes.messages import Deleted, Message
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.event_store import EventStore
from homeserver.services.visibility import Reader, ReaderFilter
from homeserver.storage import relations as relation_storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent


class Previews:
    """Renders the last messages of conversations."""

    def __init__(
        self, *, database: Database, store: EventStore, reader_filter: ReaderFilter
    ) -> None:
        self._reader_filter = reader_filter
        self._database = database
        self._store = store

    async def previews(
        self, user_id: str, events: Sequence[tuple[StoredEvent, Reader]]
    ) -> list[Message]:
        """Messages of several rooms as a reader gets them; three queries at most."""
        edits = await self._edits(user_id, events)
        redactions = await self._store.get_many(
            stored.redacted_by for stored, _ in events if stored.redacted_by is not None
        )
        return [_rendered(stored, edits, redactions) for stored, _ in events]

    async def _edits(
        self, user_id: str, events: Sequence[tuple[StoredEvent, Reader]]
    ) -> dict[str, Event]:
        """The edit that counts of each event that has one.  Spec: event replacements."""
        whole = {s.event.event_id: (s.event, reader) for s, reader in events if _is_whole(s)}
        if not whole:
            return {}
        found = await relation_storage.get_edits(
            self._database, [(event_id, event.sender) for event_id, (event, _) in whole.items()]
        )
        stored = await self._store.get_many(edit_id for ids in found.values() for edit_id in ids)
        withheld = await self._reader_filter.withheld(user_id) if stored else None
        edits = {}
        for event_id, ids in found.items():
            event, reader = whole[event_id]
            candidates = [
                edit.event
                for edit_id in ids
                if (edit := stored.get(edit_id)) is not None
                and reader.may_see(edit)
                and not (withheld is not None and withheld.hides(edit.event))
            ]
            latest = latest_replacement(event, candidates)
            if latest is not None:
                edits[event_id] = latest
        return edits


def _is_whole(stored: StoredEvent) -> bool:
    return stored.redacted_by is None and stored.erased is None


def _rendered(
    stored: StoredEvent, edits: Mapping[str, Event], redactions: Mapping[str, StoredEvent]
) -> Message:
    event = stored.event
    if _is_whole(stored):
        return render(event, stored.order, edit=edits.get(event.event_id))
    redaction = redactions.get(stored.redacted_by or "")
    if redaction is None:
        return render_deleted(event, stored.order, Deleted(reason=stored.erased))
    reason = redaction.event.content.get("reason")
    deleted = Deleted(
        at=rfc3339(redaction.event.origin_server_ts),
        by=address(redaction.event.sender),
        reason=reason if isinstance(reason, str) else None,
    )
    return render_deleted(event, stored.order, deleted)
