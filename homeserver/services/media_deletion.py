"""Deletes media that no message refers to any more: what is known of it, the file, thumbnails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from homeserver.errors import NotFound
from homeserver.protocol.media_uris import MediaUri
from homeserver.storage import media_deletions as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.media_deletions import GivenUp

logger = structlog.get_logger(__name__)

AT_ONCE = 20
AGAIN_MS = 60_000


class Files(Protocol):
    """Where the bytes lie."""

    def delete(self, sha256: bytes) -> bool:
        """Delete a file and its thumbnails; False if somebody has just sent the same.  Blocks."""


class MediaDeletion:
    """A job of the caretaker: works off what messages gave up when they went.

    A file of ours goes if the sender of the message had uploaded it, and if it is in use nowhere
    else: no message that the server can read refers to it, and it is no avatar or sticker of
    theirs.  A copy of another instance's file goes if no message refers to it; it can be fetched
    again.  What is quarantined stays where it is, so that it cannot come back.
    """

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        files: Files,
        wake: Callable[[], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._files = files
        self._wake = wake
        self._clock_ms = clock_ms
        self._put_off = 0  # how many are left for later, since their file was just sent again
        self._again_at = 0

    async def give_up(self, uris: Iterable[MediaUri], sender: str) -> None:
        """Have media deleted, if nothing needs it, that ``sender`` no longer refers to.

        Returns when that is on disk; the deletion itself follows at once.
        """
        await storage.insert_given_up(self._database, uris, sender)
        self._wake()

    async def delete_own(self, uri: MediaUri, owner: str) -> bool:
        """Delete a file that a user has uploaded; False if something needs it.

        Raises :class:`NotFound`.
        """
        media = GivenUp(*uri, owner)
        async with self._database.transaction() as connection:
            known = await storage.lock_media(connection, media)
            theirs = known is not None and known.uploader == owner and not known.quarantined_by
            if known is None or not theirs:
                raise NotFound("There is no such file of yours")
            if await self._is_needed(connection, media):
                return False
            alone = await storage.delete_media(connection, media, known)
            if alone and not await asyncio.to_thread(self._files.delete, known.sha256):
                logger.info("the bytes of deleted media stay: they were just sent again")
        return True

    async def delete_whatever_needs_it(self, uri: MediaUri) -> bool:
        """Delete a file by an admin's order; False if there is none, or it is quarantined."""
        media = GivenUp(*uri, "")
        async with self._database.transaction() as connection:
            known = await storage.lock_media(connection, media)
            if known is None or known.quarantined_by is not None:
                return False
            alone = await storage.delete_media(connection, media, known)
            if alone:
                with contextlib.suppress(FileNotFoundError):
                    if not await asyncio.to_thread(self._files.delete, known.sha256):
                        logger.info("the bytes of deleted media stay: they were just sent again")
        return True

    async def next_due(self) -> int | None:
        """When those that were put off are tried again (ms)."""
        return self._again_at if self._put_off else None

    async def step(self) -> bool:
        """Look at some of what was given up."""
        if self._put_off and self._clock_ms() >= self._again_at:
            self._put_off = 0
        found = await storage.get_given_up(self._database, AT_ONCE, self._put_off)
        for media in found:
            try:
                await self._delete(media)
            except (_SentAgain, OSError) as error:
                if isinstance(error, OSError):
                    logger.warning("media was not deleted", uri=media.uri, reason=str(error))
                self._put_off += 1
                self._again_at = self._clock_ms() + AGAIN_MS
        return bool(found)

    async def _delete(self, media: GivenUp) -> None:
        """Delete one, if nothing needs it."""
        async with self._database.transaction() as connection:
            known = await storage.lock_media(connection, media)
            if known is None or known.quarantined_by is not None:
                await storage.delete_given_up(connection, media)
                return
            theirs = media.origin != self._server_name or known.uploader == media.sender
            if not theirs or await self._is_needed(connection, media):
                await storage.delete_given_up(connection, media)
                return
            alone = await storage.delete_media(connection, media, known)
            # Before the commit: should the process die here, it is done again.
            if alone and not await asyncio.to_thread(self._files.delete, known.sha256):
                raise _SentAgain
            await storage.delete_given_up(connection, media)

    async def _is_needed(self, connection: Connection, media: GivenUp) -> bool:
        """Whether a message refers to a file, or it is in use otherwise."""
        if await storage.is_referred_to(connection, media):
            return True
        ours = media.origin == self._server_name
        return ours and await storage.is_in_use(connection, media)


class _SentAgain(Exception):
    """Somebody has just uploaded the same bytes."""
