"""WebSocket frames: bytes in, messages out; no I/O.

The server's side of RFC 6455, and of RFC 7692 (per-message compression) without context: each
message is compressed by itself, so that it is compressed once for all who read it, and a socket
that waits keeps no window in memory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from typing import NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUATION = 0x0
FIN, COMPRESSED, RESERVED = 0x80, 0x40, 0x30
MASKED = 0x80
LONGEST_CONTROL = 125
MOST_PARTS = 1_024  # of one message: an empty one costs its sender nothing, and us memory

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = "13"
EXTENSION = "permessage-deflate"
DEFLATE_ANSWER = f"{EXTENSION}; server_no_context_takeover; client_no_context_takeover"
DEFLATE_TAIL = b"\x00\x00\xff\xff"
WINDOW_BITS = 15
COMPRESSED_FROM = 512  # bytes: what is shorter costs more time than it saves
LEVEL = 3

NORMAL, GOING_AWAY, PROTOCOL_ERROR = 1000, 1001, 1002
BAD_DATA, TOO_BIG, INTERNAL_ERROR, SERVICE_RESTART = 1007, 1009, 1011, 1012
MAY_BE_SENT = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class BadFrame(Exception):
    """The other side broke the protocol; ``code`` is what it is told on closing."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Frame(NamedTuple):
    """A whole message, or a control frame."""

    opcode: int
    payload: bytes


# ---------------------------------------------------------------- writing


def encode(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """A frame as a server sends it.  RFC 6455, section 5.2."""
    first = FIN | (COMPRESSED if compressed else 0) | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def encode_compressed(opcode: int, payload: bytes) -> bytes:
    """The same for who has agreed to compression; compressed if it is worth it.  RFC 7692, 7.2.1"""
    if len(payload) >= COMPRESSED_FROM:
        deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW_BITS)
        packed = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
        packed = packed.removesuffix(DEFLATE_TAIL)
        if len(packed) < len(payload):
            return encode(opcode, packed, compressed=True)
    return encode(opcode, payload)


def encode_close(code: int, reason: str = "") -> bytes:
    """A close frame."""
    text = reason.encode()[: LONGEST_CONTROL - 2].decode(errors="ignore").encode()
    return encode(CLOSE, code.to_bytes(2, "big") + text)


# ---------------------------------------------------------------- reading


class FrameReader:
    """Collects what a client sends.  Holds nothing while nothing is incomplete."""

    __slots__ = (
        "_buffer",
        "_collected",
        "_compressed",
        "_deflate",
        "_max_bytes",
        "_needed",
        "_opcode",
        "_parts",
    )

    def __init__(self, *, max_bytes: int, deflate: bool) -> None:
        """``max_bytes``: of a message, unpacked.  ``deflate``: whether compression was agreed."""
        self._max_bytes = max_bytes
        self._deflate = deflate
        self._buffer: bytearray | None = None
        self._needed = 0
        self._opcode = CONTINUATION
        self._compressed = False
        self._parts: list[bytes] | None = None
        self._collected = 0  # bytes in them

    @property
    def is_idle(self) -> bool:
        """Whether nothing is incomplete."""
        return self._buffer is None and self._parts is None

    def feed(self, data: bytes) -> list[Frame]:
        """The messages that are complete now.  Raises :class:`BadFrame`."""
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            data = bytes(self._buffer)
            self._buffer = None
        frames: list[Frame] = []
        start = 0
        while start < len(data):
            end = self._one(data, start, frames)
            if end < 0:
                self._buffer = bytearray(data[start:])
                self._needed = -end
                break
            start = end
        return frames

    def _one(self, data: bytes, start: int, frames: list[Frame]) -> int:
        """Read a frame at ``start``; where it ends, or minus how many bytes it takes to go on."""
        available = len(data) - start
        if available < 2:
            return -2
        first, second = data[start], data[start + 1]
        size = second & 0x7F
        head = 6
        if size == 126:
            head = 8
        elif size == 127:
            head = 14
        if available < head:
            return -head
        if size == 126:
            size = int.from_bytes(data[start + 2 : start + 4], "big")
        elif size == 127:
            size = int.from_bytes(data[start + 2 : start + 10], "big")
        self._check(first, second, size)
        if available < head + size:
            return -(head + size)
        begin = start + head
        payload = unmask(data[begin : begin + size], data[begin - 4 : begin])
        self._take(first, payload, frames)
        return begin + size

    def _check(self, first: int, second: int, size: int) -> None:
        """Refuse a frame by its head, before the rest of it is kept."""
        opcode = first & 0x0F
        if not second & MASKED:
            raise BadFrame(PROTOCOL_ERROR, "A client masks its frames")
        if first & RESERVED or (first & COMPRESSED and not self._may_be_compressed(opcode)):
            raise BadFrame(PROTOCOL_ERROR, "A reserved bit is set")
        if opcode >= CLOSE:
            if opcode not in (CLOSE, PING, PONG):
                raise BadFrame(PROTOCOL_ERROR, "Unknown opcode")
            if not first & FIN or size > LONGEST_CONTROL:
                raise BadFrame(PROTOCOL_ERROR, "A control frame is too long, or in pieces")
            return
        if opcode not in (CONTINUATION, TEXT, BINARY):
            raise BadFrame(PROTOCOL_ERROR, "Unknown opcode")
        if (opcode == CONTINUATION) != (self._parts is not None):
            raise BadFrame(PROTOCOL_ERROR, "A message begins within another, or nothing goes on")
        before = self._collected if self._parts is not None else 0
        if before + size > self._max_bytes:
            raise BadFrame(TOO_BIG, f"A message may have {self._max_bytes} bytes")
        if self._parts is not None and len(self._parts) >= MOST_PARTS:
            raise BadFrame(TOO_BIG, f"A message may come in {MOST_PARTS} pieces")

    def _may_be_compressed(self, opcode: int) -> bool:
        return self._deflate and opcode in (TEXT, BINARY)

    def _take(self, first: int, payload: bytes, frames: list[Frame]) -> None:
        opcode = first & 0x0F
        if opcode >= CLOSE:
            frames.append(Frame(opcode, payload))
            return
        if opcode != CONTINUATION:
            self._opcode, self._compressed = opcode, bool(first & COMPRESSED)
            if first & FIN:
                frames.append(Frame(opcode, self._whole(payload)))
            else:
                self._parts, self._collected = [payload], len(payload)
            return
        assert self._parts is not None
        self._parts.append(payload)
        self._collected += len(payload)
        if first & FIN:
            whole, self._parts = b"".join(self._parts), None
            frames.append(Frame(self._opcode, self._whole(whole)))

    def _whole(self, payload: bytes) -> bytes:
        if self._compressed:
            payload = inflate(payload, self._max_bytes)
        if self._opcode == TEXT and not payload.isascii():
            try:
                payload.decode()
            except UnicodeDecodeError as error:
                raise BadFrame(BAD_DATA, "A text is not UTF-8") from error
        return payload


