"""Media: each content once, named by its SHA-256, streamed in and never whole in memory.

What comes in is sealed, if the configuration says so; what is there is read either way.  It is
staged in a directory of this machine, and kept by a :class:`~homeserver.services.media_stores.
MediaStore`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import Struct

from homeserver.errors import TooLarge
from homeserver.services.media_blobs import SUFFIX, MediaBlob
from homeserver.services.media_stores import LOCAL, MediaStore
from homeserver.services.media_threads import in_media_thread
from homeserver.services.sealing.container import SealingWriter
from homeserver.services.sealing.keys import Keys

BUFFER_BYTES = 256 * 1024
INCOMING = "incoming"
INCOMING_DIGITS = 32
ABANDONED_SECONDS = 24 * 3600


class StoredFile(Struct, frozen=True):
    """A file that was received."""

    sha256: bytes
    size_bytes: int


Inspect = Callable[[StoredFile, MediaBlob], Awaitable[None]]


class MediaFiles:
    """All files: ``ab/cd/<hash>``, and ``incoming`` on this machine for what is on its way in."""

    def __init__(
        self,
        root: Path,
        keys: Keys | None = None,
        *,
        seal: bool = False,
        store: MediaStore = LOCAL,
    ) -> None:
        """``keys`` open what is sealed; ``seal``: what comes in is."""
        self.root = root
        self.keys = keys
        self.seal = seal and keys is not None
        self.store = store
        self._incoming = root / INCOMING

    def prepare(self) -> None:
        """Make the directory, and clear what interrupted uploads left a day ago or earlier."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for path in self._incoming.iterdir():
            if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        self.store.prepare()

    def blob(self, sha256: bytes) -> MediaBlob:
        """The content with this hash."""
        name = sha256.hex()
        return self._kept(self.root / name[:2] / name[2:4] / name)

    def _kept(self, place: Path) -> MediaBlob:
        return MediaBlob(place, self.keys, self.store, self.seal)

    def named(self, name: str) -> MediaBlob:
        """A file by its own name: the content's hash, or what it is called on its way in."""
        if len(name) == INCOMING_DIGITS:
            return MediaBlob(self._incoming / name, self.keys)
        return self.blob(bytes.fromhex(name))

    def thumbnail(self, sha256: bytes, name: str) -> MediaBlob:
        """A thumbnail of that content, once it is made."""
        digest = sha256.hex()
        place = self.root / "thumbnails" / digest[:2] / digest[2:4] / digest / name
        return self._kept(place)

    def find_thumbnail(self, base: MediaBlob, suffixes: Iterable[str]) -> MediaBlob | None:
        """The thumbnail called like ``base`` and one of some suffixes, if there is one.  Blocks."""
        names = [base.name + suffix + seal for suffix in suffixes for seal in (SUFFIX, "")]
        name = self.store.find(base.path.parent, names)
        if name is None:
            return None
        return self._kept(base.path.with_name(name.removesuffix(SUFFIX)))

    async def receive(
        self, chunks: AsyncIterable[bytes], most_bytes: int, inspect: Inspect | None = None
    ) -> StoredFile:
        """Store a stream; kept for good when this returns.

        ``inspect`` looks at the file before it gets its place; if it raises, nothing is kept.
        Raises :class:`TooLarge` as soon as there are more than ``most_bytes``.
        """
        incoming = MediaBlob(self._incoming / secrets.token_hex(INCOMING_DIGITS // 2), self.keys)
        digest = hashlib.sha256()
        size = 0
        writer = await in_media_thread(self._writer, incoming)
        try:
            buffer = bytearray()
            async for chunk in chunks:
                size += len(chunk)
                if size > most_bytes:
                    raise TooLarge(f"A file may have at most {most_bytes} bytes")
                buffer += chunk
                if len(buffer) >= BUFFER_BYTES:
                    await in_media_thread(_write, writer, digest, bytes(buffer))
                    buffer.clear()
            await in_media_thread(_write, writer, digest, bytes(buffer))
            await in_media_thread(writer.finish)
            stored = StoredFile(digest.digest(), size)
            if inspect is not None:
                await inspect(stored, incoming)
            await in_media_thread(self._keep, writer, self.blob(stored.sha256))
        except BaseException:
            writer.close()
            incoming.unlink()
            raise
        return stored

    def _writer(self, blob: MediaBlob) -> _Writer:
        if not self.seal or self.keys is None:
            return _Writer(blob.path, None)
        return _Writer(blob.sealed_path, self.keys)

    def _keep(self, writer: _Writer, target: MediaBlob) -> None:
        """Give a file its place, unless the same content is there."""
        os.fsync(writer.file.fileno())
        writer.close()
        if target.is_stored():
            writer.path.unlink(missing_ok=True)
        else:
            place = target.sealed_path if writer.path.suffix else target.path
            self.store.move_in(writer.path, place)

    @contextmanager
    def staged(self) -> Iterator[_Writer]:
        """A file on this machine that is on its way in, and gone at the end.  Blocks."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        staged = self._incoming / secrets.token_hex(INCOMING_DIGITS // 2)
        writer = self._writer(MediaBlob(staged, self.keys))
        try:
            yield writer
        finally:
            writer.close()
            writer.path.unlink(missing_ok=True)

    def write(self, blob: MediaBlob, content: bytes) -> None:
        """Write a small file so that it is there whole or not at all.  Blocks."""
        with self.staged() as writer:
            writer.write(content)
            writer.finish()
            self._keep(writer, blob)

    def delete(self, sha256: bytes) -> None:
        """Delete a content and its thumbnails, if they are there.  Blocks.

        Nobody may store the same content meanwhile: see :mod:`homeserver.services.media_strays`.
        """
        self.blob(sha256).unlink()
        self.store.delete_directory(self.thumbnail(sha256, "any").path.parent)


class _Sink(Protocol):
    def write(self, content: bytes, /) -> object: ...


class _Writer:
    """A file on its way in, sealed if there are keys.  Blocks."""

    def __init__(self, path: Path, keys: Keys | None) -> None:
        self.path = path
        self.file: BinaryIO = path.open("xb")
        self._sealing = SealingWriter(self.file, keys.newest()) if keys is not None else None
        self._sink: _Sink = self._sealing or self.file

    def write(self, content: bytes) -> None:
        """Add content."""
        self._sink.write(content)

    def finish(self) -> None:
        """It is whole, and can be read."""
        if self._sealing is not None:
            self._sealing.finish()
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _write(writer: _Writer, digest: hashlib._Hash, content: bytes) -> None:
    digest.update(content)
    writer.write(content)
