"""Figures about the server, taken at most once a minute however often somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg

from homeserver.errors import MatrixError
from homeserver.storage import admin_statistics as storage
from homeserver.storage.admin_statistics import Statistics
from homeserver.storage.database import Database

GOOD_FOR_MS = 60_000


class StatisticsService:
    """Takes the figures, and keeps them for a minute."""

    def __init__(self, *, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._lock = asyncio.Lock()
        self._taken: Statistics | None = None

    async def get(self) -> Statistics:
        """The figures, a minute old at most.  Raises ``M_UNKNOWN`` (503) if it takes too long."""
        async with self._lock:
            now = self._clock_ms()
            if self._taken is None or now - self._taken.taken_at >= GOOD_FOR_MS:
                try:
                    self._taken = await storage.get_statistics(self._database, now)
                except asyncpg.QueryCanceledError as error:
                    raise MatrixError("Counting takes too long now", status=503) from error
            return self._taken
