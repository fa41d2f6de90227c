"""A background worker for what falls due by the clock: it sleeps until then, and works in small
steps, so that traffic goes before it.

Its jobs wait for each other: what has to wait for somebody else has a worker of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from homeserver.services.due_worker import DueWorker

PAUSE_SECONDS = 0.02


class Job(Protocol):
    """Something that has work at certain times.  What is due is on disk, not in memory."""

    async def step(self) -> bool:
        """Do a little of what is due; False if nothing was."""

    async def next_due(self) -> int | None:
        """When there is work again (ms); None: not before something happens."""


class Caretaker:
    """Runs jobs when they are due."""

    def __init__(self, *, clock_ms: Callable[[], int], name: str = "caretaker") -> None:
        """``name``: for the log."""
        self._jobs: list[Job] = []
        self._working = asyncio.Lock()
        self._worker = DueWorker(name, self._work, clock_ms=clock_ms, pause_seconds=PAUSE_SECONDS)

    def add(self, *jobs: Job) -> None:
        """Look after these jobs too."""
        self._jobs.extend(jobs)

    async def start(self) -> None:
        """Begin with what fell due while nobody worked."""
        await self._worker.start()

    async def close(self) -> None:
        """Stop; a step that is cut off is done again later."""
        await self._worker.close()

    def wake(self) -> None:
        """There may be work sooner than was known."""
        self._worker.wake()

    async def work_off(self) -> None:
        """Do all that is due now."""
        while await self._round():
            pass

    async def _work(self) -> int | None:
        """All that is due, a step at a time, and when there is more."""
        busy = True
        while busy:
            busy = await self._round()
            if busy:
                await asyncio.sleep(PAUSE_SECONDS)
        times = [due for job in self._jobs if (due := await job.next_due()) is not None]
        return min(times, default=None)

    async def _round(self) -> bool:
        """A step of each job; one that fails does not keep the others from theirs."""
        busy, failure = False, None
        async with self._working:
            for job in self._jobs:
                try:
                    busy = await job.step() or busy
                except Exception as error:
                    failure = error
        if failure is not None:
            raise failure
        return busy
