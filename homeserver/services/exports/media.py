"""Media in an export: what the user uploaded, and what is in the messages that they may see."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, Protocol

import orjson

from homeserver.errors import MatrixError
from homeserver.services.exports.archive import Archive
from homeserver.services.media import MediaFile
from homeserver.services.media_stores import StorageUnavailable
from homeserver.services.sealing.errors import DamagedFile
from homeserver.storage import export_data as storage
from homeserver.storage.database import Database

INDEX = "media/index.jsonl"
# Names that no browser runs; everything else is opened only by those who know what it is.
EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
}
OTHER_EXTENSION = ".bin"


class HeldMedia(Protocol):
    """The media that this instance holds."""

    async def find(self, origin: str, media_id: str, *, allow_remote: bool = True) -> MediaFile:
        """A file.  Raises :class:`MatrixError`, also for what content policy withholds."""


class MediaPart:
    """Puts files into an archive, each once, and lists them in ``media/index.jsonl``.

    Use it as a context manager: the list is put in at the end.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        database: Database,
        media: HeldMedia,
        server_name: str,
        user_id: str,
        directory: Path,
    ) -> None:
        self._archive = archive
        self._database = database
        self._media = media
        self._server_name = server_name
        self.user_id = user_id
        self._places: dict[tuple[str, str], str | None] = {}
        self._index: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115

    async def finish(self) -> None:
        """Put in what the user uploaded, and the list."""
        after, origin = "", self._server_name
        while page := await storage.get_uploads(self._database, self.user_id, origin, after):
            for media_id in page:
                await self.add(origin, media_id)
            after = page[-1]
        await self._archive.add_spooled(INDEX, self._index)

    def close(self) -> None:
        """Forget the list."""
        self._index.close()

    def place(self, origin: str, media_id: str) -> str | None:
        """Where a file is in the archive; None if it is not in it."""
        return self._places.get((origin, media_id))

    async def add(self, origin: str, media_id: str) -> None:
        """Put a file in, unless that is done or this instance does not hold it.

        Raises :class:`~homeserver.services.media_stores.StorageUnavailable`.
        """
        if (origin, media_id) in self._places:
            return
        self._places[(origin, media_id)] = None
        line: dict[str, object] = {"mxc": f"mxc://{origin}/{media_id}"}
        try:
            found = await self._media.find(origin, media_id, allow_remote=False)
        except StorageUnavailable:
            raise
        except MatrixError as error:
            line["left_out"] = error.text
        else:
            row = found.row
            line |= {
                "type": row.content_type,
                "name": row.upload_name,
                "size_bytes": row.size_bytes,
                "created_at": row.created_at,
                "uploaded_by_you": row.uploader == self.user_id,
            }
            place = f"media/{_safe(origin)}/{media_id}{extension(row.content_type)}"
            try:
                if await self._archive.add_file(place, found.blob, row.size_bytes):
                    self._places[(origin, media_id)] = line["file"] = place
                else:
                    line["left_out"] = "the archive would be too large: download this one by itself"
            except DamagedFile:
                line["left_out"] = "this file is damaged on this server"
        self._index.write(orjson.dumps(line) + b"\n")


def extension(content_type: str) -> str:
    """What a file of a type is called at its end."""
    essence = content_type.partition(";")[0].strip().lower()
    return EXTENSIONS.get(essence, OTHER_EXTENSION)


def _safe(origin: str) -> str:
    """A server name as a directory's name: ports and IPv6 addresses have colons."""
    return origin.translate(str.maketrans(":[]", "_()"))
