"""What happens, over a WebSocket that is opened again whenever it is lost.

Nothing is missed and nothing comes twice: each update has a position, and a new connection begins
after the last one.  What was sent and not yet answered is sent again; the server knows it by its
``client_id``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp

from comity.client.errors import ConnectionFailed, Problem, Reset

if TYPE_CHECKING:
    from comity.client.client import Client

PATH = "/api/v1/ws"
PROTOCOL = "comity.v1.json"
HEARTBEAT_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
UNAUTHENTICATED, REPLACED = 4001, 4002
LAST = {UNAUTHENTICATED: "unauthenticated", REPLACED: "replaced"}  # close codes: stay away

Update = dict[str, Any]


class Updates:
    """An endless iterator of updates, and a way to send over the same socket.

    ``position`` is that of the last update: keep it to go on after a restart of the program.
    """

    def __init__(self, client: Client, since: int | None) -> None:
        self.position = since
        self._client = client
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._waiting: dict[str, tuple[Update, asyncio.Future[Update]]] = {}
        self._pause = FIRST_PAUSE_SECONDS
        self._closed = False

    async def send(self, kind: str, **fields: Any) -> Update:
        """Send a frame (``send``, ``edit``, ``react``, ``delete``, ``read``, ``typing``,
        ``presence``); the server's answer, once it is durable.

        Somebody has to iterate meanwhile.  Raises :class:`Problem`.
        """
        client_id = str(fields.pop("client_id", None) or uuid.uuid4())
        frame = {"type": kind, "client_id": client_id, **fields}
        answer: asyncio.Future[Update] = asyncio.get_running_loop().create_future()
        self._waiting[client_id] = frame, answer
        try:
            if self._socket is not None:
                await _say(self._socket, frame)
            return await answer
        finally:
            self._waiting.pop(client_id, None)

    async def close(self) -> None:
        """End the iteration."""
        self._closed = True
        if self._socket is not None:
            await self._socket.close()

    def __aiter__(self) -> AsyncIterator[Update]:
        return self._run()

    async def _run(self) -> AsyncIterator[Update]:
        while not self._closed:
            try:
                async for update in self._one_connection():
                    yield update
            except (aiohttp.ClientError, TimeoutError, OSError, ConnectionFailed):
                pass
            if not self._closed:
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))
                self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    async def _one_connection(self) -> AsyncIterator[Update]:
        client = self._client
        socket = await client.session.ws_connect(
            client.base_url + PATH,
            protocols=[PROTOCOL],
            heartbeat=HEARTBEAT_SECONDS,
            max_msg_size=0,
        )
        try:
            await _say(socket, self._hello())
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                frame = json.loads(message.data)
                if await self._take(socket, frame):
                    yield frame
            if socket.close_code in LAST:
                raise Problem({"code": LAST[socket.close_code]}, 401)
        finally:
            self._socket = None
            await socket.close()

    def _hello(self) -> Update:
        client = self._client
        hello: Update = {"type": "hello", "token": client.token}
        if self.position is not None:
            hello["since"] = self.position
        if client.acting_as is not None:
            hello["user"] = client.acting_as
        return hello

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, frame: Update) -> bool:
        """Note what a frame says; whether it is an update."""
        match frame["type"]:
            case "hello":
                self._pause = FIRST_PAUSE_SECONDS
                if self.position is None:
                    self.position = frame["position"]
                self._socket = socket
                for waiting, _ in list(self._waiting.values()):
                    await _say(socket, waiting)
                return False
            case "ok":
                self._answer(frame)
                return False
            case "problem":
                self._answer(frame)
                return False
            case "pong":
                return False
            case "reset":
                self.position = frame["position"]
                raise Reset(frame.get("reason", ""))
        position = frame.get("position")
        if position is not None:
            if self.position is not None and position <= self.position:
                return False
            self.position = position
        return True

    def _answer(self, frame: Update) -> None:
        _, answer = self._waiting.get(frame.get("client_id", ""), (None, None))
        if answer is None or answer.done():
            return
        if frame["type"] == "ok":
            answer.set_result(frame)
        else:
            problem = frame["problem"]
            answer.set_exception(Problem(problem, problem.get("status", 400)))


async def _say(socket: aiohttp.ClientWebSocketResponse, frame: Update) -> None:
    with contextlib.suppress(ConnectionError, aiohttp.ClientError):  # it is sent again, then
        await socket.send_str(json.dumps(frame, ensure_ascii=False))
