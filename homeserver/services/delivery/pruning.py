"""Forgets, once a day, what instances refused long ago."""

from __future__ import annotations

from collections.abc import Callable

from homeserver.storage.database import Database
from homeserver.storage.delivery import delete_old_refusals

KEPT_FOR_MS = 90 * 24 * 3_600_000
EVERY_MS = 24 * 3_600_000


class RefusalPruning:
    """A job of the caretaker."""

    def __init__(self, *, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._next = 0

    async def next_due(self) -> int | None:
        """Once a day (ms)."""
        return self._next

    async def step(self) -> bool:
        """Forget what was refused long ago."""
        now = self._clock_ms()
        if now < self._next:
            return False
        await delete_old_refusals(self._database, now - KEPT_FOR_MS)
        self._next = now + EVERY_MS
        return False
