"""How a thumbnail is made of an image, by Pillow.

How many pixels are looked at and made is bounded, and so is the time that one takes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct
from PIL import Image, ImageOps, ImageSequence

from homeserver.errors import MatrixError, TooLarge
from homeserver.services.media_facts import MAX_SCANS, scans
from homeserver.services.sealing.errors import DamagedFile
from homeserver.services.thumbnails import CannotThumbnail, ThumbnailSpec

FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
MAX_PIXELS = 50_000_000
MAX_FRAMES = 150
MAX_ANIMATION_PIXELS = 40_000_000  # of the result, all frames together
MAX_SOURCE_PIXELS = 400_000_000  # of the frames of a moving image that are looked at
LONGEST_FRAME_MS = 60_000


class Rendered(Struct, frozen=True):
    """A thumbnail in memory.  Without ``content``, the image itself will do."""

    format: str
    content: bytes | None


def render(source: Path | BinaryIO, spec: ThumbnailSpec) -> Rendered:
    """Make a thumbnail.  Blocks.

    Raises :class:`CannotThumbnail`, :class:`TooLarge` for too many pixels, and
    :class:`~homeserver.services.sealing.errors.DamagedFile`.
    """
    try:
        with Image.open(source, formats=FORMATS) as image:
            _check(image)
            return _render(image, spec)
    except (Image.DecompressionBombError, MemoryError) as error:
        raise TooLarge("The image is too large for a thumbnail") from error
    except (MatrixError, DamagedFile):
        raise
    except Exception as error:  # decoders fail on hostile input in any way they like
        raise CannotThumbnail("Cannot make a thumbnail of this content") from error


def _check(image: Image.Image) -> None:
    """Raises :class:`TooLarge` for an image that would take too long."""
    if image.width * image.height > MAX_PIXELS:
        raise TooLarge(f"Images of more than {MAX_PIXELS} pixels get no thumbnail")
    file: BinaryIO | None = getattr(image, "fp", None)
    if image.info.get("progressive") and file is not None and scans(file) > MAX_SCANS:
        raise TooLarge("The image is coded too laboriously for a thumbnail")


def _render(image: Image.Image, spec: ThumbnailSpec) -> Rendered:
    image_format = image.format or ""
    turned = image.getexif().get(0x0112, 1) >= 5  # the orientation swaps width and height
    size = (image.height, image.width) if turned else image.size
    target = target_size(size, spec)
    moves = bool(getattr(image, "is_animated", False))
    if target == size and (spec.animated or not moves):
        return Rendered(image_format, None)
    if moves and spec.animated:
        return Rendered("WEBP", _render_animation(image, target))
    image.draft(image.mode, (max(target), max(target)))
    still = ImageOps.exif_transpose(image)
    return _encode(_fit(still, target))


def target_size(size: tuple[int, int], spec: ThumbnailSpec) -> tuple[int, int]:
    """The thumbnail's size: never upscaled, and otherwise never smaller than requested.

    ``crop`` keeps the request's aspect ratio, ``scale`` the image's.
    """
    width, height = size
    if spec.method == "crop":
        if width <= spec.width and height <= spec.height:
            return size
        factor = min(1.0, width / spec.width, height / spec.height)
        return max(1, round(spec.width * factor)), max(1, round(spec.height * factor))
    factor = min(1.0, max(spec.width / width, spec.height / height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _fit(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    if image.mode not in ("RGB", "RGBA", "L", "LA"):
        has_alpha = "transparency" in image.info or image.mode in ("PA", "La", "RGBa")
        image = image.convert("RGBA" if has_alpha else "RGB")
    return ImageOps.fit(image, target, method=Image.Resampling.LANCZOS)


def _encode(image: Image.Image) -> Rendered:
    output = io.BytesIO()
    if image.mode in ("RGBA", "LA"):
        image.save(output, "PNG")
        return Rendered("PNG", output.getvalue())
    image.save(output, "JPEG", quality=82, optimize=True)
    return Rendered("JPEG", output.getvalue())


def _render_animation(image: Image.Image, target: tuple[int, int]) -> bytes:
    frames: list[Image.Image] = []
    durations: list[int] = []
    loops = _loops(image)
    for frame in _frames(image, _most_frames(image, target)):
        durations.append(min(int(frame.info.get("duration") or 100), LONGEST_FRAME_MS))
        frames.append(ImageOps.fit(frame.convert("RGBA"), target))
    output = io.BytesIO()
    frames[0].save(
        output,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=loops,
        quality=75,
        method=2,
    )
    return output.getvalue()


def _most_frames(image: Image.Image, target: tuple[int, int]) -> int:
    of_result = MAX_ANIMATION_PIXELS // (target[0] * target[1])
    of_source = MAX_SOURCE_PIXELS // (image.width * image.height)
    return max(1, min(MAX_FRAMES, of_result, of_source))


def _loops(image: Image.Image) -> int:
    """How often it is played; 0: for ever."""
    loops = image.info.get("loop")
    if image.format == "GIF":  # says how often it is played again
        return 1 if loops is None else int(loops) + 1 if loops else 0
    return int(loops or 0)


def _frames(image: Image.Image, most: int) -> Iterable[Image.Image]:
    """The first frames; up to where the file is broken, if it is."""
    only_default = bool(image.info.get("default_image"))  # a PNG's for those who know no animation
    frames = ImageSequence.Iterator(image)
    if only_default:
        next(frames)
    for number in range(most):
        try:
            frame = next(frames)
            frame.load()
        except StopIteration:
            return
        except DamagedFile:
            raise
        except (OSError, EOFError, SyntaxError, ValueError, struct.error):
            if number == 0:
                raise
            return
        yield frame
