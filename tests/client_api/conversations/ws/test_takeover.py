"""A connection that was taken from aiohttp is ours alone, and aiohttp knows nothing of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from client_api.conversations.ws.takeover import Taken, take_over

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


class Echo(asyncio.Protocol):
    """What the connection speaks once it is taken."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


class Taker:
    """A server that takes over every connection."""

    def __init__(self) -> None:
        self.echo: Echo | None = None
        self.request: weakref.ref[Any] | None = None
        self.pause: asyncio.Event | None = None
        app = web.Application()
        app.router.add_get("/", self._take)
        self.server = TestServer(app)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self.request = weakref.ref(request)
        if self.pause is not None:
            await self.pause.wait()
        taken = take_over(request)
        if taken is not None:
            transport, tail = taken
            self.echo = Echo(transport)
            transport.write(b"mine:" + tail)
            transport.set_protocol(self.echo)
        return Taken()


async def read(reader: asyncio.StreamReader, count: int) -> bytes:
    return await asyncio.wait_for(reader.readexactly(count), 5)


async def test_bytes_go_both_ways_after_the_handler_has_returned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taker = Taker()
    async with taker.server as server:
        with caplog.at_level(logging.DEBUG):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(REQUEST)
            assert await read(reader, 5) == b"mine:"
            await asyncio.sleep(0.05)
            for text in (b"one", b"two"):
                writer.write(text)
                assert await read(reader, 3) == text
            writer.close()
            await asyncio.sleep(0.05)

        assert taker.echo is not None
        assert taker.echo.lost
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING], caplog.text


async def test_what_came_behind_the_request_is_handed_over() -> None:
    taker = Taker()
    async with taker.server as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

        writer.write(REQUEST + b"early")

        assert await read(reader, 10) == b"mine:early"
        writer.close()


async def test_what_comes_while_the_handler_thinks_is_handed_over() -> None:
    taker = Taker()
    taker.pause = asyncio.Event()
    async with taker.server as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(REQUEST)
        await asyncio.sleep(0.05)
        sent = b"x" * 100_000

        writer.write(sent)
        await asyncio.sleep(0.05)
        taker.pause.set()

        assert await read(reader, 5 + len(sent)) == b"mine:" + sent
        writer.close()


async def test_aiohttp_forgets_the_connection() -> None:
    taker = Taker()
    async with taker.server as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(REQUEST)
        await read(reader, 5)
        await asyncio.sleep(0.05)
        gc.collect()

        assert server.handler is not None
        assert server.handler.connections == []
        assert taker.request is not None
        assert taker.request() is None
        writer.close()


async def test_a_connection_that_is_gone_is_not_taken() -> None:
    taker = Taker()
    taker.pause = asyncio.Event()
    async with taker.server as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(REQUEST)
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.05)

        taker.pause.set()
        await asyncio.sleep(0.05)

        assert taker.echo is None


async def test_aiohttps_own_answers_are_as_before() -> None:
    """What does not ask to be taken is answered, and its connection kept."""
    app = web.Application()

    async def plain(request: web.Request) -> web.Response:
        return web.Response(text="mine")

    app.router.add_get("/", plain)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await asyncio.wait_for(reader.readuntil(b"mine"), 5)
            assert answer.startswith(b"HTTP/1.1 200")
        writer.close()
