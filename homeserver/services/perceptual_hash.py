"""A hash that stays nearly the same when a picture is rescaled or compressed again.

The 64 lowest frequencies of a small grey copy, each a bit that says whether it is above their
median: the well-known "pHash", bit by bit as the Python package ImageHash computes ``phash``, so
that lists made with it can be used.  Transparent parts count as white, and a photograph is turned
upright first.  Two hashes are compared by the number of bits in which they differ: up to 8 of 64 is
usually the same picture, 12 and more is usually another.
"""

from __future__ import annotations

import math
from statistics import median

from PIL import Image

BITS = 64
SIDE = 32
LOW = 8
LEAST_CONTRAST = 8  # grey levels: below, noise alone would decide the bits
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_COSINES = [
    [math.cos(math.pi * k * (2 * n + 1) / (2 * SIDE)) for n in range(SIDE)] for k in range(LOW)
]


def perceptual_hash(image: Image.Image) -> int | None:
    """The hash of an image's first frame; None for one that shows nothing (all of one colour).

    Blocks, and decodes the image: the caller has checked its size.  Raises what decoders raise.
    """
    orientation = image.getexif().get(ORIENTATION, 1)
    image.draft("L", (SIDE * 8, SIDE * 8))
    grey = _grey(image)
    if orientation in UPRIGHT:
        grey = grey.transpose(UPRIGHT[orientation])
    darkest, brightest = _extremes(grey)
    if brightest - darkest < LEAST_CONTRAST:
        return None
    return _bits(grey.tobytes())


def distance(one: int, other: int) -> int:
    """In how many of 64 bits two hashes differ."""
    return (one ^ other).bit_count()


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel; "L" would cut them off at 255
        image = image.convert("I").point(lambda level: level * (1 / 256)).convert("L")
    elif "A" in image.mode or "transparency" in image.info:
        clear = image.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        image = Image.new("RGBA", clear.size, "white")
        image.alpha_composite(clear)
    elif image.mode != "L":
        image = image.convert("L")
    return image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _extremes(grey: Image.Image) -> tuple[int, int]:
    pixels = grey.tobytes()
    return min(pixels), max(pixels)


def _bits(pixels: bytes) -> int:
    """The discrete cosine transform's lowest 8 by 8 frequencies against their median."""
    rows = [pixels[start : start + SIDE] for start in range(0, SIDE * SIDE, SIDE)]
    across = [[_dot(cosines, row) for cosines in _COSINES] for row in rows]
    columns = list(zip(*across, strict=True))
    low = [_dot(cosines, columns[x]) for cosines in _COSINES for x in range(LOW)]
    middle = median(low)
    return int("".join("1" if value > middle else "0" for value in low), 2)


def _dot(one: list[float], other: bytes | tuple[float, ...]) -> float:
    return sum(map(float.__mul__, one, map(float, other)))
