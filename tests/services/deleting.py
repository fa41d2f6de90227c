"""Deletion on a world's database, and files that are only counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeserver.services.deletion import Deletion
from homeserver.services.media_deletion import MediaDeletion
from homeserver.services.media_strays import MediaStrays
from tests.services.room_world import RoomWorld


class CountedFiles:
    """A disk that remembers what was deleted."""

    def __init__(self) -> None:
        self.deleted: list[bytes] = []
        self.failing = False

    def delete(self, sha256: bytes) -> None:
        if self.failing:
            raise OSError("no answer")
        self.deleted.append(sha256)


def strays(database: Any, files: Any, clock_ms: Callable[[], int]) -> MediaStrays:
    """What deletes bytes without a medium, and is woken by nobody."""
    return MediaStrays(database=database, files=files, wake=lambda: None, clock_ms=clock_ms)


class Deleting:
    """Deletion as it is wired."""

    def __init__(self, world: RoomWorld, clock_ms: Callable[[], int]) -> None:
        database: Any = world.database
        self.files = CountedFiles()
        self.strays = strays(database, self.files, clock_ms)
        self.media = MediaDeletion(
            server_name=world.server_name,
            database=database,
            strays=self.strays,
            wake=lambda: None,
        )
        self.deletion = Deletion(
            database=database, log=world.log, media=self.media, clock_ms=clock_ms
        )
