"""Media on disk: each file once, named by its SHA-256, streamed in and never whole in memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from homeserver.errors import TooLarge

BUFFER_BYTES = 256 * 1024
INCOMING_DIGITS = 32
ABANDONED_SECONDS = 24 * 3600
SETTLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on disk."""

    sha256: bytes
    size_bytes: int


Inspect = Callable[[StoredFile, Path], Awaitable[None]]


class MediaFiles:
    """The directory of media: ``ab/cd/<hash>``, and ``incoming`` for what is on its way in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._sent_again: dict[bytes, float] = {}  # content that was here already: when

    def prepare(self) -> None:
        """Make the directory, and clear what interrupted uploads left a day ago or earlier."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for path in self._incoming.iterdir():
            if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                path.unlink(missing_ok=True)

    def path(self, sha256: bytes) -> Path:
        """Where the content with this hash lies."""
        name = sha256.hex()
        return self.root / name[:2] / name[2:4] / name

    def named(self, name: str) -> Path:
        """A file by its own name: the content's hash, or what it is called on its way in."""
        if len(name) == INCOMING_DIGITS:
            return self._incoming / name
        return self.path(bytes.fromhex(name))

    def thumbnail_path(self, sha256: bytes, name: str) -> Path:
        """Where a thumbnail of that content lies, once it is made."""
        digest = sha256.hex()
        return self.root / "thumbnails" / digest[:2] / digest[2:4] / digest / name

    async def receive(
        self, chunks: AsyncIterable[bytes], most_bytes: int, inspect: Inspect | None = None
    ) -> StoredFile:
        """Store a stream; on disk for good when this returns.

        ``inspect`` looks at the file before it gets its place; if it raises, nothing is kept.
        Raises :class:`TooLarge` as soon as there are more than ``most_bytes``.
        """
        temporary = self._incoming / secrets.token_hex(INCOMING_DIGITS // 2)
        digest = hashlib.sha256()
        size = 0
        file = await asyncio.to_thread(open, temporary, "xb")
        try:
            buffer = bytearray()
            async for chunk in chunks:
                size += len(chunk)
                if size > most_bytes:
                    raise TooLarge(f"A file may have at most {most_bytes} bytes")
                buffer += chunk
                if len(buffer) >= BUFFER_BYTES:
                    await asyncio.to_thread(_write, file, digest, bytes(buffer))
                    buffer.clear()
            await asyncio.to_thread(_write, file, digest, bytes(buffer))
            stored = StoredFile(digest.digest(), size)
            if inspect is not None:
                await asyncio.to_thread(file.flush)
                await inspect(stored, temporary)
            target = self.path(stored.sha256)
            if target.exists():
                self._note_sent_again(stored.sha256)
            await asyncio.to_thread(_finish, file, temporary, target)
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise
        return stored

    def _note_sent_again(self, sha256: bytes) -> None:
        now = time.monotonic()
        self._sent_again = {
            k: at for k, at in self._sent_again.items() if at > now - SETTLE_SECONDS
        }
        self._sent_again[sha256] = now

    def delete(self, sha256: bytes) -> bool:
        """Delete a file and its thumbnails.  Blocks.

        False, and nothing is deleted, if the same content has just come again: what refers to it
        may not be on disk yet.
        """
        if self._sent_again.get(sha256, -SETTLE_SECONDS) > time.monotonic() - SETTLE_SECONDS:
            return False
        shutil.rmtree(self.thumbnail_path(sha256, ""), ignore_errors=True)
        self.path(sha256).unlink(missing_ok=True)
        return True


def write_file(target: Path, content: bytes) -> None:
    """Write a small file so that it is there whole or not at all.  Blocks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(8)}")
    temporary.write_bytes(content)
    temporary.replace(target)


def _write(file: BinaryIO, digest: hashlib._Hash, content: bytes) -> None:
    digest.update(content)
    file.write(content)


def _finish(file: BinaryIO, temporary: Path, target: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    if target.exists():
        temporary.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
