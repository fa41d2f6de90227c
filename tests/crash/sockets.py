"""Devices with a WebSocket that are cut off again and again, and come back by themselves."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.harness import Homeserver
from tests.harness.websocket import WebSocketClient

RETRY_SECONDS = (0.05, 0.5)
STAY_SECONDS = (1.0, 15.0)
PAUSE_SECONDS = (2.0, 10.0)
UNANSWERED_SECONDS = 20.0


@dataclass
class Device:
    """One device: what it sent, what was acknowledged, and what it was told, in order.

    What is not acknowledged is sent again, with its client ID, after each reconnection.
    """

    server: Homeserver
    name: str
    token: str
    conversation_id: str
    rng: random.Random
    position: int | None = None
    told: list[tuple[int, str, str]] = field(default_factory=list)  # position, ID, text
    resets: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)  # message ID -> text
    reconnections: int = 0
    problems: list[str] = field(default_factory=list)
    _unacknowledged: dict[str, str] = field(default_factory=dict)
    _next: int = 0
    _connecting: WebSocketClient | None = None
    _socket: WebSocketClient | None = None

    # ------------------------------------------------------------ being told

    async def listen(self) -> None:
        """Stay connected for ever, come what may."""
        while True:
            gone = asyncio.Event()
            self._connecting = socket = WebSocketClient(self._take, gone.set)
            identity = self.server.identity
            since = f"?since={self.position}" if self.position is not None else ""
            try:
                async with asyncio.timeout(UNANSWERED_SECONDS):
                    await socket.connect(
                        identity.address, identity.client_port, f"/api/v1/ws{since}", self.token
                    )
            except (OSError, TimeoutError):
                socket.abort()
                await asyncio.sleep(self.rng.uniform(*RETRY_SECONDS))
                continue
            try:
                async with asyncio.timeout(self.rng.uniform(*STAY_SECONDS)):
                    await gone.wait()
            except TimeoutError:
                socket.abort()  # the network goes away without a word
            self._socket = self._connecting = None
            self.reconnections += 1

    def _take(self, payload: bytes) -> None:
        frame: dict[str, Any] = orjson.loads(payload)
        kind = frame["type"]
        if kind == "hello":
            if self.position is None:
                self.position = frame["position"]
            self._socket = self._connecting  # what is new comes after what was not acknowledged
            for client_id, text in list(self._unacknowledged.items()):
                self._send(client_id, text)
        elif kind == "ok":
            text = self._unacknowledged.pop(frame["client_id"], None)
            if text is not None:
                self.acknowledged[frame["message_id"]] = text
        elif kind == "problem":
            self.problems.append(payload.decode())
        elif kind == "reset":
            self.resets += 1
        if frame.get("position") is not None and kind not in ("hello", "ok"):
            self.position = frame["position"]
        if kind == "message.created":
            message = frame["message"]
            self.told.append((frame["position"], message["id"], message.get("text", "")))

    # ------------------------------------------------------------ sending

    async def write(self, is_over: Callable[[], bool]) -> None:
        """Send numbered messages, until it is over."""
        await asyncio.sleep(self.rng.uniform(0, PAUSE_SECONDS[1]))
        while not is_over():
            client_id, text = f"{self.name}.{self._next}", f"{self.name} {self._next}"
            self._next += 1
            self._unacknowledged[client_id] = text
            self._send(client_id, text)
            await asyncio.sleep(self.rng.uniform(*PAUSE_SECONDS))

    def _send(self, client_id: str, text: str) -> None:
        if self._socket is not None:
            frame = {
                "type": "send",
                "client_id": client_id,
                "conversation_id": self.conversation_id,
                "text": text,
            }
            self._socket.send(orjson.dumps(frame))

    @property
    def is_settled(self) -> bool:
        """Whether all that it sent was acknowledged."""
        return not self._unacknowledged


async def eventually(is_so: Callable[[], bool], seconds: float) -> bool:
    """Whether something is so before the time is up."""
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return is_so()
