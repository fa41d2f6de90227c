"""Uploads that go on where they broke off.  Spec: tus resumable upload protocol 1.0.0.

What was acknowledged is on disk for good (see :mod:`homeserver.services.sealing.upload_file`).  A
whole upload is judged and stored as any other file is; its ID is the medium's.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from msgspec import Struct
from msgspec.structs import replace

from homeserver.errors import Forbidden, NotFound, TooLarge
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.upload_slots import Interrupted, Slot, UploadSlots, in_thread
from homeserver.services.media import MediaService
from homeserver.services.media_limits import QuotaExceeded
from homeserver.services.media_names import clean_content_type, clean_name, new_media_id
from homeserver.services.sealing.errors import DamagedFile
from homeserver.services.sealing.upload_file import UploadFile
from homeserver.storage import media as media_storage
from homeserver.storage import uploads as storage
from homeserver.storage.database import Database
from homeserver.storage.uploads import DONE, RECEIVING, REFUSED, UploadRow

AT_ONCE = 20
MAX_PARTS = 100
CHECKSUM_MISMATCH = 460  # tus, checksum extension
ALGORITHMS = ("sha1", "sha256", "sha512")
FULL = (errno.ENOSPC, errno.EDQUOT)


class UploadLimits(Struct, frozen=True):
    """For each user's unfinished uploads, and how long one is kept without news (ms)."""

    most: int
    most_bytes: int
    expire_after_ms: int


class Checksum(Struct, frozen=True):
    """What the bytes of a request must hash to."""

    algorithm: str
    digest: bytes


class NewUpload(Struct, frozen=True):
    """What a client says of an upload.  ``length`` None: it does not know it yet."""

    length: int | None
    metadata: str | None = None
    name: str | None = None
    content_type: str | None = None
    partial: bool = False
    parts: Sequence[str] | None = None


