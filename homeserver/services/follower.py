"""Work that follows the log in the background, and never holds anybody up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

logger = structlog.get_logger(__name__)

RETRY_SECONDS = 10.0


class Follower:
    """Carries out ``fill`` whenever there is something new, and again later if it fails.

    What it has done is to be written by ``fill`` itself, so that it goes on from there after a
    crash.  ``gather_seconds``: how long it rests, so that one round takes in what many would.
    """

    def __init__(
        self, name: str, fill: Callable[[], Awaitable[None]], *, gather_seconds: float
    ) -> None:
        self._name = name
        self._fill = fill
        self._gather_seconds = gather_seconds
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin where it was left."""
        self._work.set()
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """Stop, wherever it stands."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        """There is something new."""
        self._idle.clear()
        self._work.set()

    async def caught_up(self) -> None:
        """Wait until all that was committed is taken in."""
        await self._idle.wait()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._fill()
                if not self._work.is_set():
                    self._idle.set()
                await asyncio.sleep(self._gather_seconds)
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.exception("work in the background failed", work=self._name)
                self._work.set()
                await asyncio.sleep(RETRY_SECONDS)
