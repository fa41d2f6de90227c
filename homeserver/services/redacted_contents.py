"""What was redacted is deleted for real some time later: first its media, then what it said."""

from __future__ import annotations

from collections.abc import Callable

from homeserver.services.deletion import Deletion
from homeserver.storage import media_deletions as storage
from homeserver.storage.database import Database
from homeserver.storage.erasures import REDACTED

AT_ONCE = 50


class RedactedMedia:
    """A job of the caretaker: gives up the media of redacted events."""

    def __init__(self, *, database: Database, after_ms: int, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._after_ms = after_ms
        self._clock_ms = clock_ms

    async def next_due(self) -> int | None:
        """When the next event's media is given up (ms)."""
        oldest = await storage.get_oldest_redacted(self._database)
        return oldest + self._after_ms if oldest is not None else None

    async def step(self) -> bool:
        """Give up the media of some events."""
        before = self._clock_ms() - self._after_ms
        async with self._database.transaction() as connection:
            return await storage.give_up_redacted_media(connection, before, AT_ONCE) > 0


class RedactedContents:
    """A job of the caretaker: deletes what redacted events said."""

    def __init__(
        self,
        *,
        database: Database,
        deletion: Deletion,
        after_ms: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._deletion = deletion
        self._after_ms = after_ms
        self._clock_ms = clock_ms

    async def next_due(self) -> int | None:
        """When the next event's content goes (ms)."""
        oldest = await storage.get_oldest_content(self._database)
        return oldest + self._after_ms if oldest is not None else None

    async def step(self) -> bool:
        """Delete some events' content."""
        before = self._clock_ms() - self._after_ms
        event_ids = await storage.get_redacted_contents(self._database, before, AT_ONCE)
        if event_ids:
            await self._deletion.delete_event_content(event_ids, why=REDACTED, tell=False)
            await storage.delete_redacted_contents(self._database, event_ids)
        return bool(event_ids)
