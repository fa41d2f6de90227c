"""Which keys the files on disk need, and sealing them anew with the newest one.

For the command line; the server may run meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from homeserver.services.media_blobs import SUFFIX, MediaBlob
from homeserver.services.media_files import BUFFER_BYTES, INCOMING
from homeserver.services.sealing.container import MAGIC, SealedReader, SealingWriter
from homeserver.services.sealing.errors import DamagedFile
from homeserver.services.sealing.keys import ID_BYTES, KeyFile
from homeserver.services.sealing.upload_file import MAGIC as UPLOAD_MAGIC
from homeserver.storage import media as storage
from homeserver.storage.database import Database

PARTIAL = ".resealing"
THUMBNAILS, UPLOADS = "thumbnails", "uploads"


def stored_files(root: Path) -> Iterator[Path]:
    """All files of media, in no order."""
    for path in root.rglob("*"):
        if path.is_file():
            yield path


def key_of(path: Path) -> bytes | None:
    """The ID of the key that a file is sealed with; None: it is plain, or not there any more."""
    try:
        with path.open("rb") as file:
            head = file.read(len(UPLOAD_MAGIC) + 1 + ID_BYTES)
    except FileNotFoundError:
        return None
    if path.suffix == SUFFIX and head.startswith(MAGIC):
        return head[len(MAGIC) : len(MAGIC) + ID_BYTES]
    if path.parent.name == UPLOADS and head.startswith(UPLOAD_MAGIC + b"\1"):
        return head[len(UPLOAD_MAGIC) + 1 :]
    return None


def count_by_key(root: Path) -> Counter[bytes | None]:
    """How many files are sealed with each key; None: with none."""
    return Counter(key_of(path) for path in stored_files(root))


class Resealing:
    """Seals with the newest key what is plain, or sealed with another one."""

    def __init__(self, root: Path, keys: KeyFile, database: Database) -> None:
        self._root = root
        self._keys = keys
        self._database = database
        self.done = 0
        self.damaged: list[str] = []
        """The names of files that cannot be read, and are left as they are."""

    async def run(self) -> None:
        """Do it.  What is on its way in is left alone; thumbnails are made anew when wanted."""
        newest = self._keys.newest().key_id
        for path in await asyncio.to_thread(lambda: list(stored_files(self._root))):
            if path.name.endswith(PARTIAL):
                path.unlink(missing_ok=True)  # of a run that was stopped
            elif self._is_on_its_way(path) or key_of(path) == newest:
                continue
            elif THUMBNAILS in path.relative_to(self._root).parts:
                path.unlink(missing_ok=True)
            else:
                await self._reseal(path)

    def _is_on_its_way(self, path: Path) -> bool:
        return path.relative_to(self._root).parts[0] in (INCOMING, UPLOADS)

    async def _reseal(self, path: Path) -> None:
        blob = MediaBlob(path.with_suffix(""), self._keys)
        try:
            sha256 = bytes.fromhex(blob.name)
        except ValueError:
            return  # not ours
        # While its rows are locked, the server does not delete it.
        async with self._database.transaction() as connection:
            await storage.lock_content(connection, sha256)
            try:
                await asyncio.to_thread(self._replace, path, blob)
            except FileNotFoundError:
                return  # it was deleted before
            except DamagedFile:
                self.damaged.append(blob.name)
                return
        self.done += 1

    def _replace(self, path: Path, blob: MediaBlob) -> None:
        partial = path.with_name(blob.name + PARTIAL)
        with suppress(FileNotFoundError):
            partial.unlink()
        try:
            with partial.open("xb") as target, path.open("rb") as raw:
                source = SealedReader(raw, self._keys) if path.suffix == SUFFIX else raw
                writer = SealingWriter(target, self._keys.newest())
                while content := source.read(BUFFER_BYTES):
                    writer.write(content)
                writer.finish()
                target.flush()
                os.fsync(target.fileno())
            partial.replace(blob.sealed_path)
        finally:
            partial.unlink(missing_ok=True)
        blob.path.unlink(missing_ok=True)
