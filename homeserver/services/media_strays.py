"""Each content is stored once, however many media have it, and goes with the last of them.

An upload notes its content in the database before it gives the bytes their place; a deletion notes
what it leaves.  Who lets go of a content last deletes its bytes; an upload of the same content
waits for that.  What a crash or a storage that does not answer left undone is done later, since the
notes are still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.services.media_threads import in_media_thread
from homeserver.storage import media_strays as storage
from homeserver.storage.database import Connection, Database

logger = structlog.get_logger(__name__)

RESERVED_MS = 6 * 3_600_000  # longer than any upload takes from its last byte to its end
AGAIN_MS = 60_000
CLAIMED_MS = 60_000  # so long nobody stores what a process was deleting when it died
RENEWED_SECONDS = 15.0
POLL_SECONDS = 0.1
AT_ONCE = 20
REMOVALS = 4  # at the same time: each holds a thread of media


class Files(Protocol):
    """Where the bytes are."""

    def delete(self, sha256: bytes) -> None:
        """Delete a content and its thumbnails, if they are there.  Blocks.

        Raises :class:`OSError`, :class:`MatrixError`.
        """


class MediaStrays:
    """Bytes without a medium; a job of the caretaker, for those that nobody came back for."""

    def __init__(
        self,
        *,
        database: Database,
        files: Files,
        wake: Callable[[], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._files = files
        self._wake = wake
        self._clock_ms = clock_ms
        self._removing = asyncio.Semaphore(REMOVALS)

    async def reserve(self, sha256: bytes) -> int:
        """Keep a content from being deleted, until it is let go; what to call that by.

        If it is being deleted just now, that comes to its end first.
        """
        due_at = self._clock_ms() + RESERVED_MS
        stray_id = await storage.reserve(self._database, sha256, due_at)
        while await storage.is_being_deleted(self._database, sha256, self._clock_ms()):  # noqa: ASYNC110 - another process may do it
            await asyncio.sleep(POLL_SECONDS)
        return stray_id

    async def settle(self, connection: Connection, stray_id: int) -> None:
        """Let a content go in the transaction that notes a medium which has it."""
        await storage.delete(connection, stray_id)

    async def forget(self, stray_id: int) -> None:
        """Let a content go, and leave its bytes, though nothing has them."""
        await storage.delete(self._database, stray_id)

    async def note_deleted(self, connection: Connection, sha256: bytes) -> int:
        """A medium with this content is deleted by a transaction; :meth:`remove` this after it."""
        return await storage.insert(connection, sha256, self._clock_ms())

    async def remove(self, stray_id: int) -> None:
        """Let a content go, and delete its bytes unless something else has them.

        If that fails, it is done later; so this raises nothing about the storage.
        """
        if not await storage.let_go(self._database, stray_id, self._clock_ms()):
            return
        if not await self._remove(stray_id):
            self._wake()

    async def next_due(self) -> int | None:
        """When there is something to look at (ms)."""
        return await storage.get_first_due(self._database)

    async def step(self) -> bool:
        """Look at some that nobody came back for."""
        found = await storage.get_due(self._database, self._clock_ms(), AT_ONCE)
        for stray_id in found:
            await self._remove(stray_id)
        return bool(found)

    async def _remove(self, stray_id: int) -> bool:
        """Delete the bytes, if nothing has them; False if that is to be tried again.

        Who is cancelled meanwhile waits for the end: else the same bytes could be stored again
        before, and be lost.
        """
        async with self._removing:
            removing = asyncio.ensure_future(self._remove_now(stray_id))
            try:
                return await asyncio.shield(removing)
            except asyncio.CancelledError:
                await asyncio.wait({removing})
                raise

    async def _remove_now(self, stray_id: int) -> bool:
        now = self._clock_ms()
        sha256 = await storage.claim(self._database, stray_id, now, now + CLAIMED_MS)
        if sha256 is None:
            return True
        try:
            await self._delete(stray_id, sha256)
        except (OSError, MatrixError) as error:
            logger.warning("bytes of deleted media are still stored", reason=str(error))
            await storage.postpone(self._database, stray_id, self._clock_ms() + AGAIN_MS)
            return False
        await storage.finish(self._database, stray_id, sha256)
        return True

    async def _delete(self, stray_id: int, sha256: bytes) -> None:
        """Delete bytes, however long that takes: a storage that hangs keeps no connection."""
        deleting = asyncio.ensure_future(in_media_thread(self._files.delete, sha256))
        try:
            while not (await asyncio.wait({deleting}, timeout=RENEWED_SECONDS))[0]:
                until = self._clock_ms() + CLAIMED_MS
                await storage.renew(self._database, stray_id, until)
        finally:
            await asyncio.wait({deleting})
        await deleting
