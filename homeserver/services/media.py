"""The content repository: uploads, downloads, and copies of other instances' media.

Spec: client-server API, content repository; server-server API, the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog
from msgspec import Struct, field

from homeserver.errors import Forbidden, LimitExceeded, MatrixError, NotFound, TooLarge
from homeserver.protocol.identifiers import is_valid_server_name
from homeserver.services.media_blobs import MediaBlob, damaged
from homeserver.services.media_files import MediaFiles, StoredFile
from homeserver.services.media_limits import CREATE, Allowance, MediaLimits, QuotaExceeded
from homeserver.services.media_names import MEDIA_ID, clean_content_type, clean_name, new_media_id
from homeserver.services.media_strays import MediaStrays
from homeserver.services.media_threads import in_media_thread
from homeserver.services.sealing.errors import DamagedFile
from homeserver.services.shared_tasks import SharedTasks
from homeserver.services.thumbnails import Thumbnail, Thumbnails, ThumbnailSpec
from homeserver.storage import media as storage
from homeserver.storage import media_quarantine as quarantine
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRow, PendingMedia
from homeserver.storage.stripped_media import is_stripped

logger = structlog.get_logger(__name__)

DEFAULT_WAIT_MS = 20_000
LONGEST_WAIT_MS = 60_000
POLL_SECONDS = 1.0
TOUCH_EVERY_MS = 24 * 3_600_000
FILLED = "This media ID has content already"
NONE = "There is no such media here"


class NotYetUploaded(MatrixError):
    """The media ID was given out, but its content has not come."""

    errcode, status = "M_NOT_YET_UPLOADED", 504


class CannotOverwrite(MatrixError):
    """The media ID has content already."""

    errcode, status = "M_CANNOT_OVERWRITE_MEDIA", 409


class RemoteTooLarge(MatrixError):
    """Another instance's media exceeds the limit here."""

    errcode, status = "M_TOO_LARGE", 502


class RemoteFile(Protocol):
    """Another instance's file, on its way."""

    @property
    def content_type(self) -> str | None:
        """What it claims to be."""

    @property
    def upload_name(self) -> str | None:
        """What its uploader called it."""

    @property
    def chunks(self) -> AsyncIterable[bytes]:
        """Its bytes."""


class RemoteMedia(Protocol):
    """Fetches media from other instances."""

    def download(
        self, origin: str, media_id: str, timeout_ms: int
    ) -> AbstractAsyncContextManager[RemoteFile]:
        """Open a file of another instance.  Raises :class:`MatrixError`."""


class MediaJudge(Protocol):
    """Content policy for files.  Each method raises :class:`Forbidden` for what may not be had."""

    async def check_new(self, row: MediaRow, blob: MediaBlob) -> None:
        """Judge a file before it is stored."""

    async def check_fetch(self, origin: str, media_id: str) -> None:
        """Do not fetch again what was refused."""

    async def check_download(self, row: MediaRow, blob: MediaBlob) -> None:
        """Look up what was decided."""


class PendingLimits(Struct, frozen=True):
    """For media IDs given out first: for how long (ms), and how many to one user at once."""

    expire_after_ms: int = 24 * 3_600_000
    most: int = 20


class MediaFile(Struct, frozen=True):
    """A file that can be served."""

    row: MediaRow
    blob: MediaBlob


class ReceivedMedia(MediaRow, frozen=True):
    """A file that is stored and not noted yet.  ``stray_id``: what keeps its bytes meanwhile."""

    stray_id: int = 0


