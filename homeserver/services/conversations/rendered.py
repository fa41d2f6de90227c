"""Messages as bytes: each is rendered once, and shared by all who are told of it."""

from __future__ import annotations

from collections import OrderedDict

from homeserver.protocol.events import Event
from homeserver.services.conversations.rendering import encode, render
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice

CACHED_BYTES = 16 * 1024 * 1024


class Rendered:
    """Renders events as messages without anything that depends on the reader.

    What was deleted is forgotten with the log.
    """

    def __init__(self, log: Log) -> None:
        self._bytes: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        log.subscribe(self._on_notice)

    def json(self, event: Event, position: int) -> bytes:
        """A whole event as a message's JSON."""
        found = self._bytes.get(event.event_id)
        if found is None:
            found = encode(render(event, position))
            self._bytes[event.event_id] = found
            self._size += len(found)
            while self._size > CACHED_BYTES:
                self._size -= len(self._bytes.popitem(last=False)[1])
        return found

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, EventRecord):
                if record.redacts is not None:
                    self._forget(record.redacts)
            elif isinstance(record, ErasureRecord):
                for event in record.events:
                    self._forget(event.event_id)

    def _forget(self, event_id: str) -> None:
        gone = self._bytes.pop(event_id, None)
        if gone is not None:
            self._size -= len(gone)
