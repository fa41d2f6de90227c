"""A WebSocket client of few instructions: it looks at what it needs, and parses nothing else."""

import asyncio
import base64
import os
import time
from collections.abc import Callable
from typing import cast

import orjson

from .people import User

CREATED, OK, WELCOME = b'{"type":"message.created"', b'{"type":"ok"', b'{"type":"hello"'
PROBLEM = b'{"type":"problem"'
TEXT = b'"text":"'
NO_MASK = b"\0\0\0\0"

Heard = Callable[["Client", bytes], None]


class Client(asyncio.Protocol):
    """One connection of a device's."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_created: Heard = lambda _client, _payload: None
        self.on_ok: Heard = lambda _client, _payload: None
        self.problems: list[bytes] = []
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._upgraded = False

    async def connect(self) -> None:
        """Open the connection, and wait until the server says hello."""
        identity = self.user.server.identity
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, identity.address, identity.client_port)
        assert self._transport is not None
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /api/v1/ws HTTP/1.1\r\nHost: {identity.address}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Authorization: Bearer {self.user.token}\r\n\r\n".encode()
        )
        await self.welcomed

    def send(self, client_id: str, conversation_id: str) -> None:
        """Send a message that says when it was sent."""
        frame = {
            "type": "send",
            "client_id": client_id,
            "conversation_id": conversation_id,
            "text": f"{time.monotonic_ns():020}: But, soft! what light through yonder window?",
        }
        self._write(0x81, orjson.dumps(frame))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, first: int, payload: bytes) -> None:
        size = len(payload)
        head = (
            bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFE)) + size.to_bytes(2)
        )
        assert self._transport is not None
        self._transport.write(head + NO_MASK + payload)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        self.lost = True
        if not self.welcomed.done():
            self.welcomed.set_exception(ConnectionError("The server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Take the frames that are complete."""
        if self._rest:
            data = self._rest + data
        start = 0
        if not self._upgraded:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self.welcomed.set_exception(ConnectionError(data[:300].decode()))
                return
            self._upgraded, start = True, end + 4
        available = len(data)
        while available - start >= 2:
            size, head = data[start + 1], 2
            if size == 126:
                if available - start < 4:
                    break
                size, head = int.from_bytes(data[start + 2 : start + 4]), 4
            elif size == 127:
                if available - start < 10:
                    break
                size, head = int.from_bytes(data[start + 2 : start + 10]), 10
            end = start + head + size
            if end > available:
                break
            self._take(data[start] & 0x0F, data[start + head : end])
            start = end
        self._rest = data[start:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:
            self._write(0x8A, payload)
        elif payload.startswith(CREATED):
            self.on_created(self, payload)
        elif payload.startswith(OK):
            self.on_ok(self, payload)
        elif payload.startswith(WELCOME):
            if not self.welcomed.done():
                self.welcomed.set_result(None)
        elif payload.startswith(PROBLEM):
            self.problems.append(payload)


def sent_ns(payload: bytes) -> int:
    """When a message says that it was sent."""
    place = payload.find(TEXT) + len(TEXT)
    return int(payload[place : place + 20])
