"""A WebSocket client of few instructions: frames in and out, for thousands of them in a process."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from typing import cast

NO_MASK = b"\0\0\0\0"
TEXT, CLOSE, PING, PONG = 0x81, 0x8, 0x9, 0x8A


class WebSocketClient(asyncio.Protocol):
    """One connection.  What comes goes to ``on_message``; the end is told once to ``on_lost``."""

    def __init__(
        self,
        on_message: Callable[[bytes], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.close_code: int | None = None

    async def connect(self, address: str, port: int, path: str, token: str) -> None:
        """Open the connection.  Raises ``OSError``, if the server is not there, or refuses."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, address, port)
        assert self._transport is not None
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        await self._open

    def send(self, payload: bytes) -> None:
        """Send a text; nothing happens if the connection has ended."""
        self._write(TEXT, payload)

    def abort(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, first: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes((first, 0x80 | size))
        if size >= 126:
            head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
        if self._transport is not None:
            self._transport.write(head + NO_MASK + payload)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of the end."""
        self._transport = None
        if not self._open.done():
            self._open.set_exception(ConnectionError("The server closed the connection"))
            return
        if self._open.exception() is None:
            self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Take the frames that are complete."""
        if self._rest:
            data = self._rest + data
        start = 0
        if not self._open.done():
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self._open.set_exception(ConnectionError(data[:400].decode(errors="replace")))
                self.abort()
                return
            self._open.set_result(None)
            start = end + 4
        available = len(data)
        while available - start >= 2:
            size, head = data[start + 1], 2
            if size >= 126:
                head = 4 if size == 126 else 10
                if available - start < head:
                    break
                size = int.from_bytes(data[start + 2 : start + head], "big")
            end = start + head + size
            if end > available:
                break
            self._take(data[start] & 0x0F, data[start + head : end])
            start = end
        self._rest = data[start:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._write(PONG, payload)
        elif opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
            self.abort()
        else:
            self._on_message(payload)
