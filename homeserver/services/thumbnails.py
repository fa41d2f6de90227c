"""Thumbnails of images, made by Pillow in threads and kept.

Requested sizes are rounded up to a few steps; who asks for more than the largest gets the whole
image.  Of one image only so many thumbnails are kept.

Spec: client-server API, content repository, thumbnails.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct
from msgspec.structs import replace

from homeserver.errors import InvalidParam, MatrixError
from homeserver.services.media_blobs import MediaBlob
from homeserver.services.media_files import MediaFiles
from homeserver.services.media_threads import in_media_thread
from homeserver.services.shared_tasks import SharedTasks

STEPS = (32, 64, 96, 128, 192, 240, 320, 480, 600, 640, 800, 1024, 1280, 1600, 2048)
WHOLE = 100_000  # pixels: no image is larger, so nothing is made smaller
METHODS = ("scale", "crop")
CONTENT_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
}
SUFFIXES = {f".{name.lower()}": content_type for name, content_type in CONTENT_TYPES.items()}
MOST_KEPT = 64  # thumbnails of one image
WORKERS = 2


class CannotThumbnail(MatrixError):
    """The content is no image that thumbnails can be made of."""

    errcode, status = "M_UNKNOWN", 400


class ThumbnailSpec(Struct, frozen=True):
    """What thumbnail is asked for."""

    width: int
    height: int
    method: str = "scale"
    animated: bool = False

    @classmethod
    def parse(cls, width: int, height: int, method: str, animated: bool) -> ThumbnailSpec:
        """A request, its size rounded up to a step: each side, or, of what is to be cropped, the
        longer one, for it keeps the aspect that is asked for.  Raises :class:`InvalidParam`."""
        if width < 1 or height < 1:
            raise InvalidParam("'width' and 'height' must be positive")
        if method not in METHODS:
            raise InvalidParam("'method' must be 'crop' or 'scale'")
        if max(width, height) > STEPS[-1]:
            return cls(WHOLE, WHOLE, method, animated)
        if method == "scale":
            return cls(_step(width), _step(height), method, animated)
        longer = max(width, height)
        step = _step(longer)
        return cls(-(-width * step // longer), -(-height * step // longer), method, animated)

    @property
    def name(self) -> str:
        """Its file's name, without what tells the format."""
        return f"{self.width}x{self.height}-{self.method}{'-animated' if self.animated else ''}"


class Thumbnail(Struct, frozen=True):
    """A thumbnail that is kept; perhaps the image itself, where it is no larger."""

    blob: MediaBlob
    content_type: str

    @property
    def file_name(self) -> str:
        """What to call it."""
        return f"thumbnail.{self.content_type.partition('/')[2]}"


class Thumbnails:
    """Makes thumbnails, each once."""

    def __init__(self, files: MediaFiles) -> None:
        self._files = files
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="thumbnail")
        self._making: SharedTasks[MediaBlob, Thumbnail] = SharedTasks("thumbnail")

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def get(self, sha256: bytes, spec: ThumbnailSpec) -> Thumbnail:
        """A thumbnail of the content with this hash.

        Raises :class:`CannotThumbnail`, :class:`TooLarge` for too many pixels, and
        :class:`FileNotFoundError`.
        """
        base = self._files.thumbnail(sha256, spec.name)
        return await self._making.run(base, lambda: self._get(sha256, spec, base))

    async def _get(self, sha256: bytes, spec: ThumbnailSpec, base: MediaBlob) -> Thumbnail:
        # Not in our threads: what is there does not wait for what is being made.
        known = await in_media_thread(self._files.find_thumbnail, base, SUFFIXES)
        if known is not None:
            return Thumbnail(known, SUFFIXES[known.path.suffix])
        source = self._files.blob(sha256)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _make, self._files, source, spec, base)


def _step(size: int) -> int:
    return next(step for step in STEPS if step >= size)


def _make(files: MediaFiles, source: MediaBlob, spec: ThumbnailSpec, base: MediaBlob) -> Thumbnail:
    from homeserver.services.thumbnail_rendering import render  # with Pillow, which is large

    with source.open() as file:
        rendered = render(file, spec)
    content_type = CONTENT_TYPES[rendered.format]
    if rendered.content is None:
        return Thumbnail(source, content_type)
    blob = replace(base, path=base.path.with_name(f"{base.name}.{rendered.format.lower()}"))
    files.write(blob, rendered.content)
    if not source.is_stored():
        # deleted meanwhile, perhaps before there was this thumbnail to delete
        blob.unlink()
        raise FileNotFoundError
    files.store.trim(blob.path.parent, MOST_KEPT)
    return Thumbnail(blob, content_type)
