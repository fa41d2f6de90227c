"""Copies on this machine: bounded, gone with the original, there after a restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from homeserver.services.object_storage.cache import FileCache


def kept(directory: Path) -> set[str]:
    """The names of all copies."""
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)) for path in found}


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    cache = FileCache(tmp_path, 1000)
    cache.prepare()
    return cache


def put(cache: FileCache, name: str, size: int = 400) -> None:
    """Keep a copy."""
    cache.put(name, bytes(size), cache.moment())


def test_what_was_used_least_recently_goes_first(cache: FileCache) -> None:
    put(cache, "a/1")
    put(cache, "a/2")
    found = cache.open("a/1")
    assert found is not None
    found.close()

    put(cache, "b")

    assert kept(cache.root) == {"a/1", "b"}
    assert not cache.has("a/2")


def test_a_copy_that_is_read_can_be_read_to_its_end(cache: FileCache) -> None:
    put(cache, "a")
    found = cache.open("a")
    assert found is not None

    with found:
        cache.delete("a")

        assert len(found.read()) == 400
    assert cache.open("a") is None


def test_what_is_too_large_is_not_kept(cache: FileCache) -> None:
    put(cache, "a")

    put(cache, "large", 1001)

    assert kept(cache.root) == {"a"}


def test_without_room_nothing_is_kept(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 0)

    put(cache, "empty", 0)

    assert kept(tmp_path) == set()


@pytest.mark.parametrize("directory", [False, True])
def test_what_was_deleted_while_it_was_fetched_is_not_kept(
    cache: FileCache, directory: bool
) -> None:
    since = cache.moment()

    if directory:
        cache.delete_directory("a/b")
    else:
        cache.delete("a/b/1")
    cache.put("a/b/1", b"too late", since)
    assert kept(cache.root) == set()
    cache.put("a/b/1", b"uploaded again", cache.moment())

    assert kept(cache.root) == {"a/b/1"}


def test_a_directory_goes_with_all_copies_in_it(cache: FileCache) -> None:
    put(cache, "a/1", 10)
    put(cache, "a/b/2", 10)
    put(cache, "ab", 10)

    cache.delete_directory("a")

    assert kept(cache.root) == {"ab"}
    assert not cache.has("a/b/2")


def test_a_restart_keeps_copies_and_their_order(cache: FileCache) -> None:
    put(cache, "old")
    put(cache, "new")
    os.utime(cache.root / "old", (1, 1))
    (cache.root / "x.partial").write_text("of a process that died")

    again = FileCache(cache.root, 500)
    again.prepare()

    assert kept(cache.root) == {"new"}


def test_a_copy_that_somebody_took_away_is_no_copy(cache: FileCache) -> None:
    put(cache, "a", 800)

    (cache.root / "a").unlink()

    assert cache.open("a") is None
    put(cache, "b", 800)
    assert kept(cache.root) == {"b"}
