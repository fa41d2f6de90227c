"""An HTTP/1.1 client of few instructions: one connection, one request at a time."""

import asyncio
import re
from typing import Any, Self, cast

import orjson

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:\s*close", re.IGNORECASE)

READ_TRIES = 5

Answer = tuple[int, bytes]


class ConnectionLost(ConnectionError):
    """The server closed the connection before it had answered."""


class RequestRefused(Exception):
    """The server answered a request of the set-up with an error."""


class Connection(asyncio.Protocol):
    """A kept-alive connection; `request` opens it again when the server has closed it."""

    def __init__(self, host: str, port: int, token: str = "") -> None:
        self._address = (host, port)
        self._tail = f"Host: {host}:{port}\r\n".encode()
        if token:
            self._tail += f"Authorization: Bearer {token}\r\n".encode()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[Answer] | None = None

    async def request(self, method: str, target: str, body: bytes = b"") -> Answer:
        """Send a request and return the status and the body of the answer."""
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            await loop.create_connection(self._again, *self._address)
        assert self._transport is not None
        head = b"%s %s HTTP/1.1\r\n%b" % (method.encode(), target.encode(), self._tail)
        if method != "GET":
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        self._waiter = loop.create_future()
        self._transport.write(head + b"\r\n" + body)
        return await self._waiter

    async def json(self, method: str, target: str, body: Any = None) -> Any:
        """A request of the set-up: JSON in, JSON out, an exception unless it is a 200.

        What only reads is tried again: of a thousand connections at once some are reset.
        """
        data = b"" if method == "GET" else orjson.dumps(body or {})
        for tries_left in range(READ_TRIES if method == "GET" else 1, 0, -1):
            try:
                status, answer = await self.request(method, target, data)
                break
            except ConnectionLost:
                if tries_left == 1:
                    raise
                await asyncio.sleep(0.5)
        if status != 200:
            raise RequestRefused(f"{method} {target}: {status} {answer[:300]!r}")
        return orjson.loads(answer)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # asyncio.Protocol

    def _again(self) -> Self:
        self._buffer.clear()
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # A cast: uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that was waiting."""
        self._transport = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionLost(str(exc)))

    def data_received(self, data: bytes) -> None:
        """Collect, and answer the waiting request once its answer is complete."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end])
        length = _LENGTH.search(head)
        if length:
            stop = end + 4 + int(length[1])
            body = bytes(self._buffer[end + 4 : stop]) if len(self._buffer) >= stop else None
        elif _CHUNKED.search(head):
            body = _unchunked(self._buffer, end + 4)
        else:
            body = b""
        if body is None:
            return
        self._buffer.clear()
        if _CLOSE.search(head) and self._transport is not None:
            self._transport.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((int(head[9:12]), body))


def _unchunked(buffer: bytearray, start: int) -> bytes | None:
    """The body of a chunked answer, or None while it is not complete."""
    parts: list[bytes] = []
    while True:
        line = buffer.find(b"\r\n", start)
        if line < 0:
            return None
        size = int(bytes(buffer[start:line]).split(b";")[0], 16)
        start = line + 2 + size + 2
        if len(buffer) < start:
            return None
        if size == 0:
            return b"".join(parts)
        parts.append(bytes(buffer[line + 2 : line + 2 + size]))
