"""Thumbnails: the right size, never upscaled, and hostile images refused."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from homeserver.errors import InvalidParam, TooLarge
from homeserver.services import thumbnail_rendering
from homeserver.services import thumbnails as thumbnails_module
from homeserver.services.media_files import MediaFiles
from homeserver.services.thumbnail_rendering import render, target_size
from homeserver.services.thumbnails import STEPS, CannotThumbnail, Thumbnails, ThumbnailSpec


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
        ((1000, 500), "crop", (300, 200), (320, 214)),
        ((1000, 500), "crop", (100, 300), (107, 320)),
        ((1000, 50), "crop", (96, 96), (50, 50)),
        ((30, 30), "crop", (96, 96), (30, 30)),
        ((30, 30), "scale", (32, 32), (30, 30)),
        ((1000, 100), "scale", (32, 240), (1000, 100)),
        ((3000, 3000), "scale", (2000, 2000), (2048, 2048)),
        ((3000, 3000), "scale", (9999, 9999), (3000, 3000)),
        ((4000, 3000), "crop", (3000, 100), (4000, 3000)),
        ((4000, 3000), "crop", (10**12, 10**12), (4000, 3000)),
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


def frames_of(count: int, size: tuple[int, int] = (120, 90)) -> list[Image.Image]:
    """Frames, each of another colour."""
    return [Image.new("RGB", size, (number * 20 % 256, 100, 0)) for number in range(count)]


@pytest.mark.parametrize(
    ("image_format", "options", "loops"),
    [
        ("GIF", {"loop": 0}, 0),
        ("GIF", {}, 1),
        ("GIF", {"loop": 2}, 3),
        ("PNG", {"loop": 4}, 4),
        ("WEBP", {"loop": 5}, 5),
    ],
)
def test_every_moving_format_moves_as_often_and_as_fast(image_format, options, loops):
    first, *others = frames_of(4)
    source = io.BytesIO()
    first.save(
        source, image_format, save_all=True, append_images=others, duration=[70] * 4, **options
    )

    rendered = render(source, ThumbnailSpec.parse(64, 64, "scale", animated=True))

    moving = opened(rendered.content)
    assert (moving.format, moving.size) == ("WEBP", (85, 64))
    assert (getattr(moving, "n_frames", 1), moving.info["loop"]) == (4, loops)
    moving.seek(1)
    moving.load()
    assert moving.info["duration"] == 70


def test_a_picture_only_for_those_who_know_no_animation_is_none_of_it():
    default = Image.new("RGB", (100, 100), (255, 255, 255))
    source = io.BytesIO()
    default.save(
        source, "PNG", save_all=True, append_images=frames_of(3, (100, 100)), default_image=True
    )

    rendered = render(source, ThumbnailSpec.parse(32, 32, "crop", animated=True))

    assert getattr(opened(rendered.content), "n_frames", 1) == 3


@pytest.mark.parametrize(
    ("limit", "most", "frames"),
    [
        ("MAX_FRAMES", 7, 7),
        ("MAX_SOURCE_PIXELS", 60 * 60 * 5, 5),
        ("MAX_ANIMATION_PIXELS", 32 * 32 * 4, 4),
        ("MAX_ANIMATION_PIXELS", 1, 1),
    ],
)
def test_only_so_many_frames_are_looked_at(monkeypatch, limit, most, frames):
    monkeypatch.setattr(thumbnail_rendering, limit, most)
    source = io.BytesIO()
    first, *others = frames_of(9, (60, 60))
    first.save(source, "GIF", save_all=True, append_images=others, duration=50)

    rendered = render(source, ThumbnailSpec.parse(32, 32, "crop", animated=True))

    moving = opened(rendered.content)
    total = 0
    for number in range(getattr(moving, "n_frames", 1)):
        moving.seek(number)
        moving.load()
        total += moving.info.get("duration") or 50
    assert total == frames * 50


def test_a_moving_image_that_breaks_off_moves_up_to_there():
    source = io.BytesIO()
    noise = [Image.effect_noise((200, 200), 90).convert("RGB") for _ in range(6)]
    noise[0].save(source, "GIF", save_all=True, append_images=noise[1:], duration=50)
    half = io.BytesIO(source.getvalue()[: len(source.getvalue()) // 2])

    rendered = render(half, ThumbnailSpec.parse(32, 32, "crop", animated=True))

    assert 2 <= getattr(opened(rendered.content), "n_frames", 1) < 6


def test_a_photograph_that_is_asked_to_move_stands_still(tmp_path):
    source = image_file(tmp_path / "a", (400, 300), "JPEG")

    rendered = render(source, ThumbnailSpec.parse(96, 96, "crop", animated=True))

    assert rendered.format == "JPEG"


def test_a_moving_image_wanted_larger_than_any_step_stands_still_at_its_size(tmp_path):
    source = moving_image(tmp_path / "a", (2_300, 10), 3)

    rendered = render(source, ThumbnailSpec.parse(4_000, 4_000, "scale", animated=False))

    assert (rendered.format, opened(rendered.content).size) == ("JPEG", (2_300, 10))


def test_a_photograph_that_is_gone_over_endlessly_is_refused(tmp_path):
    source = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(source, "JPEG", progressive=True)
    content = source.getvalue()
    scan = content[content.rindex(b"\xff\xda") : -2]
    (tmp_path / "a").write_bytes(content[:-2] + scan * 100 + content[-2:])

    with pytest.raises(TooLarge):
        render(tmp_path / "a", ThumbnailSpec.parse(32, 32, "crop", animated=False))


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


async def stored_image(directory: Path, size: int) -> tuple[MediaFiles, Thumbnails, Any]:
    """A square image among the media files."""
    files = MediaFiles(directory)
    files.prepare()

    async def chunks():
        yield image_file(directory / "a", (size, size)).read_bytes()

    return files, Thumbnails(files), await files.receive(chunks(), 10**6)


async def test_a_thumbnail_is_made_once_however_many_ask(tmp_path):
    files, thumbnails, stored = await stored_image(tmp_path, 500)
    spec = ThumbnailSpec.parse(96, 96, "crop", animated=False)

    got = await asyncio.gather(*(thumbnails.get(stored.sha256, spec) for _ in range(10)))
    later = await thumbnails.get(stored.sha256, spec)
    thumbnails.close()

    assert {(item.blob, item.content_type) for item in [*got, later]} == {
        (files.thumbnail(stored.sha256, "96x96-crop.jpeg"), "image/jpeg")
    }


async def test_a_thumbnail_that_is_there_waits_for_none_that_is_being_made(tmp_path, monkeypatch):
    _files, thumbnails, stored = await stored_image(tmp_path, 300)
    spec = ThumbnailSpec.parse(96, 96, "crop", animated=False)
    there = await thumbnails.get(stored.sha256, spec)
    go_on = threading.Event()
    real = thumbnail_rendering.render

    def slow(source, spec):
        assert go_on.wait(30)
        return real(source, spec)

    monkeypatch.setattr(thumbnail_rendering, "render", slow)
    others = [ThumbnailSpec.parse(size, size, "crop", animated=False) for size in STEPS[:2]]
    making = [asyncio.create_task(thumbnails.get(stored.sha256, other)) for other in others]
    await asyncio.sleep(0.1)

    again = await asyncio.wait_for(thumbnails.get(stored.sha256, spec), 20)

    go_on.set()
    await asyncio.gather(*making)
    thumbnails.close()
    assert again == there


async def test_of_one_image_only_so_many_thumbnails_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails_module, "MOST_KEPT", 3)
    files, thumbnails, stored = await stored_image(tmp_path, 300)

    for width in STEPS[:5]:
        spec = ThumbnailSpec.parse(width, 32, "crop", animated=False)
        last = await thumbnails.get(stored.sha256, spec)
    thumbnails.close()

    kept = list(files.thumbnail(stored.sha256, "any").path.parent.iterdir())
    assert len(kept) == 3
    assert last.blob.exists()