def inflate(payload: bytes, max_bytes: int) -> bytes:
    """What a compressed message says.  Raises :class:`BadFrame`.  RFC 7692, section 7.2.2."""
    unpacker = zlib.decompressobj(-WINDOW_BITS)
    try:
        whole = unpacker.decompress(payload + DEFLATE_TAIL, max_bytes + 1)
    except zlib.error as error:
        raise BadFrame(BAD_DATA, "A compressed message cannot be unpacked") from error
    if len(whole) > max_bytes:
        raise BadFrame(TOO_BIG, f"A message may have {max_bytes} bytes")
    return whole


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Take a client's mask off.  RFC 6455, section 5.3."""
    size = len(payload)
    if not size:
        return b""
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )


def parse_close(payload: bytes) -> tuple[int, str]:
    """A close frame's code and reason.  Raises :class:`BadFrame`."""
    if not payload:
        return NORMAL, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (code in MAY_BE_SENT or 3000 <= code <= 4999):
        raise BadFrame(PROTOCOL_ERROR, "An impossible close code")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError as error:
        raise BadFrame(BAD_DATA, "A reason is not UTF-8") from error


# ---------------------------------------------------------------- the handshake


def accept_key(key: str) -> str | None:
    """What answers a ``Sec-WebSocket-Key``; None for what is none.  RFC 6455, section 4.2.2."""
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            return None
    except (binascii.Error, ValueError):
        return None
    digest = hashlib.sha1(key.encode() + ACCEPT_GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def accepts_deflate(offers: str) -> bool:
    """Whether one of the offers of a ``Sec-WebSocket-Extensions`` is one that we can keep."""
    for offer in offers.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name.lower() == EXTENSION and _can_keep(parameters):
            return True
    return False


def _can_keep(parameters: list[str]) -> bool:
    """Spec: RFC 7692, section 7.1.  A smaller window for the server would not be shared."""
    seen: dict[str, str | None] = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        key = name.strip().lower()
        if key in seen:
            return False
        seen[key] = value.strip().strip('"') if equals else None
    for key, given in seen.items():
        if key in ("server_no_context_takeover", "client_no_context_takeover"):
            if given is not None:
                return False
        elif key == "client_max_window_bits":
            if given is not None and not (given.isdecimal() and 8 <= int(given) <= WINDOW_BITS):
                return False
        elif key != "server_max_window_bits" or given != str(WINDOW_BITS):
            return False
    return True


def answer_head(headers: Mapping[str, str]) -> bytes:
    """The answer that makes a connection a WebSocket."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode()
