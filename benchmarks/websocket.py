"""Devices with a WebSocket: they look at what they need, and parse nothing else."""

import asyncio
import time
from collections.abc import Callable

import orjson

from tests.harness.websocket import WebSocketClient

from .people import User

CREATED, OK, WELCOME = b'{"type":"message.created"', b'{"type":"ok"', b'{"type":"hello"'
PROBLEM = b'{"type":"problem"'
TEXT = b'"text":"'

Heard = Callable[["Client", bytes], None]


class Client:
    """One connection of a device's."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.on_created: Heard = lambda _client, _payload: None
        self.on_ok: Heard = lambda _client, _payload: None
        self.problems: list[bytes] = []
        self.lost = False
        self._welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._socket = WebSocketClient(self._take, self._gone)

    async def connect(self) -> None:
        """Open the connection, and wait until the server says hello."""
        identity = self.user.server.identity
        await self._socket.connect(
            identity.address, identity.client_port, "/api/v1/ws", self.user.token
        )
        await self._welcomed

    def send(self, client_id: str, conversation_id: str, text: str | None = None) -> None:
        """Send a message, by default one that says when it was sent."""
        frame = {
            "type": "send",
            "client_id": client_id,
            "conversation_id": conversation_id,
            "text": text
            or f"{time.monotonic_ns():020}: But, soft! what light through yonder window?",
        }
        self._socket.send(orjson.dumps(frame))

    def close(self) -> None:
        """Close the connection."""
        self._socket.abort()

    def _gone(self) -> None:
        self.lost = True

    def _take(self, payload: bytes) -> None:
        if payload.startswith(CREATED):
            self.on_created(self, payload)
        elif payload.startswith(OK):
            self.on_ok(self, payload)
        elif payload.startswith(WELCOME):
            if not self._welcomed.done():
                self._welcomed.set_result(None)
        elif payload.startswith(PROBLEM):
            self.problems.append(payload)


def sent_ns(payload: bytes) -> int:
    """When a message says that it was sent."""
    place = payload.find(TEXT) + len(TEXT)
    return int(payload[place : place + 20])
