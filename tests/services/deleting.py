"""Deletion on a world's database, and files that are only counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeserver.services.deletion import Deletion
from homeserver.services.media_deletion import MediaDeletion
from tests.services.room_world import RoomWorld


class CountedFiles:
    """A disk that remembers what was deleted."""

    def __init__(self) -> None:
        self.deleted: list[bytes] = []
        self.busy: set[bytes] = set()  # what somebody has just sent again

    def delete(self, sha256: bytes) -> bool:
        if sha256 in self.busy:
            return False
        self.deleted.append(sha256)
        return True


class Deleting:
    """Deletion as it is wired."""

    def __init__(self, world: RoomWorld, clock_ms: Callable[[], int]) -> None:
        database: Any = world.database
        self.files = CountedFiles()
        self.media = MediaDeletion(
            server_name=world.server_name,
            database=database,
            files=self.files,
            wake=lambda: None,
            clock_ms=clock_ms,
        )
        self.deletion = Deletion(
            database=database, log=world.log, media=self.media, clock_ms=clock_ms
        )
