"""Fills the index of messages: a follower of the log, never in the way of a send.

What has been looked at is written with the words, so that nothing is missed after a crash.  History
that arrives late comes by its position in the log, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from homeserver.protocol.answers import POLL_STARTS
from homeserver.protocol.message_ends import message_end
from homeserver.protocol.relations import REPLACE, latest_replacement, relation_of
from homeserver.protocol.search_words import index_words
from homeserver.services.conversations.reading import as_dict, as_text
from homeserver.services.conversations.rendering import is_message, render
from homeserver.services.conversations.shapes.messages import Message
from homeserver.services.event_store import EventStore
from homeserver.services.follower import Follower
from homeserver.storage import message_index as storage
from homeserver.storage import relations as relation_storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.events import StoredEvent
from homeserver.storage.log import Log, Notice
from homeserver.storage.message_index import NewRow

logger = structlog.get_logger(__name__)

NAME, TOPIC = "m.room.name", "m.room.topic"
STATE_KINDS = {NAME: "name", TOPIC: "topic"}
TYPES = frozenset({"m.room.message", "m.sticker", NAME, TOPIC, *POLL_STARTS})
PAGE = 500
MOST_STALE = 100
GATHER_SECONDS = 0.2
SHARE = 0.25
"""Of the time, at most, while there is much to do: sends come first."""


class MessageIndexer:
    """Indexes messages in the background."""

    def __init__(
        self, *, database: Database, log: Log, store: EventStore, clock_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._log = log
        self._store = store
        self._clock_ms = clock_ms
        self.follower = Follower("message index", self._fill, gather_seconds=GATHER_SECONDS)
        log.subscribe(self._on_notice)

    def _on_notice(self, notice: Notice) -> None:
        if any(isinstance(record, EventRecord) for _, record in notice.records):
            self.follower.wake()

    async def _fill(self) -> None:
        clock = asyncio.get_running_loop().time
        position = await storage.get_position(self._database)
        while position < (head := self._log.position):
            began = clock()
            stored, position = await storage.get_stretch(
                self._database, position, head, TYPES, PAGE
            )
            rows = await self._rows(stored)
            async with self._database.transaction() as connection:
                if rows:
                    await storage.put(connection, rows, now=self._clock_ms())
                await storage.set_position(connection, position)
            if position < self._log.position:
                await asyncio.sleep((clock() - began) * (1 / SHARE - 1))
        while stale := await storage.get_stale(self._database, MOST_STALE):
            found = await self._store.get_many(stale)
            rows = await self._rows(found.values())
            if rows:
                await storage.put(self._database, rows, now=self._clock_ms())
            await storage.settle(self._database, stale)

    # ------------------------------------------------------------ what messages say

    async def _rows(self, stored: Iterable[StoredEvent]) -> list[NewRow]:
        """Messages as they now read; of an edit the message that it is of."""
        originals: dict[str, StoredEvent] = {}
        edited: set[str] = set()
        for each in stored:
            relation = relation_of(each.event.content) if not each.event.is_state else None
            if relation is not None and relation.rel_type == REPLACE:
                edited.add(relation.event_id)
            else:
                originals[each.event.event_id] = each
        originals.update(await self._store.get_many(edited - originals.keys()))
        whole = [each for each in originals.values() if _is_indexed(each)]
        edits = await self._edits([each for each in whole if not each.event.is_state])
        rows = (_row(each, edits.get(each.event.event_id)) for each in whole)
        return [row for row in rows if row is not None]

    async def _edits(self, originals: Sequence[StoredEvent]) -> Mapping[str, StoredEvent]:
        """Event ID -> the edit that counts."""
        listed = await relation_storage.get_edits(
            self._database, [(each.event.event_id, each.event.sender) for each in originals]
        )
        stored = await self._store.get_many(i for ids in listed.values() for i in ids)
        found: dict[str, StoredEvent] = {}
        for original in originals:
            event = original.event
            ids = listed.get(event.event_id, ())
            edit = latest_replacement(
                event, [stored[i].event for i in ids if i in stored and _is_whole(stored[i])]
            )
            if edit is not None:
                found[event.event_id] = stored[edit.event_id]
        return found


def _is_whole(stored: StoredEvent) -> bool:
    return stored.shown and stored.redacted_by is None and stored.erased is None


def _is_indexed(stored: StoredEvent) -> bool:
    event = stored.event
    if event.type not in TYPES or not _is_whole(stored) or stored.timeline_order is None:
        return False
    if event.type in STATE_KINDS:
        return event.state_key == ""
    end = message_end(event.content)
    return event.state_key is None and is_message(event) and not (end and end.view_once)


def _row(stored: StoredEvent, edit: StoredEvent | None) -> NewRow | None:
    event = stored.event
    if event.is_state:
        kind, texts = STATE_KINDS[event.type], _state_texts(stored)
    else:
        message = render(event, stored.position, edit=edit.event if edit is not None else None)
        kind, texts = message.kind, texts_of(message)
    words = index_words(texts)
    if not words and event.is_state:
        return None
    return NewRow(
        event_id=event.event_id,
        source_id=edit.event.event_id if edit is not None else None,
        room_id=event.room_id,
        timeline_order=stored.order,
        sent_at=event.origin_server_ts,
        sender=event.sender,
        kind=kind,
        words=words,
    )


def _state_texts(stored: StoredEvent) -> list[str]:
    content = stored.event.content
    if stored.event.type == NAME:
        return [text for text in (as_text(content.get("name")),) if text]
    said = [as_text(content.get("topic"))]
    block = as_dict(content.get("m.topic")).get("m.text")
    for part in block if isinstance(block, list) else ():
        fields = as_dict(part)
        if fields.get("mimetype", "text/plain") == "text/plain":
            said.append(as_text(fields.get("body")))
    return list(dict.fromkeys(text for text in said if text))


def texts_of(message: Message) -> list[str]:
    """All that a message says, whatever its kind."""
    said: list[str | None] = [message.text]
    if message.media is not None:
        said.append(message.media.name)
    if message.poll is not None:
        said += [message.poll.question, *(choice.text for choice in message.poll.choices)]
    if message.contact is not None:
        said += [message.contact.name, message.contact.address]
    if message.location is not None:
        said.append(message.location.description)
    if message.event is not None:
        said += [message.event.title, message.event.place, message.event.description]
    return list(dict.fromkeys(text for text in said if text))
