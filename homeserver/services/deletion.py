"""Deletion for real: what an event said, and the media that nothing refers to any more.

Used by redactions, by messages that end, and by retention; there for whatever else must erase (an
account, a held message that is dropped).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from homeserver.protocol.events import Event, redacted_copy
from homeserver.protocol.media_uris import MediaUri
from homeserver.services.media_deletion import MediaDeletion
from homeserver.storage import events as event_storage
from homeserver.storage.database import Database
from homeserver.storage.erasures import ERASURE, RETENTION, ErasureRecord
from homeserver.storage.log import Log

EVENTS_AT_ONCE = 100
TOLD_FOR_MS = 90 * 24 * 3_600_000


class Deletion:
    """Deletes content from the database and from the disk."""

    def __init__(
        self, *, database: Database, log: Log, media: MediaDeletion, clock_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._log = log
        self._media = media
        self._clock_ms = clock_ms

    async def delete_event_content(
        self, event_ids: Iterable[str], *, why: str = ERASURE, tell: bool = True
    ) -> int:
        """Delete what events say; how many had content.  Returns when it is on disk.

        Each keeps its place in the graph as a redacted PDU.  ``why`` is one of those of
        :mod:`homeserver.storage.erasures`; what goes by retention is not shown any more, all
        else is shown redacted.  ``tell``: syncs say which messages ended.  Media that they refer
        to is deleted, too, if nothing else needs it, soon after this returns.
        """
        wanted = list(dict.fromkeys(event_ids))
        erased = 0
        for start in range(0, len(wanted), EVENTS_AT_ONCE):
            found = await event_storage.get_events(
                self._database, wanted[start : start + EVENTS_AT_ONCE]
            )
            by_room: dict[str, list[Event]] = defaultdict(list)
            told: dict[str, list[str]] = defaultdict(list)
            for event_id, stored in found.items():
                if stored.erased == why or (stored.erased and why != RETENTION):
                    continue
                room_id = stored.event.room_id
                by_room[room_id].append(redacted_copy(stored.event))
                if tell and stored.redacted_by is None and stored.shown:
                    told[room_id].append(event_id)
            records = [
                ErasureRecord(room_id, events, why, self._clock_ms(), told[room_id])
                for room_id, events in by_room.items()
            ]
            if records:
                await self._log.append(*records)
            erased += sum(map(len, by_room.values()))
        return erased

    async def delete_media_if_unreferenced(self, uris: Iterable[MediaUri], *, owner: str) -> None:
        """Delete media that a user needs no more, unless something else refers to it.

        Of what was uploaded here, only the ``owner``'s own goes.  Returns when the order is on
        disk; it is carried out at once.  See :class:`MediaDeletion`.
        """
        await self._media.give_up(uris, owner)
