"""A client of the WebSocket for tests, on aiohttp's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import orjson

from .conftest import ApiUser

SECONDS = 30


class ClientSocket:
    """One connection: frames as JSON values."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.welcome: dict[str, Any] = {}

    async def send(self, **frame: Any) -> None:
        if self.ws.protocol == "comity.v1.msgpack":
            await self.ws.send_bytes(msgspec.msgpack.encode(frame))
        else:
            await self.ws.send_str(orjson.dumps(frame).decode())

    async def next(self) -> dict[str, Any]:
        """The next frame."""
        message = await asyncio.wait_for(self.ws.receive(), SECONDS)
        if message.type is aiohttp.WSMsgType.TEXT:
            text: dict[str, Any] = orjson.loads(message.data)
            return text
        assert message.type is aiohttp.WSMsgType.BINARY, message
        binary: dict[str, Any] = msgspec.msgpack.decode(message.data)
        return binary

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next frame of a type, with these fields; others are skipped."""
        while True:
            frame = await self.next()
            if frame["type"] == kind and fields.items() <= frame.items():
                return frame

    async def closed(self) -> int:
        """The code with which the server closes."""
        while True:
            message = await asyncio.wait_for(self.ws.receive(), SECONDS)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                assert self.ws.close_code is not None
                return self.ws.close_code


@asynccontextmanager
async def connected(user: ApiUser, since: int | None = None, **options: Any) -> AsyncIterator[Any]:
    """A socket of a user's that has been welcomed."""
    path = "/api/v1/ws" + (f"?since={since}" if since is not None else "")
    headers = {"Authorization": f"Bearer {user.token}"}
    async with user.instance.client.ws_connect(path, headers=headers, **options) as ws:
        socket = ClientSocket(ws)
        socket.welcome = await socket.next()
        assert socket.welcome["type"] == "hello", socket.welcome
        yield socket
