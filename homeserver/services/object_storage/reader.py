"""Reads an object as a file, by ranges: nothing else of it is fetched, and little is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.services.media_stores import StorageUnavailable
from homeserver.services.object_storage.bucket import Bucket, Part
from homeserver.services.random_access import RandomAccess

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LEAST_BYTES = 256 * 1024
MOST_BYTES = 4 * 1024 * 1024


class ObjectReader(RandomAccess):
    """An object whose beginning is there already.  Blocks: use it in one thread at a time.

    Who reads on and on gets larger and larger parts.  Raises :class:`StorageUnavailable`, also if
    the object has become another one.
    """

    def __init__(self, bucket: Bucket, key: str, head: Part) -> None:
        super().__init__()
        self._bucket = bucket
        self._key = key
        self._head = head
        self.size = head.size
        self._start, self._window = 0, b""
        self._next_bytes = LEAST_BYTES

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read on from the place: at least a byte, unless it is at the end."""
        with memoryview(buffer).cast("B") as target:
            if not target or self._place >= self.size:
                return 0
            part = self._at_place()[: len(target)]
            target[: len(part)] = part
            self._place += len(part)
            return len(part)

    def _at_place(self) -> memoryview:
        """What is there from the place on; fetched, if it must be."""
        if self._place < len(self._head.content):
            return memoryview(self._head.content)[self._place :]
        skip = self._place - self._start
        if not 0 <= skip < len(self._window):
            self._fetch(goes_on=skip == len(self._window) > 0)
            skip = 0
        return memoryview(self._window)[skip:]

    def _fetch(self, *, goes_on: bool) -> None:
        self._next_bytes = min(self._next_bytes * 2, MOST_BYTES) if goes_on else LEAST_BYTES
        end = min(self._place + self._next_bytes, self.size)
        try:
            part = self._bucket.get(self._key, self._place, end, self._head.tag)
        except FileNotFoundError:
            raise StorageUnavailable("it was deleted while it was read") from None
        if len(part.content) != end - self._place:
            raise StorageUnavailable("it became shorter while it was read")
        self._start, self._window = self._place, part.content
