"""Reads what events are about: the edited message, what was redacted, who a member was."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field

from homeserver.protocol.events import Event
from homeserver.protocol.relations import latest_replacement
from homeserver.services.conversations.feed.events import MEMBER, REDACTION, edited_by, targets
from homeserver.services.event_store import EventStore
from homeserver.storage import messages as message_storage
from homeserver.storage import relations
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.messages import MemberPlace


class Asked(Struct):
    """What has to be read before events can be told."""

    event_ids: set[str] = field(default_factory=set)
    members: list[MemberPlace] = field(default_factory=list)

    def add(self, event: Event, order: int) -> None:
        """Ask for what an event is about.  ``order``: its place in the timeline."""
        self.event_ids.update(targets(event))
        if event.type == MEMBER and event.state_key is not None:
            self.members.append(MemberPlace(event.event_id, event.room_id, event.state_key, order))

    def __bool__(self) -> bool:
        return bool(self.event_ids or self.members)


class Around(Struct):
    """What was read: see :class:`.events.Known`."""

    store: EventStore
    found: Mapping[str, StoredEvent] = field(default_factory=dict)
    edits: Mapping[str, Event | None] = field(default_factory=dict)
    members: Mapping[str, str] = field(default_factory=dict)

    def get(self, event_id: str) -> StoredEvent | None:
        """An event that was read, or is in memory."""
        return self.found.get(event_id) or self.store.peek(event_id)

    def edit_left(self, event_id: str) -> Event | None:
        """The edit of a message that counts, now that another was redacted."""
        return self.edits.get(event_id)

    def member_before(self, event_id: str) -> Event | None:
        """The member event that a member event replaced."""
        before = self.members.get(event_id)
        stored = self.get(before) if before is not None else None
        return stored.event if stored is not None and stored.shown else None


class Looking:
    """Looks events up, several at a time."""

    def __init__(self, *, database: Database, store: EventStore, erased: Mapping[str, int]) -> None:
        """``erased``: erased users, and when they were; it may change."""
        self._database = database
        self._store = store
        self.erased = erased

    def without(self) -> Around:
        """What memory has."""
        return Around(self._store)

    def is_in_memory(self, event: Event) -> bool:
        """Whether memory has all that an event is about."""
        if event.type == MEMBER:
            return False
        for event_id in targets(event):
            known = self._store.peek(event_id)
            if known is None:
                return False
            if event.type == REDACTION and edited_by(known) is not None:
                return False
        return True

    async def around(self, events: Iterable[StoredEvent]) -> Around:
        """What some events are about, and what redacted them."""
        asked = Asked()
        for stored in events:
            asked.add(stored.event, stored.order)
            if stored.redacted_by is not None:
                asked.event_ids.add(stored.redacted_by)
        return await self.look(asked) if asked else self.without()

    async def look(self, asked: Asked) -> Around:
        """Read it.  Of redacted edits also the message, and the edit of it that now counts."""
        members: Mapping[str, str] = {}
        if asked.members:
            members = await message_storage.get_members_before(self._database, asked.members)
        wanted: Collection[str] = asked.event_ids.union(members.values())
        found = await self._store.get_many(wanted)
        originals = {
            original
            for stored in found.values()
            if stored.redacted_by is not None and (original := edited_by(stored)) is not None
        }
        edits: Mapping[str, Event | None] = {}
        if originals:
            found.update(await self._store.get_many(originals - found.keys()))
            edits = await self._edits([found[i] for i in originals if i in found])
        return Around(self._store, found, edits, members)

    async def _edits(self, originals: Sequence[StoredEvent]) -> dict[str, Event | None]:
        """Message ID -> the edit that counts."""
        asked = [(stored.event.event_id, stored.event.sender) for stored in originals]
        edits = await relations.get_edits(self._database, asked)
        stored_edits = await self._store.get_many(edit for ids in edits.values() for edit in ids)
        return {
            original.event.event_id: latest_replacement(
                original.event,
                [
                    stored_edits[edit].event
                    for edit in edits.get(original.event.event_id, ())
                    if edit in stored_edits
                ],
            )
            for original in originals
        }
