"""Deletes media that no message refers to any more: what is known of it, the file, thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from homeserver.errors import NotFound
from homeserver.protocol.media_uris import MediaUri
from homeserver.storage import media_deletions as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.media_deletions import GivenUp, MediaToDelete

AT_ONCE = 20


class Strays(Protocol):
    """Deletes the bytes that no medium has any more."""

    async def note_deleted(self, connection: Connection, sha256: bytes) -> int:
        """A medium with this content is deleted by a transaction."""

    async def remove(self, stray_id: int) -> None:
        """After it: delete the bytes, unless something else has them."""


class MediaDeletion:
    """A job of the caretaker: works off what messages gave up when they went.

    A file of ours goes if the sender of the message had uploaded it, and if it is in use nowhere
    else: no message that the server can read refers to it, and it is no avatar or sticker of
    theirs.  A copy of another instance's file goes if no message refers to it; it can be fetched
    again; so does the picture of a preview.  What is quarantined stays where it is, so that it
    cannot come back.
    """

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        strays: Strays,
        wake: Callable[[], None],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._strays = strays
        self._wake = wake

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
            stray_id = await self._delete_row(connection, media, known)
        await self._strays.remove(stray_id)
        return True

    async def delete_whatever_needs_it(self, uri: MediaUri) -> bool:
        """Delete a file by an admin's order; False if there is none, or it is quarantined."""
        media = GivenUp(*uri, "")
        async with self._database.transaction() as connection:
            known = await storage.lock_media(connection, media)
            if known is None or known.quarantined_by is not None:
                return False
            stray_id = await self._delete_row(connection, media, known)
        await self._strays.remove(stray_id)
        return True

    async def delete_fetched(self, uri: MediaUri) -> None:
        """Delete what this server fetched by itself, unless a message refers to it.

        If one does, it goes with the message.
        """
        media = GivenUp(*uri, "")
        async with self._database.transaction() as connection:
            known = await storage.lock_media(connection, media)
            if known is None or known.uploader is not None or known.quarantined_by is not None:
                return
            if await storage.is_referred_to(connection, media):
                return
            stray_id = await self._delete_row(connection, media, known)
        await self._strays.remove(stray_id)

    async def next_due(self) -> None:
        """What is given up wakes the caretaker."""

    async def step(self) -> bool:
        """Look at some of what was given up."""
        found = await storage.get_given_up(self._database, AT_ONCE)
        for media in found:
            await self._delete(media)
        return bool(found)

    async def _delete(self, media: GivenUp) -> None:
        """Delete one, if nothing needs it."""
        async with self._database.transaction() as connection:
            await storage.delete_given_up(connection, media)
            known = await storage.lock_media(connection, media)
            if known is None or known.quarantined_by is not None:
                return
            ours = media.origin == self._server_name and known.uploader is not None
            theirs = not ours or known.uploader == media.sender
            if not theirs or await self._is_needed(connection, media):
                return
            stray_id = await self._delete_row(connection, media, known)
        await self._strays.remove(stray_id)

    async def _delete_row(
        self, connection: Connection, media: GivenUp, known: MediaToDelete
    ) -> int:
        await storage.delete_media(connection, media, known)
        return await self._strays.note_deleted(connection, known.sha256)

    async def _is_needed(self, connection: Connection, media: GivenUp) -> bool:
        """Whether a message refers to a file, or it is in use otherwise."""
        if await storage.is_referred_to(connection, media):
            return True
        ours = media.origin == self._server_name
        return ours and await storage.is_in_use(connection, media)
