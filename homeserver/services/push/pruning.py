"""Deletes rows of notifications once nobody's counts need them: a job of the caretaker.

Once a day, room by room, a page at a time.  Unread counts are the same before and after; the list
of notifications (``GET /notifications``) loses what was read long ago.
"""

from __future__ import annotations

from collections.abc import Callable

from homeserver.services.unread import MOST_COUNTED
from homeserver.storage import notification_pruning as storage
from homeserver.storage.database import Database

FIRST_AFTER_MS = 5 * 60_000
EVERY_MS = 24 * 3_600_000
PAGE = 2_000
MOST_MEMBERS = 200
"""Where more are in a room, some never read it: rows for all go by their number there."""


class NotificationPruning:
    """Goes over all rooms that have notifications."""

    def __init__(self, *, database: Database, kept_ms: int, clock_ms: Callable[[], int]) -> None:
        """``kept_ms``: how long what was read is kept."""
        self._database = database
        self._kept_ms = kept_ms
        self._clock_ms = clock_ms
        self._next = clock_ms() + FIRST_AFTER_MS
        self._room_id = ""
        self._unfinished = False

    async def next_due(self) -> int | None:
        """When the next page, or the next day's first, is due (ms)."""
        return self._next

    async def step(self) -> bool:
        """Prune a page of one room."""
        if self._clock_ms() < self._next:
            return False
        if not self._unfinished:
            room_id = await storage.next_room(self._database, self._room_id)
            if room_id is None:
                self._room_id, self._next = "", self._clock_ms() + EVERY_MS
                return False
            self._room_id = room_id
        self._unfinished = await self.prune(self._room_id) >= PAGE
        return True

    async def prune(self, room_id: str) -> int:
        """Delete up to a page of each kind from a room; the largest number of them."""
        database = self._database
        counts = [
            await storage.delete_sent(database, room_id, PAGE),
            await storage.delete_uncounted(database, room_id, MOST_COUNTED, PAGE),
        ]
        old = await storage.get_old(database, room_id, self._clock_ms() - self._kept_ms)
        if old is not None:
            counts.append(await storage.delete_own(database, room_id, old, PAGE))
            counts.append(
                await storage.delete_shared(
                    database, room_id, old, most_members=MOST_MEMBERS, limit=PAGE
                )
            )
        return max(counts)
