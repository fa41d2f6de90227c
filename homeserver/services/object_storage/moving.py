"""Moves the files that lie on this machine into the bucket, while the server runs.

Done again, it goes on where it stopped.  Until a file is in the bucket for good, it is read where
it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from homeserver.services.media_files import INCOMING
from homeserver.services.media_stores import StorageUnavailable
from homeserver.services.media_threads import in_media_thread
from homeserver.services.object_storage.bucket import Bucket
from homeserver.services.object_storage.store import BucketStore
from homeserver.services.sealing.rotation import PARTIAL, THUMBNAILS, UPLOADS, Strays
from homeserver.storage import media as storage
from homeserver.storage.database import Database

HASH_DIGITS = 64


class Moving:
    """Moves all files that a medium has, and their thumbnails."""

    def __init__(
        self,
        *,
        store: BucketStore,
        database: Database,
        strays: Strays,
        tell: Callable[[Path], None] = lambda place: None,
    ) -> None:
        """``tell`` is called with each file that was moved."""
        self._store = store
        self._database = database
        self._strays = strays
        self._tell = tell
        self.moved = 0
        self.moved_bytes = 0
        self.left: list[Path] = []
        """Files that no medium has, or that are none of ours: they stay where they are."""

    async def run(self) -> None:
        """Do it.  Raises :class:`OSError` and ``StorageUnavailable``; then do it again later."""
        for place in await in_media_thread(lambda: sorted(self._files())):
            sha256 = _content_of(place, self._store.root)
            if sha256 is None:
                self.left.append(place)
            else:
                await self._move(place, sha256)
        await in_media_thread(self._tidy)

    def _files(self) -> Iterator[Path]:
        root = self._store.root
        for place in root.rglob("*"):
            if place.is_file() and place.relative_to(root).parts[0] not in (INCOMING, UPLOADS):
                yield place

    async def _move(self, place: Path, sha256: bytes) -> None:
        if not await storage.is_content_known(self._database, sha256):
            self.left.append(place)
            return
        stray_id = await self._strays.reserve(sha256)
        try:
            size = await in_media_thread(self._upload, place)
        except FileNotFoundError:
            pass  # it was deleted before
        else:
            self.moved += 1
            self.moved_bytes += size
            self._tell(place)
        finally:
            await self._strays.remove(stray_id)  # if the medium was deleted meanwhile

    def _upload(self, place: Path) -> int:
        size, key = place.stat().st_size, self._store.key(place)
        self._store.bucket.put(key, place)
        if _size_in(self._store.bucket, key) != size:
            raise StorageUnavailable("what was written is not what is there")
        place.unlink(missing_ok=True)
        return size

    def _tidy(self) -> None:
        """Delete directories that are empty now."""
        for place in sorted(self._store.root.rglob("*"), reverse=True):
            if place.is_dir() and place.name not in (INCOMING, UPLOADS):
                _remove_if_empty(place)


def _size_in(bucket: Bucket, key: str) -> int | None:
    """How many bytes an object has; None: there is none."""
    try:
        return bucket.get(key, 0, 1).size
    except FileNotFoundError:
        return None


def _content_of(place: Path, root: Path) -> bytes | None:
    """The hash of the content that a file is, or is a thumbnail of; None: it is none of ours."""
    if place.name.endswith(PARTIAL):
        return None
    parts = place.relative_to(root).parts
    name = parts[-2] if parts[0] == THUMBNAILS else place.stem
    try:
        return bytes.fromhex(name) if len(name) == HASH_DIGITS else None
    except ValueError:
        return None


def _remove_if_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:  # it is not empty
        return
