"""What a file is, by its content: never by its name, nor by what its sender says of it.

``filetype`` knows the signatures of binary formats.  Here are the ones that it does not know, what
is text, and a second look where a signature of two bytes would call random (encrypted) data a
picture or a program.
"""

from __future__ import annotations

import re
import struct

import filetype

UNKNOWN = "application/octet-stream"
TEXT = "text/plain"
ELF = "application/x-executable"
PORTABLE_EXECUTABLE = "application/x-msdownload"
MACH_O = "application/x-mach-binary"
JAVA_CLASS = "application/java-vm"
ZIP = "application/zip"
HEAD_BYTES = 8_192

MORE_SIGNATURES = (
    (b"\xfe\xed\xfa\xce", MACH_O),
    (b"\xfe\xed\xfa\xcf", MACH_O),
    (b"\xce\xfa\xed\xfe", MACH_O),
    (b"\xcf\xfa\xed\xfe", MACH_O),
    (b"dex\n0", "application/vnd.android.dex"),
    (b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
)
LATER_SIGNATURES = ((b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),)
RENAMED = {
    "audio/x-wav": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-aiff": "audio/aiff",
    "application/x-rar-compressed": "application/vnd.rar",
    "image/jpx": "image/jp2",
    "image/x-icon": "image/vnd.microsoft.icon",
}
ZIP_CONTENTS = (
    (b"AndroidManifest.xml", "application/vnd.android.package-archive"),
    (b"META-INF/MANIFEST.MF", "application/java-archive"),
)
BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
MP3_KBIT = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG_2_KBIT = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MP3_HERTZ = (44_100, 48_000, 32_000)

_PROLOG = rb"(?:\s+|<\?[^>]{0,500}>|<!--.{0,2000}?-->|<!DOCTYPE\s+svg[^>]{0,500}>)*"
_SVG = re.compile(_PROLOG + rb"<svg[\s>/]", re.IGNORECASE | re.DOTALL)
# The tags by which browsers tell that text is a page: https://mimesniff.spec.whatwg.org/
_HTML = re.compile(
    rb"(?:\s+|<\?xml[^>]{0,500}>|<!--.{0,2000}?-->)*<(?:!DOCTYPE\s+html|html|head|script|iframe|h1"
    rb"|div|font|table|a|style|title|b|body|br|p)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")


def mime_type(head: bytes, size_bytes: int) -> str:
    """The MIME type of a file.

    ``head``: its first :data:`HEAD_BYTES`, or all of it.  What nothing is known of, such as
    encrypted data, is ``application/octet-stream``.
    """
    for signature, name in MORE_SIGNATURES:
        if head.startswith(signature):
            return name
    if head.startswith(b"\xca\xfe\xba\xbe") and len(head) >= 8:
        # A count of architectures, or a version: both stand here, and no class is below version 45.
        return MACH_O if int.from_bytes(head[4:8], "big") < 40 else JAVA_CLASS
    if _is_portable_executable(head, size_bytes):
        return PORTABLE_EXECUTABLE
    known = _by_signature(head)
    if known is not None:
        return known
    return _of_text(head) or _later(head)


def _by_signature(head: bytes) -> str | None:
    kind = filetype.guess(head) if head else None
    if kind is None:
        return None
    name = str(kind.mime)
    if not _is_plausible(name, head):
        return None
    if name == ZIP:
        return next((inner for mark, inner in ZIP_CONTENTS if mark in head), ZIP)
    return RENAMED.get(name, name)


def _later(head: bytes) -> str:
    found = (name for signature, name in LATER_SIGNATURES if head.startswith(signature))
    return next(found, UNKNOWN)


# ---------------------------------------------------------------- second looks


def _is_plausible(name: str, head: bytes) -> bool:
    match name:
        case "application/x-msdownload":
            return False  # decided before
        case "image/bmp":
            return len(head) >= 18 and int.from_bytes(head[14:18], "little") in BITMAP_HEADERS
        case "audio/mpeg" if not head.startswith(b"ID3"):
            return _next_frame(head, _mp3_frame_bytes(head))
        case "audio/aac":
            length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if len(head) > 6 else 0
            return _next_frame(head, length)
        case "application/postscript":
            return head.startswith(b"%!PS")
        case "application/x-compress":
            return len(head) > 2 and 0x8C <= head[2] <= 0x90  # codes of 12 to 16 bits
    return True


def _is_portable_executable(head: bytes, size_bytes: int) -> bool:
    """A Windows or DOS program: "MZ", and what "MZ" promises."""
    if not head.startswith(b"MZ") or len(head) < 64:
        return False
    offset = int.from_bytes(head[0x3C:0x40], "little")
    if head[offset : offset + 2] in (b"PE", b"NE", b"LE", b"LX"):
        return True
    if len(head) <= offset < size_bytes and offset % 4 == 0:
        return True  # beyond what was read: better called a program
    header: tuple[int, ...] = struct.unpack_from("<4H", head, 2)
    last_page, pages, _, paragraphs = header
    return last_page < 512 and 0 < pages <= size_bytes // 512 + 1 and 2 <= paragraphs < 4096


def _mp3_frame_bytes(head: bytes) -> int:
    """The first frame's length, if it is of MPEG-1 or 2, layer III; 0 for none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if bitrate in (0, 15) or rate == 3:
        return 0
    if head[1] & 0x08:
        return 144_000 * MP3_KBIT[bitrate] // MP3_HERTZ[rate] + (head[2] >> 1 & 1)
    return 72_000 * MPEG_2_KBIT[bitrate] // (MP3_HERTZ[rate] // 2) + (head[2] >> 1 & 1)


def _next_frame(head: bytes, length: int) -> bool:
    """Whether another frame follows the first one, as far as can be seen."""
    if length < 7:
        return False
    following = head[length : length + 2]
    return len(following) < 2 or (following[0] == 0xFF and following[1] & 0xFE == head[1] & 0xFE)


# ---------------------------------------------------------------- text


def _of_text(head: bytes) -> str | None:
    """What kind of text it is; None if it is none.  A page is a page even with stray bytes."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        decoded = head[: len(head) & ~1].decode("utf-16", "replace")
        head = decoded.encode("utf-8", "replace")
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _SVG.match(head):
        return "image/svg+xml"
    if _HTML.match(head):
        return "text/html"
    if not head or not _is_text(head):
        return None
    if head.startswith(b"#!"):
        return "text/x-shellscript"
    if head.lstrip().startswith(b"<?xml"):
        return "text/xml"
    return TEXT


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or error.reason != "unexpected end of data":
            return False
        text = head[: error.start].decode("utf-8")
    return _CONTROL.search(text) is None
