"""How far each local user has got: what one of their devices says it has.

A sync token, and what a device acknowledges over a WebSocket, say it.  It is kept in memory, which
is all that a sync pays; it is written down now and then, and what was not when the process died is
said again by the next sync.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from homeserver.storage import delivery as storage
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

WRITE_EVERY_SECONDS = 30.0
WRITTEN_AT_ONCE = 5_000

Listener = Callable[[str, int | None, int], None]


class DeviceProgress:
    """The furthest position of any device of each user."""

    def __init__(self, *, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._positions: dict[str, int] = {}
        self._unwritten: dict[str, int] = {}
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write down."""
        self._task = asyncio.create_task(self._write_always(), name="device progress")

    async def close(self) -> None:
        """Write down what is not yet."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.write()

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener(user_id, before, position)`` when a user gets further; it must not block.

        ``before`` is None for the first time since the process started.
        """
        self._listeners.append(listener)

    def reached(self, user_id: str, position: int) -> None:
        """A device of a user has everything up to a position of the log."""
        before = self._positions.get(user_id)
        if before is not None and position <= before:
            return
        self._positions[user_id] = self._unwritten[user_id] = position
        for listener in self._listeners:
            listener(user_id, before, position)

    def position(self, user_id: str) -> int:
        """How far a user has got since the process started; 0 if nothing is known."""
        return self._positions.get(user_id, 0)

    def furthest(self, user_ids: Iterable[str]) -> dict[str, int]:
        """How far users have got since the process started, as far as is known."""
        positions = self._positions
        return {user_id: positions[user_id] for user_id in user_ids if user_id in positions}

    async def forget(self, user_id: str) -> None:
        """The account ends."""
        self._positions.pop(user_id, None)
        self._unwritten.pop(user_id, None)
        await storage.delete_progress(self._database, user_id)

    async def _write_always(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_SECONDS)
            try:
                await self.write()
            except Exception:
                logger.exception("the progress of devices could not be written down")

    async def write(self) -> None:
        """Write down what has moved."""
        while self._unwritten:
            users = list(self._unwritten)[:WRITTEN_AT_ONCE]
            moved = {user_id: self._unwritten.pop(user_id) for user_id in users}
            try:
                await storage.save_progress(self._database, moved, self._clock_ms())
            except BaseException:
                self._unwritten = {**moved, **self._unwritten}
                raise