class Uploads:
    """All resumable uploads.  A job of the caretaker: it deletes those that have expired."""

    def __init__(
        self,
        *,
        database: Database,
        media: MediaService,
        slots: UploadSlots,
        limits: UploadLimits,
        wake: Callable[[], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._media = media
        self._slots = slots
        self._limits = limits
        self._wake = wake
        self._clock_ms = clock_ms

    async def close(self) -> None:
        """Close the files."""
        await self._slots.close()

    # ------------------------------------------------------------ beginning

    async def create(self, owner: str, new: NewUpload) -> UploadRow:
        """Begin an upload; one that is joined of others is whole, and stored, on return.

        Raises :class:`TooLarge`, :class:`Problem` for limits, what
        :meth:`~homeserver.services.media_limits.MediaLimits.admit` raises, and what :meth:`append`
        raises at the end of an upload.
        """
        self._media.limits.admit(owner)
        parts = await self._whole_parts(owner, new.parts) if new.parts is not None else []
        length = sum(part.length or 0 for part in parts) if parts else new.length
        await self._check_length(owner, length)
        now = self._clock_ms()
        row = UploadRow(
            upload_id=new_media_id(),
            owner=owner,
            length=length,
            received=0,
            metadata=new.metadata,
            name=clean_name(new.name),
            content_type=clean_content_type(new.content_type),
            partial=new.partial,
            parts=[part.upload_id for part in parts] or None,
            state=RECEIVING,
            code=None,
            reason=None,
            created_at=now,
            expires_at=now + self._limits.expire_after_ms,
        )
        limits = self._limits
        room = limits.most_bytes + (length or 0 if parts else 0)  # joining needs no more room
        exceeded = await storage.insert(self._database, row, now, most=limits.most, most_bytes=room)
        if exceeded is not None:
            raise self._too_many(exceeded)
        self._wake()
        if parts or length == 0:
            return (await self.look(owner, row.upload_id))[0]
        return row

    async def _check_length(self, owner: str, length: int | None) -> None:
        try:
            usage = await self._media.limits.require_room(owner)
        except QuotaExceeded as error:
            raise Problem("quota_exceeded", error.text, status=403) from error
        if length is None:
            return
        most = usage.allowance.max_upload_bytes
        if length > most:
            raise TooLarge(f"A file may have at most {most} bytes")
        if length > usage.room:
            raise Problem("quota_exceeded", f"You may upload {usage.room} more bytes", status=403)

    async def _whole_parts(self, owner: str, upload_ids: Sequence[str]) -> list[UploadRow]:
        if not 0 < len(upload_ids) <= MAX_PARTS:
            raise Problem("invalid_parameter", f"Join 1 to {MAX_PARTS} uploads")
        parts = []
        for upload_id in upload_ids:
            part = await self.get(owner, upload_id)
            if not part.partial:
                raise Problem("invalid_parameter", "Only partial uploads can be joined")
            if part.received != part.length:
                raise Problem("upload_incomplete", "A part is not whole yet", status=409)
            parts.append(part)
        return parts

    def _too_many(self, exceeded: str) -> Problem:
        limits = self._limits
        most = f"{limits.most}" if exceeded == "number" else f"{limits.most_bytes} bytes of"
        return Problem(
            "quota_exceeded",
            f"You may have {most} unfinished uploads: finish or delete some",
            status=403,
        )

    # ------------------------------------------------------------ looking

    async def get(self, owner: str, upload_id: str) -> UploadRow:
        """An upload, as far as it is known to have come; whoever sends goes on undisturbed.

        Raises :class:`NotFound`, :class:`Problem` ``upload_expired``.
        """
        row = await storage.get(self._database, upload_id)
        if row is None or row.owner != owner:
            raise NotFound("There is no such upload of yours")
        if row.expires_at <= self._clock_ms():
            raise Problem("upload_expired", "This upload was left for too long", status=410)
        offset = self._slots.known_offset(upload_id)
        return row if offset is None else replace(row, received=offset)

    async def look(self, owner: str, upload_id: str) -> tuple[UploadRow, int]:
        """An upload, and where it is to be gone on with; from now on no other request sends.

        One that is whole and was not stored yet, since the server stopped, is stored.  Raises what
        :meth:`get` and :meth:`append` raise.
        """
        row = await self.get(owner, upload_id)
        if row.state == RECEIVING:
            async with self._slots.hold(upload_id) as slot:
                row = await self.get(owner, upload_id)
                if row.state == RECEIVING:
                    row, offset = await self._look(row, slot)
                    return row, offset
        check_not_refused(row)
        return row, row.length or 0

    async def _look(self, row: UploadRow, slot: Slot) -> tuple[UploadRow, int]:
        if row.parts is not None:
            return await self._finish(row, slot), row.length or 0
        file = await self._file(row, slot)
        if file.offset == row.length and not row.partial:
            row = await self._finish(row, slot)
        return row, row.length or 0 if row.state == DONE else file.offset

    # ------------------------------------------------------------ receiving

    async def append(
        self,
        owner: str,
        upload_id: str,
        offset: int,
        chunks: AsyncIterable[bytes],
        *,
        checksum: Checksum | None = None,
        length: int | None = None,
    ) -> UploadRow:
        """Go on with an upload; when it is whole, it becomes a medium.

        Whatever arrives is kept, also of a request that breaks off, unless it has a checksum.
        ``length``: of the whole upload, if that was not known before.  Raises :class:`NotFound`,
        :class:`TooLarge`, and :class:`Problem`: ``upload_expired``, ``offset_mismatch``,
        ``checksum_mismatch``, ``upload_locked``, ``policy_refused``, ``quota_exceeded``; and
        :class:`~homeserver.errors.UserSuspended`.
        """
        self._media.limits.require_active(owner)
        await self.get(owner, upload_id)  # nobody else takes it over
        async with self._slots.hold(upload_id) as slot:
            row = await self.get(owner, upload_id)
            check_not_refused(row)
            if row.parts is not None or row.state != RECEIVING:
                raise Problem("upload_complete", "This upload is whole already", status=403)
            file = await self._file(row, slot)
            if file.offset != offset:
                raise Problem(
                    "offset_mismatch", "Go on where it broke off", status=409, offset=file.offset
                )
            row = await self._with_length(row, length, file.offset)
            with _room_on_disk():
                try:
                    await self._receive(row, slot, file, chunks, checksum)
                finally:
                    row = await self._note(row, slot)
            if row.received == row.length and not row.partial:
                row = await self._finish(row, slot)
            return row

    async def _file(self, row: UploadRow, slot: Slot) -> UploadFile:
        try:
            return await slot.file()
        except DamagedFile:
            raise await self._refuse(
                row, slot, "media_damaged", "The upload is damaged on this server: begin anew"
            ) from None

    async def _with_length(self, row: UploadRow, length: int | None, offset: int) -> UploadRow:
        if length is None or length == row.length:
            return row
        if row.length is not None or length < offset:
            raise Problem("invalid_parameter", "The length cannot be changed")
        await self._check_length(row.owner, length)
        return replace(row, length=length)

    async def _receive(
        self,
        row: UploadRow,
        slot: Slot,
        file: UploadFile,
        chunks: AsyncIterable[bytes],
        checksum: Checksum | None,
    ) -> None:
        left = await self._room(row, file.offset)
        digest = hashlib.new(checksum.algorithm) if checksum is not None else None
        source, ended = aiter(chunks), False
        try:
            while not ended:
                buffer = bytearray()
                try:
                    ended = await slot.read(source, buffer)
                finally:
                    kept = bytes(buffer[:left])
                    left -= len(kept)
                    await in_thread(file.append, kept, tentative=digest is not None)
                if len(kept) < len(buffer):
                    raise TooLarge("These are more bytes than the upload has, or may have")
                if digest is not None:
                    digest.update(kept)
        except BaseException:
            if digest is not None:
                await in_thread(file.drop)
            raise
        if checksum is not None and digest is not None:
            await self._check(file, digest.digest(), checksum)

    async def _check(self, file: UploadFile, found: bytes, checksum: Checksum) -> None:
        if hmac.compare_digest(found, checksum.digest):
            await in_thread(file.confirm)
            return
        await in_thread(file.drop)
        raise Problem(
            "checksum_mismatch", "The bytes are not what was sent", status=CHECKSUM_MISMATCH
        )

    async def _room(self, row: UploadRow, offset: int) -> int:
        """How many bytes may come."""
        if row.length is not None:
            return row.length - offset
        unfinished = await storage.get_unfinished_bytes(self._database, row.owner, self._clock_ms())
        room = self._limits.most_bytes - (unfinished - row.received)
        usage = await self._media.limits.usage(row.owner)
        return max(0, min(usage.room, room) - offset)

    async def _note(self, row: UploadRow, slot: Slot) -> UploadRow:
        """Make sure of what has come, and note that the upload goes on."""
        file = slot.opened
        if file is None:
            return row
        await in_thread(file.sync)
        expires_at = self._clock_ms() + self._limits.expire_after_ms
        row = replace(row, received=file.offset, expires_at=expires_at)
        await storage.note_received(
            self._database, row.upload_id, row.received, row.length, expires_at
        )
        return row

    # ------------------------------------------------------------ ending

    async def _finish(self, row: UploadRow, slot: Slot) -> UploadRow:
        """Store an upload that is whole.  Raises :class:`Problem` if that is refused."""
        database, upload_id = self._database, row.upload_id
        server_name = self._media.server_name
        if await media_storage.get_media(database, server_name, upload_id) is None:
            content = self._joined(row) if row.parts is not None else _content(slot)
            try:
                with _room_on_disk():
                    await self._media.upload(
                        row.owner, content, row.content_type, row.name, media_id=upload_id
                    )
            except QuotaExceeded as error:
                raise await self._refuse(row, slot, "quota_exceeded", error.text) from error
            except Forbidden as error:
                raise await self._refuse(row, slot, "policy_refused", error.text) from error
            except DamagedFile as error:
                raise await self._refuse(
                    row, slot, "media_damaged", "The upload is damaged on this server: begin anew"
                ) from error
        await storage.set_state(database, upload_id, DONE)
        await self._slots.delete(upload_id, slot)
        for part in row.parts or ():
            await self._delete(part)
        return replace(row, state=DONE, received=row.length or 0)

    async def _joined(self, row: UploadRow) -> AsyncIterator[bytes]:
        for upload_id in row.parts or ():
            part = await self.get(row.owner, upload_id)
            async with self._slots.hold(upload_id) as slot:
                file = await slot.file()
                if file.offset != part.length:
                    raise DamagedFile("a part of an upload is not whole")
                async for chunk in _content(slot):
                    yield chunk

    async def _refuse(self, row: UploadRow, slot: Slot, code: str, reason: str) -> Problem:
        """Delete the bytes of an upload that will not be stored; the problem to raise."""
        await storage.set_state(self._database, row.upload_id, REFUSED, code, reason)
        await self._slots.delete(row.upload_id, slot)
        return refusal(code, reason)

    async def delete(self, owner: str, upload_id: str) -> None:
        """Forget an upload and what has arrived; a medium that it has become stays.

        Raises :class:`NotFound`, :class:`Problem` ``upload_locked``.
        """
        await self.get(owner, upload_id)
        await self._delete(upload_id)

    async def _delete(self, upload_id: str) -> None:
        async with self._slots.hold(upload_id) as slot:
            await self._slots.delete(upload_id, slot)
            await storage.delete(self._database, upload_id)

    async def forget(self, user_id: str) -> None:
        """Delete all uploads of a user whose account ends; what is in use just now expires."""
        for row in await storage.get_of_owner(self._database, user_id):
            with suppress(Interrupted):
                await self._delete(row.upload_id)

    # ------------------------------------------------------------ a job of the caretaker

    async def next_due(self) -> int | None:
        """When the next upload expires (ms)."""
        return await storage.get_first_expiry(self._database)

    async def step(self) -> bool:
        """Delete some uploads that have expired."""
        expired = await storage.get_expired(self._database, self._clock_ms(), AT_ONCE)
        for row in expired:
            with suppress(Interrupted):
                await self._delete(row.upload_id)
        return bool(expired)


def check_not_refused(row: UploadRow) -> None:
    """Raise why an upload was not stored, if it was not."""
    if row.state == REFUSED:
        raise refusal(row.code or "policy_refused", row.reason or "")


def refusal(code: str, reason: str) -> Problem:
    """Why an upload was not stored."""
    return Problem(code, reason, status=500 if code == "media_damaged" else 403)


@contextmanager
def _room_on_disk() -> Iterator[None]:
    """Raises :class:`Problem` ``storage_full`` where the disk is."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise Problem("storage_full", "There is no more room on this server", status=507) from error


async def _content(slot: Slot) -> AsyncIterator[bytes]:
    file = await slot.file()
    chunks = file.chunks()
    while (chunk := await in_thread(next, chunks, None)) is not None:
        yield chunk
