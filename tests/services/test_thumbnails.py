"""Thumbnails: the right size, never upscaled, and hostile images refused."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from homeserver.errors import InvalidParam, TooLarge
from homeserver.services.media_files import MediaFiles
from homeserver.services.thumbnails import (
    CannotThumbnail,
    Thumbnails,
    ThumbnailSpec,
    render,
    target_size,
)


def image_file(path: Path, size: tuple[int, int], image_format: str = "PNG", **more: Any) -> Path:
    """An image on disk."""
    mode = more.pop("mode", "RGB")
    Image.new(mode, size, more.pop("color", None) or 0).save(path, image_format, **more)
    return path


def moving_image(path: Path, size: tuple[int, int], frames: int) -> Path:
    """An animated GIF on disk."""
    images = [Image.new("RGB", size, (number * 20 % 256, 0, 0)) for number in range(frames)]
    images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=50)
    return path


def opened(content: bytes | None) -> Image.Image:
    """A rendered thumbnail, read again."""
    assert content is not None
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("size", "method", "asked", "expected"),
    [
        ((1000, 500), "scale", (320, 240), (480, 240)),
        ((1000, 500), "scale", (300, 200), (480, 240)),
        ((1000, 500), "crop", (96, 96), (96, 96)),
        ((1000, 50), "crop", (96, 96), (50, 50)),
        ((30, 30), "crop", (96, 96), (30, 30)),
        ((30, 30), "scale", (32, 32), (30, 30)),
        ((1000, 100), "scale", (32, 240), (1000, 100)),
        ((3000, 3000), "scale", (9999, 9999), (1600, 1600)),
    ],
)
def test_the_size_covers_what_was_asked_and_is_never_upscaled(size, method, asked, expected):
    spec = ThumbnailSpec.parse(*asked, method, animated=False)

    assert target_size(size, spec) == expected


@pytest.mark.parametrize(
    ("width", "height", "method"), [(0, 5, "crop"), (5, -1, "crop"), (5, 5, "x")]
)
def test_impossible_requests_are_refused(width, height, method):
    with pytest.raises(InvalidParam):
        ThumbnailSpec.parse(width, height, method, animated=False)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "WEBP"])
def test_every_format_gets_a_thumbnail(tmp_path, image_format):
    source = image_file(tmp_path / "a", (400, 300), image_format)

    rendered = render(source, ThumbnailSpec.parse(96, 96, "crop", animated=False))

    assert opened(rendered.content).size == (96, 96)


def test_a_small_image_is_its_own_thumbnail(tmp_path):
    source = image_file(tmp_path / "a", (20, 20))

    rendered = render(source, ThumbnailSpec.parse(96, 96, "scale", animated=False))

    assert (rendered.format, rendered.content) == ("PNG", None)


def test_a_transparent_image_keeps_its_transparency(tmp_path):
    source = image_file(tmp_path / "a", (400, 400), mode="RGBA")

    rendered = render(source, ThumbnailSpec.parse(96, 96, "scale", animated=False))

    assert rendered.format == "PNG"
    assert opened(rendered.content).mode == "RGBA"


def test_a_turned_photograph_is_turned_back(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    source = image_file(tmp_path / "a", (800, 400), "JPEG", exif=exif)

    rendered = render(source, ThumbnailSpec.parse(96, 96, "scale", animated=False))

    assert opened(rendered.content).size == (96, 192)


def test_a_moving_image_stands_still_unless_asked_to_move(tmp_path):
    source = moving_image(tmp_path / "a", (200, 200), 5)

    still = render(source, ThumbnailSpec.parse(96, 96, "crop", animated=False))
    moving = render(source, ThumbnailSpec.parse(96, 96, "crop", animated=True))

    assert still.format == "JPEG"
    assert moving.format == "WEBP"
    assert getattr(opened(moving.content), "n_frames", 1) == 5


def test_a_small_moving_image_stands_still_too(tmp_path):
    source = moving_image(tmp_path / "a", (20, 20), 3)

    still = render(source, ThumbnailSpec.parse(96, 96, "scale", animated=False))
    moving = render(source, ThumbnailSpec.parse(96, 96, "scale", animated=True))

    assert opened(still.content).size == (20, 20)
    assert moving.content is None


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that claims to be enormous."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("size", [(20_000, 20_000), (8_000, 8_000)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, size):
    (tmp_path / "a").write_bytes(bomb(*size))

    with pytest.raises(TooLarge):
        render(tmp_path / "a", ThumbnailSpec.parse(96, 96, "crop", animated=False))


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"<svg/>", bomb(500, 500), b"\xff\xd8\xff\xe0garbage"]
)
def test_what_is_no_whole_image_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)

    with pytest.raises(CannotThumbnail):
        render(tmp_path / "a", ThumbnailSpec.parse(96, 96, "crop", animated=False))


async def test_a_thumbnail_is_made_once_however_many_ask(tmp_path):
    files = MediaFiles(tmp_path)
    files.prepare()
    thumbnails = Thumbnails(files)

    async def chunks():
        yield image_file(tmp_path / "a", (500, 500)).read_bytes()

    stored = await files.receive(chunks(), 10**6)
    spec = ThumbnailSpec.parse(96, 96, "crop", animated=False)

    got = await asyncio.gather(*(thumbnails.get(stored.sha256, spec) for _ in range(10)))
    later = await thumbnails.get(stored.sha256, spec)
    thumbnails.close()

    assert {(item.blob, item.content_type) for item in [*got, later]} == {
        (files.thumbnail(stored.sha256, "96x96-crop.jpeg"), "image/jpeg")
    }
