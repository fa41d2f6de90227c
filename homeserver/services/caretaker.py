"""The one background worker for what falls due by the clock: it sleeps until then, and works in
small steps, so that traffic goes before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

logger = structlog.get_logger(__name__)

PAUSE_SECONDS = 0.02
LONGEST_SLEEP_SECONDS = 3_600.0
AFTER_FAILURE_SECONDS = 10.0


class Job(Protocol):
    """Something that has work at certain times.  What is due is on disk, not in memory."""

    async def step(self) -> bool:
        """Do a little of what is due; False if nothing was."""

    async def next_due(self) -> int | None:
        """When there is work again (ms); None: not before something happens."""


class Caretaker:
    """Runs jobs when they are due."""

    def __init__(self, *, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._jobs: list[Job] = []
        self._wake = asyncio.Event()
        self._working = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def add(self, *jobs: Job) -> None:
        """Look after these jobs too."""
        self._jobs.extend(jobs)

    async def start(self) -> None:
        """Begin with what fell due while nobody worked."""
        self._task = asyncio.create_task(self._run(), name="caretaker")

    async def close(self) -> None:
        """Stop; a step that is cut off is done again later."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """There may be work sooner than was known."""
        self._wake.set()

    async def work_off(self) -> None:
        """Do all that is due now."""
        while await self._round():
            pass

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                if await self._round():
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                seconds = await self._seconds_to_next()
            except Exception:
                logger.exception("background work failed")
                seconds = AFTER_FAILURE_SECONDS
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue

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

    async def _seconds_to_next(self) -> float:
        times: Sequence[int] = [
            due for job in self._jobs if (due := await job.next_due()) is not None
        ]
        if not times:
            return LONGEST_SLEEP_SECONDS
        seconds = (min(times) - self._clock_ms()) / 1000
        return min(max(seconds, PAUSE_SECONDS), LONGEST_SLEEP_SECONDS)
