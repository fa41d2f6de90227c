"""Takes a connection out of aiohttp's hands.

aiohttp keeps a task, a request, a parser and buffers for each WebSocket, some 20 KiB, and writes
each frame to each socket by itself.  Here a socket that waits is to cost little, and a frame is
made once for all who get it.  So after the handshake aiohttp is told that the connection has ended,
and its transport goes on with a protocol of ours.

This is the only module that knows how aiohttp holds a connection; ``test_takeover.py`` holds it
against what aiohttp does in public.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter


class Taken(web.StreamResponse):
    """What a handler answers whose connection was taken: nothing is written."""

    def __init__(self) -> None:
        super().__init__(status=101)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write nothing."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nor here."""


def take_over(request: web.Request) -> tuple[asyncio.Transport, bytes] | None:
    """The connection of a request that asks for an upgrade, and what came behind the request.

    None if the other side has hung up.  The handler must answer :class:`Taken`.
    """
    protocol = request.protocol
    transport = protocol.transport
    if transport is None or transport.is_closing():
        return None
    # What the client sent before it had an answer; it should not have.
    tail: bytes = protocol._message_tail
    protocol._message_tail = b""
    # Without its transport the protocol closes nothing, and with the connection lost it forgets
    # its parser, timers and place in the server's list of connections.
    protocol.transport = None
    protocol.connection_lost(None)
    if not transport.is_reading():
        transport.resume_reading()
    return transport, tail
