"""Forgets copies of other instances' files that nobody uses, or for which there is no room.

They are fetched again when somebody wants them.  Spec: client-server API, content repository,
security considerations: "Homeservers should restrict the number and size of remote files that it
caches".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from homeserver.protocol.media_uris import MediaUri
from homeserver.storage import remote_media as storage
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

EVERY_MS = 3_600_000
AT_ONCE = 20
SHARE = 10  # of the room for copies, a part that may come unnoticed


class Files(Protocol):
    """Deletion of files."""

    async def delete_whatever_needs_it(self, uri: MediaUri) -> bool:
        """Delete a file with its thumbnails; False if there is none, or it is quarantined."""


class RemoteMediaRetention:
    """A job of the caretaker: looks once an hour, or when much was fetched, and deletes a few at a
    time."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        files: Files,
        keep_ms: int | None,
        max_bytes: int | None,
        wake: Callable[[], None],
        clock_ms: Callable[[], int],
    ) -> None:
        """``keep_ms``: after the last use; ``max_bytes``: of all copies; None: no limit."""
        self._server_name = server_name
        self._database = database
        self._files = files
        self._keep_ms = keep_ms
        self._max_bytes = max_bytes
        self._wake = wake
        self._clock_ms = clock_ms
        self._next = 0
        self._fetched = 0  # bytes, since so much had come that it was looked
        self._excess: int | None = None  # bytes beyond the limit, once they were counted
        self._deleted = 0

    def fetched(self, size_bytes: int) -> None:
        """There is one more copy: where much has come, it is not waited until the hour is over."""
        self._fetched += size_bytes
        if self._much_came:
            self._wake()

    @property
    def _much_came(self) -> bool:
        return self._max_bytes is not None and self._fetched * SHARE > self._max_bytes

    async def next_due(self) -> int | None:
        """Once an hour (ms), if there is a limit."""
        if self._keep_ms is None and self._max_bytes is None:
            return None
        return 0 if self._much_came else self._next

    async def step(self) -> bool:
        """Delete some copies, if it is time."""
        if self._much_came:
            self._next, self._excess, self._fetched = 0, None, 0  # so it is counted again
        if self._clock_ms() < self._next:
            return False
        if await self.delete_some():
            return True
        if self._deleted:
            logger.info("deleted copies of other servers' media", files=self._deleted)
        self._next, self._excess, self._deleted = self._clock_ms() + EVERY_MS, None, 0
        return False

    async def delete_some(self) -> bool:
        """Delete a few copies; True if there may be more to delete."""
        return await self._delete_unused() or await self._delete_excess()

    async def _delete_unused(self) -> bool:
        """True if there may be more."""
        if self._keep_ms is None:
            return False
        before = self._clock_ms() - self._keep_ms
        done = 0
        for copy in await self._least_used(before):
            done += await self._delete(copy.uri)
        return done > 0

    async def _delete_excess(self) -> bool:
        if self._max_bytes is None:
            return False
        if self._excess is None:
            total = await storage.get_bytes(self._database, self._server_name)
            self._excess = total - self._max_bytes
        if self._excess <= 0:
            return False
        done = 0
        for copy in await self._least_used(self._clock_ms()):
            if self._excess > 0 and await self._delete(copy.uri):
                self._excess -= copy.size_bytes
                done += 1
        return done > 0

    async def _least_used(self, before: int) -> list[storage.RemoteCopy]:
        return await storage.get_least_used(self._database, self._server_name, before, AT_ONCE)

    async def _delete(self, uri: MediaUri) -> bool:
        deleted = await self._files.delete_whatever_needs_it(uri)
        self._deleted += deleted
        return deleted
