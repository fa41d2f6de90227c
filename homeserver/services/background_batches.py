"""Rows written in the background, many at a time, so that nobody waits for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import asyncpg
import structlog

logger = structlog.get_logger(__name__)

Row = TypeVar("Row")

MAX_BATCH = 1_000
MAX_WAITING = 100_000
FLUSH_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 30


class BackgroundBatches(Generic[Row]):
    """Collects rows and writes them in their order.

    While the database is away it is tried again; beyond :data:`MAX_WAITING` rows the oldest are
    dropped, and the log says how many.  A row that the database refuses is dropped and logged by
    itself.  :meth:`close` writes all that waits.
    """

    def __init__(self, name: str, write: Callable[[Sequence[Row]], Awaitable[None]]) -> None:
        self._name = name
        self._write = write
        self._waiting: list[Row] = []
        self._added = 0
        self._gone = 0  # written, refused or lost
        self._flushes: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def add(self, row: Row) -> None:
        """Have a row written soon."""
        self._waiting.append(row)
        self._added += 1
        if len(self._waiting) > MAX_WAITING:
            self._lose(MAX_BATCH)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"{self._name} writer")

    async def flush(self) -> None:
        """Wait until what was added before is written, but no longer than FLUSH_SECONDS."""
        if self._gone == self._added:
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.append((self._added, written))
        await asyncio.wait((written,), timeout=FLUSH_SECONDS)

    async def close(self) -> None:
        """Write what waits; with the database away, give up after one more try."""
        self._closing = True
        while self._task is not None:
            await asyncio.shield(self._task)

    def _lose(self, count: int) -> None:
        count = min(count, len(self._waiting))
        logger.error("rows lost", table=self._name, count=count)
        del self._waiting[:count]
        self._settle(count)

    def _settle(self, count: int) -> None:
        """So many of the oldest rows are dealt with."""
        self._gone += count
        while self._flushes and self._flushes[0][0] <= self._gone:
            written = self._flushes.popleft()[1]
            if not written.done():
                written.set_result(None)

    async def _run(self) -> None:
        try:
            failures = 0
            while self._waiting:
                batch = self._waiting[:MAX_BATCH]
                del self._waiting[: len(batch)]
                if await self._try(batch):
                    failures = 0
                    self._settle(len(batch))
                    continue
                self._waiting[:0] = batch
                failures += 1
                if self._closing:
                    self._lose(len(self._waiting))
                    return
                await asyncio.sleep(min(failures, LONGEST_PAUSE_SECONDS))
        finally:
            self._task = None

    async def _try(self, batch: Sequence[Row]) -> bool:
        """Write a batch; false if the database is away."""
        try:
            await self._write(batch)
        except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError) as error:
            logger.warning("database away", table=self._name, error=str(error))
            return False
        except Exception as error:
            if len(batch) == 1:
                logger.error("row refused", table=self._name, error=str(error))
                return True
            return all([await self._try([row]) for row in batch])
        return True
