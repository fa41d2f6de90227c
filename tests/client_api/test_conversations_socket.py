"""Sockets of the Conversations API, on the loop and the transports of a server."""

from __future__ import annotations

import asyncio
from typing import cast

from client_api.conversations.ws.socket import Outbox, Socket, SocketLimits

LIMITS = SocketLimits(frame_bytes=1_000, unsent_bytes=1_000)


class Accepted(asyncio.Protocol):
    """Hands the transport of a connection on."""

    def __init__(self, transports: asyncio.Queue[asyncio.Transport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transports.put_nowait(cast("asyncio.Transport", transport))


async def test_a_socket_that_is_lost_while_written_to_loses_nothing_of_others() -> None:
    loop = asyncio.get_running_loop()
    transports: asyncio.Queue[asyncio.Transport] = asyncio.Queue()
    server = await loop.create_server(lambda: Accepted(transports), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    outbox, sockets, readers = Outbox(), [], []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        transport = await transports.get()
        socket = Socket(transport, LIMITS, outbox, deflate=False)
        transport.set_protocol(socket)
        sockets.append((socket, transport))
        readers.append((reader, writer))
    (lost, its_transport), (kept, _) = sockets

    its_transport.abort()
    lost.write(b"to nobody")
    kept.write(b"to the other")

    async with asyncio.timeout(10):
        assert await readers[1][0].readexactly(12) == b"to the other"
    for _, transport in sockets:
        transport.abort()
    for _, writer in readers:
        writer.close()
    server.close()
