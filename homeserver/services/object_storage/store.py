"""Media in a bucket, under the names that it would have on disk."""

from __future__ import annotations

import io
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from homeserver.services.object_storage.bucket import CHECK_NAME, Bucket
from homeserver.services.object_storage.cache import FileCache
from homeserver.services.object_storage.reader import ObjectReader

HEAD_BYTES = 256 * 1024
CACHED_AT_MOST = 1024 * 1024  # bytes; larger files are read from the bucket by ranges
BUFFER_BYTES = 64 * 1024
MOST_KNOWN = 50_000


class BucketStore:
    """Keeps files in a bucket; those that lie on this machine from before are read there."""

    def __init__(self, root: Path, bucket: Bucket, prefix: str, cache: FileCache) -> None:
        """``root``: where files lay before; ``prefix``: what all names in the bucket begin with."""
        self.root = root
        self.bucket = bucket
        self.prefix = prefix
        self._cache = cache
        self._lock = threading.Lock()
        self._known: OrderedDict[str, None] = OrderedDict()  # in the bucket when last seen

    def prepare(self) -> None:
        """Look at what is cached."""
        self._cache.prepare()

    def check(self) -> str:
        """Write, read and delete an object; where that was."""
        self.bucket.check(self.prefix)
        return f"files lie in {self.bucket.where}"

    def has_any(self, suffix: str) -> bool:
        """Whether any file in the bucket has a name with this end."""
        return any(place.name.endswith(suffix) for place in self.places())

    def key(self, place: Path) -> str:
        """What a file is called in the bucket."""
        return self.prefix + self._name(place)

    def places(self) -> Iterator[Path]:
        """Where all files in the bucket are."""
        for entry in self.bucket.walk(self.prefix.rstrip("/")):
            if not entry.key.startswith(self.prefix + CHECK_NAME):
                yield self.root / entry.key[len(self.prefix) :]

    @property
    def cache_root(self) -> Path:
        """Where copies lie."""
        return self._cache.root

    def _name(self, place: Path) -> str:
        return place.relative_to(self.root).as_posix()

    def open(self, place: Path) -> BinaryIO:
        """A file, to read and to seek in.  Raises :class:`FileNotFoundError`."""
        name, key = self._name(place), self.key(place)
        cached = self._cache.open(name)
        if cached is not None:
            return cached
        try:
            return place.open("rb")
        except FileNotFoundError:
            pass
        since = self._cache.moment()
        try:
            head = self.bucket.get(key, 0, HEAD_BYTES)
        except FileNotFoundError:
            self._forget(key)
            raise
        self._note(key)
        reader = io.BufferedReader(ObjectReader(self.bucket, key, head), BUFFER_BYTES)
        if head.size > CACHED_AT_MOST:
            return cast("BinaryIO", reader)
        content = reader.read()
        self._cache.put(name, content, since)
        return io.BytesIO(content)

    def exists(self, place: Path) -> bool:
        """Whether there is a file."""
        key = self.key(place)
        with self._lock:
            if key in self._known:
                return True
        return self._cache.has(self._name(place)) or self.is_stored(place)

    def is_stored(self, place: Path) -> bool:
        """The same, as the bucket says now."""
        key = self.key(place)
        if place.exists():
            return True
        found = self.bucket.exists(key)
        if found:
            self._note(key)
        else:
            self._forget(key)
        return found

    def find(self, directory: Path, names: Sequence[str]) -> str | None:
        """The first of some names that a directory has."""
        for name in names:
            if self._cache.has(self._name(directory / name)) or (directory / name).exists():
                return name
        there = set(self.bucket.list(self.key(directory)))
        return next((name for name in names if self.key(directory / name) in there), None)

    def move_in(self, source: Path, place: Path) -> None:
        """Give a file of this machine its place in the bucket."""
        key = self.key(place)
        since = self._cache.moment()
        self.bucket.put(key, source)
        self._note(key)
        if source.stat().st_size <= CACHED_AT_MOST:
            self._cache.put(self._name(place), source.read_bytes(), since)
        source.unlink()

    def delete(self, places: Iterable[Path]) -> None:
        """Delete files, those that are there."""
        places = list(places)
        for place in places:
            place.unlink(missing_ok=True)
        keys = [self.key(place) for place in places]
        self.bucket.delete(keys)
        for place, key in zip(places, keys, strict=True):
            self._forget(key)
            self._cache.delete(self._name(place))

    def delete_directory(self, directory: Path) -> None:
        """Delete a directory with all that is in it."""
        shutil.rmtree(directory, ignore_errors=True)
        keys = self.bucket.list(self.key(directory))
        self.bucket.delete(keys)
        for key in keys:
            self._forget(key)
        self._cache.delete_directory(self._name(directory))

    def trim(self, directory: Path, most: int) -> None:
        """Delete the oldest files of a directory that has more than so many."""
        entries = list(self.bucket.walk(self.key(directory)))
        if len(entries) > most:
            entries.sort(key=lambda entry: entry.modified_at)
            self.delete([self.root / entry.key[len(self.prefix) :] for entry in entries[:-most]])

    def _note(self, key: str) -> None:
        with self._lock:
            self._known[key] = None
            self._known.move_to_end(key)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._known.pop(key, None)
