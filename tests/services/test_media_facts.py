"""What is known of a file: by its content, and without decoding more than is safe."""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from homeserver.services.media_facts import sniff
from homeserver.services.mime_types import UNKNOWN, mime_type
from homeserver.services.perceptual_hash import distance
from tests.services.pictures import EICAR, archive, encoded, picture

SMALL = Image.new("RGB", (9, 7))
BOX = b"\0\0\0\x20ftyp%s\0\0\2\0%s" + b"\0" * 64
EBML = b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\xf7\x81\1B\xf2\x81\4B\xf3\x81\x08B\x82"
PROGRAM = b"MZ" + b"\0" * 58 + b"\x80\0\0\0" + b"\0" * 64 + b"PE\0\0" + b"\0" * 100
MP3_FRAME = b"\xff\xfb\x90\x64" + b"\0" * 413
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'

KINDS = {
    "png": (encoded(SMALL, "PNG"), "image/png"),
    "jpeg": (encoded(SMALL, "JPEG"), "image/jpeg"),
    "gif": (encoded(SMALL, "GIF"), "image/gif"),
    "webp": (encoded(SMALL, "WEBP"), "image/webp"),
    "bmp": (encoded(SMALL, "BMP"), "image/bmp"),
    "avif": (encoded(SMALL, "AVIF"), "image/avif"),
    "mp4": (BOX % (b"isom", b"isomiso2mp41"), "video/mp4"),
    "mov": (BOX % (b"qt  ", b"qt  "), "video/quicktime"),
    "m4a": (BOX % (b"M4A ", b"M4A isom"), "audio/mp4"),
    "webm": (EBML + b"\x84webm" + b"\0" * 60, "video/webm"),
    "mkv": (EBML + b"\x88matroska" + b"\0" * 60, "video/x-matroska"),
    "mp3": (b"ID3\4\0\0\0\0\0#TSSE" + b"\0" * 60, "audio/mpeg"),
    "mp3 without tag": (MP3_FRAME * 3, "audio/mpeg"),
    "wav": (b"RIFF\x40\0\0\0WAVEfmt " + b"\0" * 60, "audio/wav"),
    "ogg": (b"OggS\0\2" + b"\0" * 60, "audio/ogg"),
    "flac": (b"fLaC\0\0\0\x22" + b"\0" * 60, "audio/flac"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "application/pdf"),
    "zip": (archive(a_dot_txt=b"a"), "application/zip"),
    "apk": (archive(AndroidManifest_dot_xml=b"a"), "application/vnd.android.package-archive"),
    "jar": (archive(**{"META-INF__MANIFEST_dot_MF": b"a"}), "application/java-archive"),
    "docx": (
        archive(**{"[Content_Types]_dot_xml": b"", "_rels__x": b"", "word__document_dot_xml": b""}),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    "gzip": (b"\x1f\x8b\x08\0" + b"\0" * 20, "application/gzip"),
    "windows program": (PROGRAM, "application/x-msdownload"),
    "linux program": (b"\x7fELF\2\1\1" + b"\0" * 60, "application/x-executable"),
    "mac program": (b"\xcf\xfa\xed\xfe\x07\0\0\1" + b"\0" * 60, "application/x-mach-binary"),
    "fat mac program": (b"\xca\xfe\xba\xbe\0\0\0\2" + b"\0" * 60, "application/x-mach-binary"),
    "java class": (b"\xca\xfe\xba\xbe\0\0\0\x34" + b"\0" * 60, "application/java-vm"),
    "script": (b"#!/bin/sh\necho hello\n", "text/x-shellscript"),
    "page": (b"<!DOCTYPE html>\n<html></html>", "text/html"),
    "page that hides": (b"<!-- a -->\n <ScRiPt>alert(1)</script>\0", "text/html"),
    "page in UTF-16": ("\ufeff<html><body>".encode("utf-16-le"), "text/html"),
    "svg": (SVG, "image/svg+xml"),
    "svg with prolog": (b'<?xml version="1.0"?>\n<!-- a -->\n' + SVG, "image/svg+xml"),
    "xml": (b'<?xml version="1.0"?>\n<feed/>', "text/xml"),
    "text": ("grüße".encode(), "text/plain"),
    "text like a bitmap": (b"BM is the brand that I like best.", "text/plain"),
    "text like a program": (b"MZ was his name. " * 20, "text/plain"),
    "test virus": (EICAR, "text/plain"),
    "nothing": (b"", UNKNOWN),
    "noise": (random.Random(3).randbytes(4_000), UNKNOWN),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_what_its_content_says(name: str) -> None:
    content, expected = KINDS[name]

    assert sniff(content).mime_type == expected


def test_encrypted_files_are_hardly_ever_taken_for_anything() -> None:
    noise = random.Random(7)
    weak = (b"MZ", b"BM", b"\xff\xfb", b"\xff\xf1", b"\x1f\x9d", b"%!", b"")

    found = [mime_type(start + noise.randbytes(8_190), 9_000) for start in weak for _ in range(200)]

    assert sum(kind != UNKNOWN for kind in found) <= len(found) // 100


def test_text_cut_in_the_middle_of_a_character_is_text() -> None:
    assert mime_type("ü".encode() * 40 + b"\xc3", 1_000) == "text/plain"
    assert mime_type(b"\xc3\x28" * 40, 80) == UNKNOWN


def test_a_path_gives_the_same_facts_as_its_content(tmp_path: Path) -> None:
    content = encoded(picture(), "JPEG")
    path = tmp_path / "file.exe"
    path.write_bytes(content)

    facts = sniff(path)

    assert facts == sniff(content)
    assert facts.sha256 == hashlib.sha256(content).digest()
    assert (facts.size_bytes, facts.width, facts.height) == (len(content), 320, 240)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and has no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_decompression_bomb_has_a_size_and_is_not_decoded() -> None:
    facts = sniff(png_of_size(60_000, 60_000))

    assert (facts.mime_type, facts.width, facts.height) == ("image/png", 60_000, 60_000)
    assert facts.perceptual_hash is None


def test_a_jpeg_of_very_many_scans_is_not_decoded() -> None:
    plain = encoded(picture(), "JPEG", progressive=True)
    marks = b"\xff\xda" * 100
    comment = b"\xff\xfe" + struct.pack(">H", len(marks) + 2) + marks

    facts = sniff(plain[:2] + comment + plain[2:])

    assert sniff(plain).perceptual_hash is not None
    assert (facts.width, facts.height, facts.perceptual_hash) == (320, 240, None)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "AVIF"])
