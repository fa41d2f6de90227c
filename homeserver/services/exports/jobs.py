"""Exports asked for, built one after the other, and deleted after their time.

What is to be done is in the database, so it outlives the process; one that dies leaves its export
to the next, which begins it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from msgspec import Struct

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.exports import pages
from homeserver.services.exports.account import AccountPart
from homeserver.services.exports.archive import PAUSE_SECONDS, Archive
from homeserver.services.exports.media import HeldMedia, MediaPart
from homeserver.services.exports.rooms import RoomsPart
from homeserver.services.media_stores import StorageUnavailable
from homeserver.storage import exports as storage
from homeserver.storage.database import Database
from homeserver.storage.exports import Export

logger = structlog.get_logger(__name__)

HOUR_MS = 3_600_000
FORGET_AFTER_MS = 90 * 24 * HOUR_MS
LEASE_MS = 120_000
RENEW_EVERY_MS = 30_000
CHECK_SECONDS = 60.0
README = """What the server {server} has of {user}.

index.html          begin here: your rooms, to read
account/, consent/  your account: one JSON document, or one line of JSON per entry
rooms/              per room: messages, state and members as lines of JSON; index.html to read
media/              what you uploaded, and the files in your messages; index.jsonl lists them,
                    also those that are left out, and why

Times are milliseconds since 1970 (UTC). Encrypted messages are here as this server has them:
only your devices can read them. Your password, your sessions' tokens and private keys are not here.
"""


class Unwanted(Exception):
    """The export is wanted no more: its account is being deleted."""


class Settings(Struct, frozen=True):
    """``exports``."""

    keep_hours: int
    max_media_bytes: int


class Exports:
    """Takes requests, builds archives, gives them out, deletes them."""

    def __init__(
        self,
        *,
        server_name: str,
        directory: Path,
        settings: Settings,
        database: Database,
        account: AccountPart,
        rooms: RoomsPart,
        media: HeldMedia,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._directory = directory
        self._settings = settings
        self._database = database
        self._account = account
        self._rooms = rooms
        self._media = media
        self._clock_ms = clock_ms
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ for users

    async def is_busy(self, user_id: UserId) -> bool:
        """Whether one is under way for a user."""
        newest = await storage.get_exports(self._database, user_id, 1)
        return bool(newest) and newest[0].state in (storage.QUEUED, storage.RUNNING)

    async def request(self, user_id: UserId) -> Export:
        """Ask for an export; the one that is under way, if there is one."""
        await storage.insert_export(
            self._database, secrets.token_urlsafe(32), user_id, self._clock_ms()
        )
        self._wake.set()
        return (await storage.get_exports(self._database, user_id, 1))[0]

    async def mine(self, user_id: UserId) -> list[Export]:
        """A user's exports, the newest first."""
        return await storage.get_exports(self._database, user_id)

    async def file(self, user_id: UserId, export_id: str) -> tuple[Export, Path]:
        """A finished export of a user.  Raises: :class:`NotFound`."""
        export = None
        if "\0" not in export_id:
            export = await storage.get_export(self._database, export_id)
        if export is not None and export.user_id == user_id and export.state == storage.READY:
            path = self._path(export_id)
            if (export.expires_at or 0) > self._clock_ms() and path.is_file():
                return export, path
        raise NotFound("There is no such export, or it is not ready, or it has been deleted")

    async def forget(self, user_id: str) -> None:
        """Delete all exports of a user whose account ends."""
        for export_id in await storage.delete_exports(self._database, user_id):
            await self._delete_file(export_id)

    def _path(self, export_id: str) -> Path:
        return self._directory / f"{export_id}.zip"

    async def _delete_file(self, export_id: str) -> None:
        await asyncio.to_thread(self._path(export_id).unlink, missing_ok=True)

    # ------------------------------------------------------------ when

    async def start(self) -> None:
        """Go on with what was asked for."""
        known = await storage.get_known_ids(self._database)
        await asyncio.to_thread(self._tidy, known)
        self._task = asyncio.create_task(self._run(), name="exports")

    def _tidy(self, known: set[str]) -> None:
        """Delete files that belong to nothing."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self._directory.iterdir():
            if path.name.partition(".")[0] not in known:
                path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Stop; what is being built is begun anew at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._expire()
                if await self._build_next():
                    continue
            except Exception:
                logger.exception("exports: could not work")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._wake.wait()

    async def _expire(self) -> None:
        now = self._clock_ms()
        for export_id in await storage.get_due(self._database, now):
            await self._delete_file(export_id)
            await storage.set_expired(self._database, export_id)
        await storage.delete_forgotten(self._database, now - FORGET_AFTER_MS)

    # ------------------------------------------------------------ building

    async def _build_next(self) -> bool:
        now = self._clock_ms()
        export = await storage.take_next(self._database, now, now + LEASE_MS)
        if export is None:
            return False
        part = self._directory / f"{export.export_id}.part"
        try:
            await self._build(export, part)
            await self._publish(export, part)
        except asyncio.CancelledError:
            await storage.put_back(self._database, export.export_id)
            raise
        except StorageUnavailable as error:
            logger.warning("export waits for files", user_id=export.user_id, reason=error.reason)
            await storage.put_back(self._database, export.export_id)
            return False
        except Unwanted:
            logger.info("export is wanted no more", user_id=export.user_id)
        except Exception:
            logger.exception("export failed", user_id=export.user_id)
            await storage.finish(self._database, export.export_id, storage.FAILED, now)
        finally:
            part.unlink(missing_ok=True)
        return True

    async def _publish(self, export: Export, part: Path) -> None:
        """Put the file in its place, and the user's earlier ones away."""
        path = self._path(export.export_id)
        await asyncio.to_thread(part.replace, path)
        now = self._clock_ms()
        if not await storage.finish(
            self._database,
            export.export_id,
            storage.READY,
            now,
            expires_at=now + self._settings.keep_hours * HOUR_MS,
            size_bytes=path.stat().st_size,
        ):
            await self._delete_file(export.export_id)
            raise Unwanted
        logger.info("export ready", user_id=export.user_id)
        for older in await storage.get_older(self._database, export.user_id, export.export_id):
            await self._delete_file(older)
            await storage.set_expired(self._database, older)

    async def _build(self, export: Export, part: Path) -> None:
        user_id = UserId(export.user_id)
        breathe = self._breather(export.export_id)
        async with Archive(
            part, breathe=breathe, max_media_bytes=self._settings.max_media_bytes
        ) as archive:
            readme = README.format(server=self._server_name, user=user_id)
            await archive.add_text("README.txt", readme)
            await self._account.write(archive, user_id)
            media = MediaPart(
                archive,
                database=self._database,
                media=self._media,
                server_name=self._server_name,
                user_id=user_id,
                directory=self._directory,
            )
            try:
                rooms = await self._rooms.write(archive, media, user_id, self._directory)
                await media.finish()
            finally:
                media.close()
            await archive.add_text("index.html", pages.contents(user_id, rooms))

    def _breather(self, export_id: str) -> Callable[[], Awaitable[None]]:
        """Called between steps: lets traffic go first, and keeps the export ours."""
        renewed_at = self._clock_ms()

        async def breathe() -> None:
            nonlocal renewed_at
            await asyncio.sleep(PAUSE_SECONDS)
            now = self._clock_ms()
            if now - renewed_at >= RENEW_EVERY_MS:
                renewed_at = now
                if not await storage.prolong(self._database, export_id, now + LEASE_MS):
                    raise Unwanted

        return breathe
