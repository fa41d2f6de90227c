"""Which keys the files in a bucket need, and sealing them anew with the newest one.

For the command line; the server may run meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from homeserver.services.media_blobs import SUFFIX
from homeserver.services.media_files import MediaFiles
from homeserver.services.media_threads import in_media_thread
from homeserver.services.object_storage.store import BucketStore
from homeserver.services.sealing.container import MAGIC
from homeserver.services.sealing.keys import ID_BYTES
from homeserver.services.sealing.rotation import Resealing, Strays, key_of, stored_files
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


class BucketResealing(Resealing):
    """The same in a bucket; what is there and no medium here has may be another instance's."""

    seals_what_nobody_has = False

    def __init__(
        self, files: MediaFiles, store: BucketStore, strays: Strays, database: Database
    ) -> None:
        """``files``: those that ``store`` keeps."""
        super().__init__(files, strays, database)
        self._store = store

    async def run(self) -> None:
        """Do it; copies of what was sealed otherwise go."""
        await super().run()
        await in_media_thread(self._drop_copies)

    def _find(self) -> Iterator[tuple[Path, bytes | None]]:
        return _keys_of(self._store)

    def _drop_copies(self) -> None:
        assert self._files.keys is not None
        newest = self._files.keys.newest().key_id
        for path in stored_files(self._store.cache_root):
            if key_of(path) != newest:
                path.unlink(missing_ok=True)  # the server takes that for one it does not have
