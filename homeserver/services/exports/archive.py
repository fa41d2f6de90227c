"""Writes a ZIP file in a thread, entry by entry, never more than a buffer in memory."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import orjson

from homeserver.services.media_blobs import MediaBlob
from homeserver.services.media_threads import in_media_thread

BUFFER_BYTES = 256 * 1024
PAUSE_SECONDS = 0.01


class Entry:
    """A file in the archive, written piece by piece; use it as a context manager."""

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive = archive
        self._name = name
        self._buffer = bytearray()
        self._file: IO[bytes] | None = None

    async def __aenter__(self) -> Self:
        self._file = await asyncio.to_thread(self._archive.open_entry, self._name)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._file is not None
        await asyncio.to_thread(self._close, bytes(self._buffer))

    def _close(self, rest: bytes) -> None:
        assert self._file is not None
        self._file.write(rest)
        self._file.close()

    async def write(self, content: bytes) -> None:
        """Add to the file."""
        assert self._file is not None
        self._buffer += content
        if len(self._buffer) >= BUFFER_BYTES:
            full = bytes(self._buffer)
            self._buffer.clear()
            await asyncio.to_thread(self._file.write, full)
            await self._archive.breathe()

    async def write_line(self, value: Any) -> None:
        """Add a line of JSON."""
        await self.write(orjson.dumps(value) + b"\n")


class Archive:
    """A ZIP file in the making.  Entries are written one after the other."""

    def __init__(
        self, path: Path, *, breathe: Callable[[], Awaitable[None]], max_media_bytes: int
    ) -> None:
        """``breathe`` is called between steps: it pauses, and raises to stop."""
        self.path = path
        self.breathe = breathe
        self.media_bytes_left = max_media_bytes
        self._zip: zipfile.ZipFile | None = None
        self._names: set[str] = set()

    async def __aenter__(self) -> Self:
        self._zip = await asyncio.to_thread(self._open)
        return self

    def _open(self) -> zipfile.ZipFile:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.close(descriptor)
        return zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED, compresslevel=6)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._zip is not None
        await asyncio.to_thread(self._zip.close)

    def has(self, name: str) -> bool:
        """Whether there is such an entry."""
        return name in self._names

    def entry(self, name: str) -> Entry:
        """Begin a file; write it before the next is begun."""
        return Entry(self, name)

    def open_entry(self, name: str) -> IO[bytes]:
        """Begin an entry.  Blocks."""
        assert self._zip is not None
        info = zipfile.ZipInfo(name, time.gmtime()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        self._names.add(name)
        return self._zip.open(info, "w", force_zip64=True)

    async def add_json(self, name: str, value: Any) -> None:
        """A file with one JSON document that is small."""
        async with self.entry(name) as entry:
            await entry.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")

    async def add_text(self, name: str, text: str) -> None:
        """A small file of text."""
        async with self.entry(name) as entry:
            await entry.write(text.encode())

    async def add_file(self, name: str, blob: MediaBlob, size_bytes: int) -> bool:
        """Put a file from disk in, as it is; False if that would be too much.

        Raises :class:`~homeserver.services.sealing.errors.DamagedFile`.
        """
        if size_bytes > self.media_bytes_left:
            return False
        self.media_bytes_left -= size_bytes
        self._names.add(name)
        await in_media_thread(self._copy, name, blob)
        await self.breathe()
        return True

    def _copy(self, name: str, blob: MediaBlob) -> None:
        assert self._zip is not None
        info = zipfile.ZipInfo(name, time.gmtime()[:6])
        info.compress_type = zipfile.ZIP_STORED
        info.external_attr = 0o600 << 16
        with blob.open() as source, self._zip.open(info, "w", force_zip64=True) as target:
            shutil.copyfileobj(source, target, BUFFER_BYTES)

    async def add_spooled(self, name: str, spool: IO[bytes]) -> None:
        """Put in what was written to a temporary file meanwhile."""
        await asyncio.to_thread(self._copy_spooled, name, spool)
        await self.breathe()

    def _copy_spooled(self, name: str, spool: IO[bytes]) -> None:
        spool.seek(0)
        with self.open_entry(name) as target:
            shutil.copyfileobj(spool, target, BUFFER_BYTES)
