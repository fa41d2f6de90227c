"""An object is read as a file is, by ranges of bounded size."""

from __future__ import annotations

import io
import random

import pytest

from homeserver.services.media_stores import StorageUnavailable
from homeserver.services.object_storage.bucket import Bucket, BucketSettings, Part
from homeserver.services.object_storage.reader import LEAST_BYTES, MOST_BYTES, ObjectReader

CONTENT = random.Random(4).randbytes(11_000_000)
HEAD = 1000


class Ranges(Bucket):
    """A bucket that remembers what was asked."""

    def __init__(self, settings: BucketSettings) -> None:
        super().__init__(settings)
        self.asked: list[tuple[int, int]] = []

    def get(self, key: str, start: int, end: int, tag: str | None = None) -> Part:
        self.asked.append((start, end))
        return super().get(key, start, end, tag)


class World:
    """An object that was opened."""

    def __init__(self, settings: BucketSettings) -> None:
        self.bucket = Ranges(settings)
        self.bucket.put("a", CONTENT)
        self.reader = ObjectReader(self.bucket, "a", self.bucket.get("a", 0, HEAD))
        self.file = io.BufferedReader(self.reader)
        self.bucket.asked.clear()


@pytest.fixture
def world(settings: BucketSettings) -> World:
    return World(settings)


def test_who_reads_on_gets_larger_and_larger_parts(world: World) -> None:
    assert world.file.read() == CONTENT

    sizes = [end - start for start, end in world.bucket.asked]
    assert sizes[:2] == [LEAST_BYTES, 2 * LEAST_BYTES]
    assert max(sizes) == MOST_BYTES
    assert sum(sizes) == len(CONTENT) - HEAD


def test_places_are_read_for_themselves(world: World) -> None:
    places = random.Random(5)
    for _ in range(30):
        start = places.randrange(len(CONTENT))
        world.file.seek(start)

        assert world.file.read(100) == CONTENT[start : start + 100]

    assert all(end - start <= LEAST_BYTES for start, end in world.bucket.asked)


def test_the_beginning_is_not_fetched_again(world: World) -> None:
    world.file.seek(-10, io.SEEK_END)
    assert world.file.read() == CONTENT[-10:]
    world.file.seek(0)

    assert world.file.read(HEAD) == CONTENT[:HEAD]
    assert world.bucket.asked == [(len(CONTENT) - 10, len(CONTENT))]


def test_nothing_is_behind_the_end(world: World) -> None:
    world.file.seek(5, io.SEEK_END)

    assert world.file.read(10) == b""
    with pytest.raises(ValueError, match="before the beginning"):
        world.file.seek(-1)


def test_an_object_that_is_deleted_meanwhile_is_unavailable(world: World) -> None:
    world.bucket.delete(["a"])

    with pytest.raises(StorageUnavailable):
        world.reader.seek(5000)
        world.file.read()
