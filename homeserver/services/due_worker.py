"""A worker for what falls due by the clock: it sleeps until then, or until it is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

logger = structlog.get_logger(__name__)

LONGEST_SLEEP_SECONDS = 3_600.0
AFTER_FAILURE_SECONDS = 10.0
CLOSE_SECONDS = 3.0


class DueWorker:
    """Does rounds of work.

    ``work`` does what is due and says when there is more to do (ms, None: not before it is woken).
    ``pause_seconds``: how long it rests between two rounds at least, if nobody wakes it.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[int | None]],
        *,
        clock_ms: Callable[[], int],
        pause_seconds: float,
    ) -> None:
        self._name = name
        self._work = work
        self._clock_ms = clock_ms
        self._pause_seconds = pause_seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_closing = False
        """Whether no further work is to be begun."""

    async def start(self) -> None:
        """Begin with what is due already."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self, *, patience_seconds: float = 0.0) -> None:
        """Stop; what is under way has so long to end, and is cut off then."""
        self.is_closing = True
        self._woken.set()
        if self._task is None:
            return
        if patience_seconds:
            await asyncio.wait((self._task,), timeout=patience_seconds)
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=CLOSE_SECONDS)

    def wake(self) -> None:
        """There may be work sooner than was known."""
        self._woken.set()

    async def _run(self) -> None:
        while not self.is_closing:
            self._woken.clear()
            try:
                seconds = self._seconds_to(await self._work())
            except Exception:
                logger.exception("background work failed", worker=self._name)
                seconds = AFTER_FAILURE_SECONDS
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def _seconds_to(self, due: int | None) -> float:
        if due is None:
            return LONGEST_SLEEP_SECONDS
        seconds = (due - self._clock_ms()) / 1000
        return min(max(seconds, self._pause_seconds), LONGEST_SLEEP_SECONDS)
