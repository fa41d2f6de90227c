"""Wakes those who wait for something in one room, members or not.

Nobody is looked for where nobody watches, so that it costs a commit nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from homeserver.storage.log import Log, Notice


class Watcher:
    """One who waits.  Register it before looking for news, so that none is missed."""

    def __init__(self, watch: RoomWatch, user_id: str) -> None:
        self._watch = watch
        self.user_id = user_id
        self._event = asyncio.Event()

    def reset(self) -> None:
        """What happened so far is about to be looked for."""
        self._event.clear()

    def wake(self) -> None:
        """There may be something new."""
        self._event.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait until woken; False if the time is up first, or the server stops."""
        if self._watch.is_closed or timeout_seconds <= 0:
            return False
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return not self._watch.is_closed


class RoomWatch:
    """Knows who waits for which room."""

    def __init__(self, log: Log) -> None:
        self._watchers: dict[str, set[Watcher]] = {}
        self.is_closed = False
        """Whether nobody is to wait any more, because the server stops."""
        log.subscribe(self._on_notice)

    @contextmanager
    def watcher(self, room_id: str, user_id: str) -> Iterator[Watcher]:
        """Somebody who waits for a room, as long as the context lasts."""
        watcher = Watcher(self, user_id)
        watchers = self._watchers.setdefault(room_id, set())
        watchers.add(watcher)
        try:
            yield watcher
        finally:
            watchers.discard(watcher)
            if not watchers and self._watchers.get(room_id) is watchers:
                del self._watchers[room_id]

    def wake(self, user_ids: Iterable[str]) -> None:
        """Have users look whether they are to go on waiting."""
        wanted = frozenset(user_ids)
        for watchers in self._watchers.values():
            for watcher in watchers:
                if watcher.user_id in wanted:
                    watcher.wake()

    def close(self) -> None:
        """Answer all who wait."""
        self.is_closed = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.wake()

    def _on_notice(self, notice: Notice) -> None:
        if not self._watchers:
            return
        for _, record in notice.records:
            for room_id in record.touched_rooms():
                for watcher in self._watchers.get(room_id, ()):
                    watcher.wake()
