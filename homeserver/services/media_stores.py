"""What keeps the files of media: a directory, or a bucket.

A file's place is a path beneath the directory of media, wherever it is kept; in a bucket (see
:mod:`homeserver.services.object_storage`) its name is the same, relative to that directory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from homeserver.errors import MatrixError


class StorageUnavailable(MatrixError):
    """Where files are kept does not answer, or refuses; what was asked may be asked again."""

    errcode, status = "M_UNKNOWN", 503

    def __init__(self, reason: str) -> None:
        super().__init__("Files cannot be read or stored here just now: try again later")
        self.reason = reason
        """For the admin, without secrets."""


class MediaStore(Protocol):
    """Keeps files at places.  All methods block.

    They raise :class:`OSError`, and :class:`StorageUnavailable` after a bounded time.
    """

    def prepare(self) -> None:
        """Make what is needed on this machine."""

    def check(self) -> str:
        """Write, read and delete a file; where that was.  Raises what the others raise."""

    def has_any(self, suffix: str) -> bool:
        """Whether any file that is not on this machine has a name with this end."""

    def open(self, place: Path) -> BinaryIO:
        """A file, to read and to seek in.  Raises :class:`FileNotFoundError`."""

    def exists(self, place: Path) -> bool:
        """Whether there is a file."""

    def is_stored(self, place: Path) -> bool:
        """The same, beyond doubt: nothing that is remembered of it counts."""

    def find(self, directory: Path, names: Sequence[str]) -> str | None:
        """The first of some names that a directory has."""

    def move_in(self, source: Path, place: Path) -> None:
        """Give a file of this machine its place: whole or not at all, and for good."""

    def delete(self, places: Iterable[Path]) -> None:
        """Delete files, those that are there."""

    def delete_directory(self, directory: Path) -> None:
        """Delete a directory with all that is in it."""

    def trim(self, directory: Path, most: int) -> None:
        """Delete the oldest files of a directory that has more than so many."""


class LocalStore:
    """Files that lie at their places."""

    def prepare(self) -> None:
        """Nothing is needed."""

    def check(self) -> str:
        """Nothing to check: the directory was made."""
        return "files lie in data_dir"

    def has_any(self, suffix: str) -> bool:
        """No: all are on this machine."""
        return False

    def open(self, place: Path) -> BinaryIO:
        """A file, to read and to seek in."""
        return place.open("rb")

    def exists(self, place: Path) -> bool:
        """Whether there is a file."""
        return place.exists()

    def is_stored(self, place: Path) -> bool:
        """The same."""
        return place.exists()

    def find(self, directory: Path, names: Sequence[str]) -> str | None:
        """The first of some names that a directory has."""
        return next((name for name in names if (directory / name).exists()), None)

    def move_in(self, source: Path, place: Path) -> None:
        """Give a file, which is on disk already, its place."""
        place.parent.mkdir(parents=True, exist_ok=True)
        source.replace(place)
        directory = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def delete(self, places: Iterable[Path]) -> None:
        """Delete files, those that are there."""
        for place in places:
            place.unlink(missing_ok=True)

    def delete_directory(self, directory: Path) -> None:
        """Delete a directory with all that is in it."""
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            if directory.exists():  # somebody else has deleted a part of it
                raise

    def trim(self, directory: Path, most: int) -> None:
        """Delete the oldest files of a directory that has more than so many."""
        with os.scandir(directory) as entries:
            made = [(entry.stat().st_mtime_ns, entry.path) for entry in entries]
        for _, path in sorted(made)[:-most]:
            Path(path).unlink(missing_ok=True)


LOCAL = LocalStore()