def test_a_broken_image_lacks_facts_and_raises_nothing(image_format: str) -> None:
    whole = encoded(picture(), image_format)
    noise = random.Random(1)

    for _ in range(60):
        broken = bytearray(whole[: noise.randrange(4, len(whole))])
        broken[noise.randrange(len(broken))] ^= 1 << noise.randrange(8)
        facts = sniff(bytes(broken))
        assert facts.size_bytes == len(broken)


# ---------------------------------------------------------------- the perceptual hash


def looks(content: bytes) -> int:
    found = sniff(content).perceptual_hash
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(8))
def test_a_picture_rescaled_and_recompressed_is_near_itself(seed: int) -> None:
    original = picture(seed, (640, 480))
    smaller = original.resize((200, 150), Image.Resampling.BICUBIC)
    hidden = original.convert("RGBA")

    copies = [
        encoded(original, "JPEG", quality=35),
        encoded(smaller, "JPEG", quality=60),
        encoded(smaller, "WEBP", quality=50),
        encoded(original.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"),
        encoded(hidden, "PNG"),
    ]

    assert max(distance(looks(encoded(original)), looks(copy)) for copy in copies) <= 8


def test_other_pictures_are_far() -> None:
    hashes = [looks(encoded(picture(seed))) for seed in range(30)]

    near = [1 for i, one in enumerate(hashes) for other in hashes[:i] if distance(one, other) <= 8]

    assert near == []


def test_a_photograph_on_its_side_is_the_same_picture() -> None:
    upright = picture(5)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    lying = upright.transpose(Image.Transpose.ROTATE_90)

    stored = encoded(lying, "JPEG", exif=exif, quality=95)

    assert distance(looks(encoded(upright)), looks(stored)) <= 6


def test_an_animation_is_known_by_its_first_frame() -> None:
    frames = [picture(seed) for seed in range(4)]

    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert distance(looks(encoded(frames[0])), looks(moving)) <= 8


def test_sixteen_bits_a_pixel_are_not_cut_off() -> None:
    grey = picture(6).convert("L")
    deep = Image.frombytes("I;16", grey.size, b"".join(bytes((0, p)) for p in grey.tobytes()))

    assert distance(looks(encoded(grey)), looks(encoded(deep))) <= 4


def test_an_image_of_one_colour_has_no_hash() -> None:
    assert sniff(encoded(Image.new("RGB", (50, 50), "teal"))).perceptual_hash is None
