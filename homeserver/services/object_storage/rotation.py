"""Which keys the files in a bucket need, and sealing them anew with the newest one.

For the command line; the server may run meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from homeserver.services.media_blobs import SUFFIX
from homeserver.services.media_files import BUFFER_BYTES, MediaFiles
from homeserver.services.media_threads import in_media_thread
from homeserver.services.object_storage.moving import Strays
from homeserver.services.object_storage.store import BucketStore
from homeserver.services.sealing.container import MAGIC
from homeserver.services.sealing.errors import DamagedFile
from homeserver.services.sealing.keys import ID_BYTES, KeyFile
from homeserver.services.sealing.rotation import THUMBNAILS, key_of, stored_files
from homeserver.storage import media as storage
from homeserver.storage.database import Database

AT_ONCE = 16
HEADER_BYTES = len(MAGIC) + ID_BYTES


def count_by_key(store: BucketStore) -> Counter[bytes | None]:
    """How many files in a bucket, and copies of them here, are sealed with each key."""
    found = Counter(key for _, key in _keys_of(store))
    return found + Counter(key_of(path) for path in stored_files(store.cache_root))


def _keys_of(store: BucketStore) -> Iterator[tuple[Path, bytes | None]]:
    """Each file in the bucket, and the key that it is sealed with; None: it is plain."""

    def look(place: Path) -> tuple[Path, bytes | None]:
        if place.suffix != SUFFIX:
            return place, None
        try:
            head = store.bucket.get(store.key(place), 0, HEADER_BYTES).content
        except FileNotFoundError:
            return place, None
        return place, head[len(MAGIC) :] if head.startswith(MAGIC) else None

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="keys") as pool:
        yield from pool.map(look, store.places())


class BucketResealing:
    """Seals with the newest key what is plain, or sealed with another one."""

    def __init__(
        self,
        files: MediaFiles,
        store: BucketStore,
        keys: KeyFile,
        strays: Strays,
        database: Database,
    ) -> None:
        """``files``: those that ``store`` keeps."""
        self._database = database
        self._files = files
        self._store = store
        self._keys = keys
        self._strays = strays
        self.done = 0
        self.damaged: list[str] = []
        """The names of files that cannot be read, and are left as they are."""

    async def run(self) -> None:
        """Do it.  Thumbnails are made anew when they are wanted."""
        newest = self._keys.newest().key_id
        found = await in_media_thread(lambda: list(_keys_of(self._store)))
        for place, key_id in found:
            if key_id == newest:
                continue
            if THUMBNAILS in place.relative_to(self._store.root).parts:
                await in_media_thread(self._store.delete, [place])
            else:
                await self._reseal(place)
        await in_media_thread(self._drop_copies, newest)

    def _drop_copies(self, newest: bytes) -> None:
        for path in stored_files(self._store.cache_root):
            if key_of(path) != newest:
                path.unlink(missing_ok=True)  # the server takes that for one it does not have

    async def _reseal(self, place: Path) -> None:
        try:
            sha256 = bytes.fromhex(place.name.removesuffix(SUFFIX))
        except ValueError:
            return  # not ours
        if not await storage.is_content_known(self._database, sha256):
            return  # nor is this: letting it go would delete it
        stray_id = await self._strays.reserve(sha256)
        try:
            await in_media_thread(self._replace, place, sha256)
        except FileNotFoundError:
            return  # it was deleted before
        except DamagedFile:
            self.damaged.append(place.name.removesuffix(SUFFIX))
            return
        finally:
            await self._strays.remove(stray_id)
        self.done += 1

    def _replace(self, place: Path, sha256: bytes) -> None:
        blob = self._files.blob(sha256)
        with blob.open() as source, self._files.staged() as writer:
            while content := source.read(BUFFER_BYTES):
                writer.write(content)
            writer.finish()
            self._store.move_in(writer.path, blob.sealed_path)
        if place != blob.sealed_path:
            self._store.delete([place])
