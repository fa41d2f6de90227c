"""What the caretaker forgets once a day."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from homeserver.storage.database import Database

DAY_MS = 24 * 3_600_000


class DailyPruning:
    """A job of the caretaker: deletes what is older than ``kept_ms``."""

    def __init__(
        self,
        delete_before: Callable[[Database, int], Awaitable[None]],
        *,
        kept_ms: int,
        database: Database,
        clock_ms: Callable[[], int],
    ) -> None:
        """``delete_before``: deletes what was before a time (ms)."""
        self._delete_before = delete_before
        self._kept_ms = kept_ms
        self._database = database
        self._clock_ms = clock_ms
        self._next = 0

    async def next_due(self) -> int | None:
        """Once a day (ms)."""
        return self._next

    async def step(self) -> bool:
        """Forget what is too old."""
        now = self._clock_ms()
        if now < self._next:
            return False
        await self._delete_before(self._database, now - self._kept_ms)
        self._next = now + DAY_MS
        return False
