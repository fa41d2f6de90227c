"""Which keys the files on disk need, and sealing them anew with the newest one.

For the command line; the server may run meanwhile.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from homeserver.services.media_blobs import SUFFIX
from homeserver.services.media_files import BUFFER_BYTES, INCOMING, MediaFiles
from homeserver.services.media_threads import in_media_thread
from homeserver.services.sealing.container import MAGIC
from homeserver.services.sealing.errors import DamagedFile
from homeserver.services.sealing.keys import ID_BYTES
from homeserver.services.sealing.upload_file import MAGIC as UPLOAD_MAGIC
from homeserver.storage import media_strays as storage
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


class Strays(Protocol):
    """Keeps a content from being deleted, and deletes it if that was wanted meanwhile."""

    async def reserve(self, sha256: bytes) -> int:
        """Keep a content from being deleted, until it is let go."""

    async def remove(self, stray_id: int) -> None:
        """Let a content go, and delete its bytes unless something has them."""

    async def forget(self, stray_id: int) -> None:
        """Let a content go, and leave its bytes."""


class Resealing:
    """Seals with the newest key what is plain, or sealed with another one."""

    seals_what_nobody_has = True

    def __init__(self, files: MediaFiles, strays: Strays, database: Database) -> None:
        self._files = files
        self._strays = strays
        self._database = database
        self.done = 0
        self.damaged: list[str] = []
        """The names of files that cannot be read, and are left as they are."""

    async def run(self) -> None:
        """Do it.  What is on its way in is left alone; thumbnails are made anew when wanted."""
        assert self._files.keys is not None
        newest = self._files.keys.newest().key_id
        for place, key_id in await in_media_thread(lambda: list(self._find())):
            if key_id == newest:
                continue
            if THUMBNAILS in place.relative_to(self._files.root).parts:
                await in_media_thread(self._files.store.delete, [place])
            else:
                await self._reseal(place)

    def _find(self) -> Iterator[tuple[Path, bytes | None]]:
        """Each file, and the key that it is sealed with; None: it is plain."""
        for path in stored_files(self._files.root):
            if path.name.endswith(PARTIAL):
                path.unlink(missing_ok=True)  # of a run of an older release that was stopped
            elif path.relative_to(self._files.root).parts[0] not in (INCOMING, UPLOADS):
                yield path, key_of(path)

    async def _reseal(self, place: Path) -> None:
        try:
            sha256 = bytes.fromhex(place.name.removesuffix(SUFFIX))
        except ValueError:
            return  # not ours
        known = await storage.is_known(self._database, sha256)
        if not known and not self.seals_what_nobody_has:
            return
        stray_id = await self._strays.reserve(sha256)
        try:
            await in_media_thread(self._replace, place, sha256)
        except FileNotFoundError:
            return  # it was deleted before
        except DamagedFile:
            self.damaged.append(place.name.removesuffix(SUFFIX))
            return
        finally:
            if known:
                await self._strays.remove(stray_id)  # if its medium was deleted meanwhile
            else:
                await self._strays.forget(stray_id)
        self.done += 1

    def _replace(self, place: Path, sha256: bytes) -> None:
        blob = self._files.blob(sha256)
        with blob.open() as source, self._files.staged() as writer:
            while content := source.read(BUFFER_BYTES):
                writer.write(content)
            writer.finish()
            os.fsync(writer.file.fileno())
            self._files.store.move_in(writer.path, blob.sealed_path)
        if place != blob.sealed_path:
            self._files.store.delete([place])
