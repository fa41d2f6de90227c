"""A file of media as it is stored: sealed, or plain as before encryption at rest."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import cast

import structlog
from msgspec import Struct

from homeserver.errors import MatrixError
from homeserver.services.media_stores import LOCAL, MediaStore
from homeserver.services.sealing.container import FRAME_BYTES, SealedReader
from homeserver.services.sealing.errors import DamagedFile, UnknownKey
from homeserver.services.sealing.keys import Keys

logger = structlog.get_logger(__name__)

SUFFIX = ".sealed"
TAG_BYTES = 12


class MediaDamaged(MatrixError):
    """A file cannot be given out, since it is not as it was stored."""

    status = 500


class MediaBlob(Struct, frozen=True):
    """A file by its place.  Whether it is sealed is looked up when it is opened: that may change.

    ``path``: its place without what tells that it is sealed.  ``sealed``: whether it is, most
    likely.  All methods block, and raise :class:`~homeserver.services.media_stores.
    StorageUnavailable` where files are kept elsewhere.
    """

    path: Path
    keys: Keys | None = None
    store: MediaStore = LOCAL
    sealed: bool = True

    @property
    def name(self) -> str:
        """What it is called."""
        return self.path.name

    @property
    def sealed_path(self) -> Path:
        """Where it lies if it is sealed."""
        return self.path.with_name(self.path.name + SUFFIX)

    @property
    def tag(self) -> str:
        """What is another for another content, and the same for the same: for an ``ETag``."""
        place = f"{self.path.parent.name}/{self.path.name}"
        return hashlib.blake2b(place.encode(), digest_size=TAG_BYTES).hexdigest()

    @property
    def _places(self) -> tuple[Path, Path]:
        """Where it may be, the likely place first."""
        places = self.sealed_path, self.path
        return places if self.sealed else places[::-1]

    def exists(self) -> bool:
        """Whether it is there."""
        return any(self.store.exists(place) for place in self._places)

    def is_stored(self) -> bool:
        """Whether it is there, beyond doubt: so that what is sent again need not be stored."""
        return any(self.store.is_stored(place) for place in self._places)

    def open(self) -> io.BufferedReader:
        """Its content, to read and to seek in.

        Raises :class:`FileNotFoundError`, and :class:`~homeserver.services.sealing.errors.
        DamagedFile`, here and while it is read.
        """
        likely, other = self._places
        try:
            return self._open(likely)
        except FileNotFoundError:
            return self._open(other)

    def _open(self, place: Path) -> io.BufferedReader:
        file = self.store.open(place)
        if place == self.path:
            return cast("io.BufferedReader", file)
        if self.keys is None:
            file.close()
            raise UnknownKey("this instance has no keys of media")
        return io.BufferedReader(SealedReader(file, self.keys), FRAME_BYTES)

    def read(self) -> bytes:
        """All of its content: of what is known to be small.  Raises what :meth:`open` raises."""
        with self.open() as file:
            return file.read()

    def unlink(self) -> None:
        """Delete it, if it is there."""
        self.store.delete(self._places)


def size_of(file: io.BufferedReader) -> int:
    """How many bytes an open file has; it is at its beginning then."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def damaged(blob: MediaBlob, error: DamagedFile) -> MediaDamaged:
    """Log that a file is damaged; the failure to raise."""
    logger.error("media is damaged", file=blob.name, reason=str(error))
    return MediaDamaged("This file is damaged on this server")
