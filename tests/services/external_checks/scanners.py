"""Checkers on real sockets: a clamd that speaks the protocol, and an HTTP service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.services.pictures import EICAR


@dataclass
class FakeClamd:
    """Answers INSTREAM as clamd does, and finds one virus: EICAR's test file."""

    address: str = ""
    max_bytes: int = 1_000_000
    scanned: list[int] = field(default_factory=list)  # sizes
    reply: bytes | None = None  # instead of the true one
    silent: bool = False
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(10) == b"zINSTREAM\0"
        content = bytearray()
        while size := int.from_bytes(await reader.readexactly(4), "big"):
            content += await reader.readexactly(size)
            if len(content) > self.max_bytes:
                writer.write(b"INSTREAM size limit exceeded. ERROR\0")
                await writer.drain()
                while await reader.read(65_536):
                    pass
                return
        self.scanned.append(len(content))
        if self.silent:
            await asyncio.sleep(3_600)
        found = b"Eicar-Test-Signature FOUND" if EICAR in content else b"OK"
        writer.write(b"stream: " + found + b"\0" if self.reply is None else self.reply)
        await writer.drain()


@contextlib.asynccontextmanager
async def clamd(unix_path: str | None = None) -> AsyncIterator[FakeClamd]:
    """A clamd on a socket of its own."""
    fake = FakeClamd()
    if unix_path is None:
        server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
        fake.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(fake.serve, unix_path)
        fake.address = f"unix:{unix_path}"
    try:
        yield fake
    finally:
        server.close()
        for task in list(fake.connections):
            task.cancel()
        await asyncio.gather(*fake.connections, return_exceptions=True)


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Service:
    """An HTTP service that is asked, and answers as it is told to."""

    answer: Any = field(default_factory=lambda: {"verdict": "allow"})
    handler: Answer | None = None
    url: str = ""
    questions: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One question."""
        body = await request.read()
        self.requests.append((dict(request.headers), body))
        self.questions.append(await request.json())
        if self.handler is not None:
            return await self.handler(request)
        return web.json_response(self.answer)


@contextlib.asynccontextmanager
async def webhook() -> AsyncIterator[Service]:
    """A service on a socket of its own."""
    service = Service()
    app = web.Application()
    app.router.add_post("/check", service.handle)
    app.router.add_post("/elsewhere", service.handle)
    async with TestServer(app) as server:
        service.url = str(server.make_url("/check"))
        yield service