class _Awaited(Struct):
    """An upload for which some wait."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    readers: int = 0


class MediaService:
    """Takes media in, finds it, and fetches it from where it comes from."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        files: MediaFiles,
        strays: MediaStrays,
        thumbnails: Thumbnails,
        remote: RemoteMedia,
        max_upload_bytes: int,
        unauthenticated_downloads: bool,
        clock_ms: Callable[[], int],
        gate: MediaJudge | None = None,
        limits: MediaLimits | None = None,
        pending: PendingLimits | None = None,
    ) -> None:
        """``max_upload_bytes``: the largest file that is fetched; ``limits``: of uploads."""
        self.server_name = server_name
        self._database = database
        self._files = files
        self._strays = strays
        self._thumbnails = thumbnails
        self._remote = remote
        self.max_upload_bytes = max_upload_bytes
        self.unauthenticated_downloads = unauthenticated_downloads
        """Whether what was uploaded here may be had without a token, as before v1.11."""
        self._clock_ms = clock_ms
        self._gate = gate
        self.limits = limits or MediaLimits(
            database=database, default=Allowance(None, None, max_upload_bytes)
        )
        self._pending = pending or PendingLimits()
        self._awaited: dict[str, _Awaited] = {}
        self._fetches: SharedTasks[tuple[str, str], MediaRow] = SharedTasks("fetch media")
        self.on_fetched: list[Callable[[int], None]] = []
        """Told how many bytes a copy of another instance's file has, once it is here."""

    async def start(self) -> None:
        """Make the directories."""
        await in_media_thread(self._files.prepare)

    async def close(self) -> None:
        """Stop fetching."""
        await self._fetches.close()
        self._thumbnails.close()

    # ------------------------------------------------------------ taking in

    async def create(self, uploader: str) -> PendingMedia:
        """Give out an ID whose content comes later.  Spec: ``POST /media/v1/create``.

        Raises :class:`LimitExceeded`, :class:`~homeserver.errors.UserSuspended`.
        """
        self.limits.admit(uploader, CREATE)
        now = self._clock_ms()
        pending = PendingMedia(new_media_id(), uploader, now + self._pending.expire_after_ms)
        first_expiry = await storage.insert_pending(
            self._database, pending, now, self._pending.most
        )
        if first_expiry is not None:
            raise LimitExceeded(max(1_000, first_expiry - now))
        return pending

    async def upload(
        self,
        uploader: str,
        chunks: AsyncIterable[bytes],
        content_type: str | None,
        upload_name: str | None,
        *,
        media_id: str | None = None,
    ) -> str:
        """Store a file; its media ID.  Spec: ``POST /media/v3/upload``.

        Raises :class:`TooLarge`, :class:`~homeserver.services.media_limits.QuotaExceeded`,
        :class:`~homeserver.errors.UserSuspended`, and :class:`Forbidden` if content policy refuses
        it.  Whether it comes too soon after others the caller asks (:attr:`limits`).
        """
        row = await self.receive(uploader, chunks, content_type, upload_name, media_id=media_id)
        await self.keep(row)
        return row.media_id

    async def receive(
        self,
        uploader: str | None,
        chunks: AsyncIterable[bytes],
        content_type: str | None,
        upload_name: str | None,
        *,
        media_id: str | None = None,
    ) -> ReceivedMedia:
        """Store a file that is no medium yet: :meth:`keep` it, or :meth:`discard` it.

        ``uploader``: None for what this server fetched by itself, to which no limits apply but the
        size of a file.  Raises what :meth:`upload` raises.
        """
        return await self._receive(
            self.server_name,
            media_id or new_media_id(),
            chunks,
            uploader=uploader,
            content_type=content_type,
            upload_name=upload_name,
        )

    async def keep(self, row: ReceivedMedia) -> None:
        """Make a file that was received a medium.

        Raises :class:`~homeserver.services.media_limits.QuotaExceeded`,
        :class:`CannotOverwrite`; then it is discarded.
        """
        await self._keep(row)

    async def _keep(self, row: ReceivedMedia, *, fills: bool = False) -> None:
        """``fills``: its ID was given out before."""
        try:
            async with self._database.transaction() as connection:
                if not await storage.insert_media(connection, row):
                    raise CannotOverwrite(FILLED)
                if row.uploader is not None:
                    await self.limits.count_in(connection, row.uploader, row.size_bytes)
                if fills:
                    await storage.delete_pending(connection, row.media_id)
                await self._strays.settle(connection, row.stray_id)
        except (QuotaExceeded, CannotOverwrite):
            await self.discard(row)
            raise

    async def discard(self, row: ReceivedMedia) -> None:
        """Delete a file that was received, unless it was kept or something else has its content."""
        await self._strays.remove(row.stray_id)

    async def upload_to(
        self,
        media_id: str,
        uploader: str,
        chunks: AsyncIterable[bytes],
        content_type: str | None,
        upload_name: str | None,
    ) -> None:
        """Store the content of an ID given out before.

        Spec: ``PUT /media/v3/upload/{serverName}/{mediaId}``.
        Raises :class:`NotFound`, :class:`Forbidden`, :class:`CannotOverwrite`, :class:`TooLarge`.
        """
        await self._check_pending(media_id, uploader)
        row = await self._receive(
            self.server_name,
            media_id,
            chunks,
            uploader=uploader,
            content_type=content_type,
            upload_name=upload_name,
            fills=True,
        )
        await self._keep(row, fills=True)
        if media_id in self._awaited:
            self._awaited[media_id].arrived.set()

    async def _check_pending(self, media_id: str, uploader: str) -> None:
        pending = await storage.get_pending(self._database, media_id)
        if pending is None or pending.expires_at <= self._clock_ms():
            if await storage.get_media(self._database, self.server_name, media_id) is not None:
                raise CannotOverwrite(FILLED)
            raise NotFound("This media ID was not given out, or it has expired")
        if pending.uploader != uploader:
            raise Forbidden("This media ID was given out to somebody else")

    async def _receive(
        self,
        origin: str,
        media_id: str,
        chunks: AsyncIterable[bytes],
        *,
        uploader: str | None,
        content_type: str | None,
        upload_name: str | None,
        fills: bool = False,
    ) -> ReceivedMedia:
        """Store a file, if content policy allows it; what there is to note of it.

        ``fills``: its ID was given out before.
        """
        stray_id = 0

        def row(stored: StoredFile) -> ReceivedMedia:
            return ReceivedMedia(
                origin=origin,
                media_id=media_id,
                uploader=uploader,
                content_type=clean_content_type(content_type),
                upload_name=clean_name(upload_name),
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                created_at=self._clock_ms(),
                stray_id=stray_id,
            )

        async def inspect(stored: StoredFile, blob: MediaBlob) -> None:
            nonlocal stray_id
            if fills and await storage.get_media(self._database, origin, media_id) is not None:
                raise CannotOverwrite(FILLED)  # before a verdict on it replaces that on the other
            if self._gate is not None:
                await self._gate.check_new(row(stored), blob)
            stray_id = await self._strays.reserve(stored.sha256)

        if uploader is None:
            return row(await self._files.receive(chunks, self.max_upload_bytes, inspect))
        self.limits.require_active(uploader)
        usage = await self.limits.require_room(uploader)
        try:
            return row(await self._files.receive(chunks, usage.room, inspect))
        except TooLarge:
            if usage.room == usage.allowance.max_upload_bytes:
                raise
            raise self.limits.bytes_exceeded(usage) from None

    # ------------------------------------------------------------ giving out

    async def find(
        self,
        origin: str,
        media_id: str,
        *,
        timeout_ms: int = DEFAULT_WAIT_MS,
        allow_remote: bool = True,
        reader: str | None = None,
    ) -> MediaFile:
        """A file, fetched from its instance if need be, for a ``reader`` of this one.

        Spec: ``GET /media/download/{serverName}/{mediaId}``.
        Raises :class:`NotFound`, :class:`LimitExceeded`, :class:`NotYetUploaded`,
        :class:`RemoteTooLarge`, and :class:`Forbidden` for what content policy withholds.
        """
        if not is_valid_server_name(origin) or not MEDIA_ID.fullmatch(media_id):
            raise NotFound(NONE)
        if await is_stripped(self._database, origin, media_id):
            raise Forbidden("This server's content policy withholds this file")
        row = await storage.get_media(self._database, origin, media_id)
        if row is not None and row.quarantined_by is not None:
            raise NotFound(NONE)
        blob = None if row is None else await self._stored(row)
        if row is None or blob is None:
            wait_ms = min(timeout_ms, LONGEST_WAIT_MS)
            if origin == self.server_name:
                row = await self._wait_for_upload(media_id, wait_ms)
            elif allow_remote:
                row = await self._fetch(origin, media_id, wait_ms, reader)
            else:
                raise NotFound(NONE)
            blob = await self._stored(row)
            if blob is None or row.quarantined_by is not None:
                raise NotFound(NONE)
        if self._gate is not None:
            try:
                await self._gate.check_download(row, blob)
            except DamagedFile as error:
                raise damaged(blob, error) from error
        now = self._clock_ms()
        if now - (row.last_access_at or 0) >= TOUCH_EVERY_MS:
            await storage.touch_media(self._database, origin, media_id, now, TOUCH_EVERY_MS)
        return MediaFile(row, blob)

    async def _stored(self, row: MediaRow) -> MediaBlob | None:
        """A file's bytes; None if they are not here."""
        blob = self._files.blob(row.sha256)
        return blob if await in_media_thread(blob.exists) else None

    async def thumbnail(self, media: MediaFile, spec: ThumbnailSpec) -> Thumbnail:
        """A thumbnail of an image.  Spec: ``GET /media/thumbnail/{serverName}/{mediaId}``.

        Raises :class:`~homeserver.services.thumbnails.CannotThumbnail`, :class:`TooLarge`,
        :class:`RemoteTooLarge`.
        """
        try:
            return await self._thumbnails.get(media.row.sha256, spec)
        except FileNotFoundError:
            raise NotFound(NONE) from None
        except DamagedFile as error:
            raise damaged(media.blob, error) from error
        except TooLarge as error:
            if media.row.origin != self.server_name:
                raise RemoteTooLarge(error.text) from error
            raise

    async def _wait_for_upload(self, media_id: str, wait_ms: int) -> MediaRow:
        """Wait for the content of an ID given out; another process may be the one to get it."""
        pending = await storage.get_pending(self._database, media_id)
        deadline = self._clock_ms() + wait_ms
        awaited = self._awaited.setdefault(media_id, _Awaited())
        awaited.readers += 1
        try:
            while pending is not None and pending.expires_at > self._clock_ms():
                left = (deadline - self._clock_ms()) / 1000
                if left <= 0:
                    raise NotYetUploaded("The content has not been uploaded yet")
                await _wait(awaited.arrived, min(left, POLL_SECONDS))
                pending = await storage.get_pending(self._database, media_id)
        finally:
            awaited.readers -= 1
            if not awaited.readers:
                del self._awaited[media_id]
        row = await storage.get_media(self._database, self.server_name, media_id)
        if row is None:
            raise NotFound(NONE)
        return row

    async def _fetch(
        self, origin: str, media_id: str, timeout_ms: int, reader: str | None
    ) -> MediaRow:
        """Fetch from another instance, if it may be had; one fetch serves all who ask."""
        if await quarantine.is_quarantined(self._database, origin, media_id):
            raise NotFound(NONE)
        if self._gate is not None:
            await self._gate.check_fetch(origin, media_id)

        deadline, is_ours = self._clock_ms() + timeout_ms, False

        def begin() -> Coroutine[Any, Any, MediaRow]:
            nonlocal is_ours
            if reader is not None:
                self.limits.count_fetch(reader)
            is_ours = True
            return self._fetch_now(origin, media_id, max(deadline - self._clock_ms(), 0))

        while True:
            try:
                return await self._fetches.run((origin, media_id), begin)
            except NotYetUploaded:  # whoever began it may have had less time for it
                if is_ours or self._clock_ms() >= deadline:
                    raise

    async def _fetch_now(self, origin: str, media_id: str, timeout_ms: int) -> MediaRow:
        async with self._remote.download(origin, media_id, timeout_ms) as remote:
            try:
                row = await self._receive(
                    origin,
                    media_id,
                    remote.chunks,
                    uploader=None,
                    content_type=remote.content_type,
                    upload_name=remote.upload_name,
                )
            except TooLarge as error:
                raise RemoteTooLarge("The other server's file is too large") from error
        async with self._database.transaction() as connection:
            await storage.put_media(connection, row)
            await self._strays.settle(connection, row.stray_id)
        for listener in self.on_fetched:
            listener(row.size_bytes)
        return await storage.get_media(self._database, origin, media_id) or row


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
