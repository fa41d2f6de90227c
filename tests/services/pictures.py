"""Pictures and other files for tests of what policy knows of media."""

from __future__ import annotations

import io
import random
import zipfile
from typing import Any

from PIL import Image, ImageDraw

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


def picture(seed: int = 1, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture of a few large shapes, another one for each seed."""
    choose = random.Random(seed)
    image = Image.new("RGB", size, tuple(choose.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = choose.randrange(size[0]), choose.randrange(size[1])
        width, height = choose.randrange(20, size[0] // 2), choose.randrange(20, size[1] // 2)
        colour = tuple(choose.randrange(256) for _ in range(3))
        shape = draw.ellipse if choose.random() < 0.5 else draw.rectangle
        shape((x, y, x + width, y + height), fill=colour)
    return image


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """An image as a file."""
    output = io.BytesIO()
    image.save(output, image_format, **options)
    return output.getvalue()


def archive(**files: bytes) -> bytes:
    """A ZIP archive; ``__`` in a name stands for ``/``, ``_dot_`` for a dot."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return output.getvalue()
