"""What policy can know of a file: what it is by its content, its hashes, its size."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

from homeserver.services.media_blobs import MediaBlob
from homeserver.services.media_stores import StorageUnavailable
from homeserver.services.mime_types import HEAD_BYTES, mime_type
from homeserver.services.sealing.errors import DamagedFile

if TYPE_CHECKING:  # large, and not needed before there is an image
    from PIL import Image

# Whose header alone tells the size; "ICO" is missing because opening one decodes it.
FORMATS = {
    "image/png": "PNG",
    "image/apng": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
    "image/jp2": "JPEG2000",
}
MAX_HASHED_PIXELS = 50_000_000
MAX_SCANS = 64  # progressive JPEGs have about ten
START_OF_SCAN = b"\xff\xda"  # never within the compressed data
MAX_HASHED_BYTES = 64 * 1024 * 1024


class MediaFacts(Struct, frozen=True):
    """A file as policy sees it."""

    mime_type: str  # by content; application/octet-stream: unknown, or encrypted
    size_bytes: int
    sha256: bytes
    width: int | None = None  # pixels, of images
    height: int | None = None
    perceptual_hash: int | None = None  # 64 bits, of images; alike ones differ in few of them


class MediaSubject(Struct, frozen=True):
    """A file under judgement, when it is uploaded or has been fetched."""

    direction: str  # local: uploaded here; in: of another instance, or of a site
    origin: str
    media_id: str
    uploader: str | None  # None: of another instance, which does not say
    facts: MediaFacts


def sniff(
    source: Path | MediaBlob | bytes, sha256: bytes | None = None, *, decode: bool = True
) -> MediaFacts:
    """Look at a file.  Blocks: call it in a thread.

    ``sha256``: its hash, if it is known already.  ``decode``: for the perceptual hash.  Hostile
    content makes facts that are missing, not errors.  Raises :class:`OSError` if the file cannot be
    read.
    """
    with _opened(source) as file:
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        if sha256 is None:
            sha256 = hashlib.file_digest(file, "sha256").digest()
            file.seek(0)
        kind = mime_type(file.read(HEAD_BYTES), size_bytes)
        size, picture = None, None
        if kind in FORMATS:
            file.seek(0)
            size, picture = _look(file, FORMATS[kind], size_bytes, decode)
    width, height = size or (None, None)
    return MediaFacts(kind, size_bytes, sha256, width, height, picture)


def _opened(source: Path | MediaBlob | bytes) -> io.BufferedReader | io.BytesIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    return source.open() if isinstance(source, MediaBlob) else source.open("rb")


def _look(
    file: io.BufferedReader | io.BytesIO, image_format: str, size_bytes: int, decode: bool
) -> tuple[tuple[int, int] | None, int | None]:
    """An image's size and its perceptual hash, as far as they can be had."""
    from homeserver.services.perceptual_hash import perceptual_hash

    size = None
    try:
        with _open(file, image_format) as image:
            size = image.size
            too_large = size[0] * size[1] > MAX_HASHED_PIXELS or size_bytes > MAX_HASHED_BYTES
            if not decode or too_large:
                return size, None
            if image_format == "JPEG" and scans(file) > MAX_SCANS:
                return size, None
            return size, perceptual_hash(image)
    except (StorageUnavailable, DamagedFile):
        raise
    except Exception:  # decoders fail on hostile input in any way they like
        return size, None


def scans(file: BinaryIO) -> int:
    """How often a JPEG goes over the picture: a small file may do so for minutes."""
    place = file.tell()
    file.seek(0)
    scans = file.read(MAX_HASHED_BYTES).count(START_OF_SCAN)
    file.seek(place)
    return scans


def _open(file: io.BufferedReader | io.BytesIO, image_format: str) -> Image.Image:
    """An image whose header is read and nothing more.

    ``Image.open`` would refuse those with too many pixels, whose size is just what we want to know.
    """
    from PIL import Image

    Image.init()
    make, _ = Image.OPEN[image_format]
    return make(file, "")
