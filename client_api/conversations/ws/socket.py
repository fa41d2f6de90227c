"""A WebSocket on its transport: frames in and out, and nothing that waits.

A write costs a system call, some 6 µs; so what one turn of the loop brings for a socket goes out
together at its end.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from msgspec import Struct

from client_api.conversations.ws import framing
from client_api.conversations.ws.framing import BadFrame, Frame, FrameReader
from homeserver.metrics import SOCKETS_CUT_OFF

SLOW_READER = 4008
BUSY_BYTES = 65_536  # so much unsent, and a replay waits
CLOSE_SECONDS = 5.0
FLUSHED_AT_ONCE = 500

PING_FRAME = framing.encode(framing.PING, b"")


class SocketLimits(Struct, frozen=True):
    """``unsent_bytes``: so far may a reader lag behind."""

    frame_bytes: int
    unsent_bytes: int


class Listener(Protocol):
    """Who acts on what comes."""

    def message(self, frame: Frame) -> None:
        """A text or binary message."""

    def gone(self) -> None:
        """The connection has ended, or is about to: nothing more can be sent."""


class Outbox:
    """The sockets that have something to write at the end of this turn of the loop."""

    def __init__(self) -> None:
        self._sockets: list[Socket] = []

    def add(self, socket: Socket) -> None:
        """Have a socket flushed."""
        if not self._sockets:
            asyncio.get_running_loop().call_soon(self._flush)
        self._sockets.append(socket)

    def _flush(self) -> None:
        """Some at a time, so that a large group does not hold up what else is going on."""
        sockets, self._sockets = self._sockets, []
        for socket in sockets[:FLUSHED_AT_ONCE]:
            socket.flush()
        if len(sockets) > FLUSHED_AT_ONCE:
            if not self._sockets:
                asyncio.get_running_loop().call_soon(self._flush)
            self._sockets = sockets[FLUSHED_AT_ONCE:] + self._sockets


class Socket(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_buffered",
        "_drained",
        "_frames",
        "_is_busy",
        "_is_closing",
        "_is_held",
        "_limits",
        "_out",
        "_outbox",
        "_transport",
        "deflate",
        "heard",
        "listener",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        limits: SocketLimits,
        outbox: Outbox,
        *,
        deflate: bool,
    ) -> None:
        self._transport = transport
        self._outbox = outbox
        self._out: list[bytes] | None = None
        self._limits = limits
        self._frames = FrameReader(max_bytes=limits.frame_bytes, deflate=deflate)
        self.deflate = deflate
        """Whether the other side takes compressed messages."""
        self.heard = True
        """Whether anything came since the last beat."""
        self.listener: Listener | None = None
        self._is_busy = False
        self._is_closing = False
        self._is_held = False
        self._buffered: list[Frame] | None = None
        self._drained: asyncio.Future[None] | None = None
        transport.set_write_buffer_limits(high=BUSY_BYTES)

    # ------------------------------------------------------------ writing

    def write(self, frame: bytes) -> None:
        """Send a frame, at the end of this turn of the loop."""
        out = self._out
        if out is not None:
            out.append(frame)
        elif not self._is_closing:
            self._out = [frame]
            self._outbox.add(self)

    def flush(self) -> None:
        """Hand what was written to the transport; who is too slow is cut off."""
        out, self._out = self._out, None
        # uvloop's transports raise if they are closed: what others are written would be lost.
        if not out or self._transport.is_closing():
            return
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._is_busy and self._transport.get_write_buffer_size() > self._limits.unsent_bytes:
            self.close(SLOW_READER, "You read too slowly: come back with your last position")

    def beat(self) -> None:
        """Ask for a sign of life; who gave none since the last time is dropped."""
        if self._is_closing:
            return
        if not self.heard:
            self._end()
            self._transport.abort()
            return
        self.heard = False
        self.write(PING_FRAME)

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye and end the connection."""
        if not self._is_closing:
            SOCKETS_CUT_OFF.labels(code).inc()
            self._say_goodbye(code, reason)

    def _say_goodbye(self, code: int, reason: str = "") -> None:
        self.write(framing.encode_close(code, reason))
        self._end()
        self.flush()
        if self._is_held and not self._transport.is_closing():
            self._transport.resume_reading()
        # The other side has some time to read it, and to say goodbye, too.
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    async def ready(self) -> None:
        """Return when little is left unsent.  Raises ``ConnectionError`` if the other is gone."""
        while self._is_busy and not self._is_closing:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)
        if self._is_closing:
            raise ConnectionResetError("The socket is closed")

    # ------------------------------------------------------------ reading

    def hold(self) -> None:
        """Read no further until :meth:`release`."""
        if not self._is_held and not self._is_closing and not self._transport.is_closing():
            self._is_held = True
            self._transport.pause_reading()

    def release(self) -> None:
        """Read on: first what came with the frame at which it was held."""
        if not self._is_held or self._is_closing:
            return
        self._is_held = False
        buffered, self._buffered = self._buffered, None
        if buffered:
            self._hand_on(buffered)
        if not self._is_held and not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self.heard = True
        try:
            frames = self._frames.feed(data)
        except BadFrame as error:
            if self._is_closing:
                self._transport.close()
            self.close(error.code, error.reason)
            return
        if self._is_closing:
            if any(frame.opcode == framing.CLOSE for frame in frames):
                self._transport.close()
        elif frames:
            self._hand_on(frames)

    def _hand_on(self, frames: list[Frame]) -> None:
        for place, frame in enumerate(frames):
            if self._is_closing:
                return
            if self._is_held:
                self._buffered = [*(self._buffered or ()), *frames[place:]]
                return
            if frame.opcode == framing.PING:
                self.write(framing.encode(framing.PONG, frame.payload))
            elif frame.opcode == framing.CLOSE:
                self._closed_by_other(frame.payload)
            elif frame.opcode != framing.PONG and self.listener is not None:
                self.listener.message(frame)

    def _closed_by_other(self, payload: bytes) -> None:
        try:
            code, _ = framing.parse_close(payload)
        except BadFrame as error:
            code = error.code
        self._say_goodbye(code)
        self._transport.close()  # once all is written

    # ------------------------------------------------------------ the transport's word

    def pause_writing(self) -> None:
        """asyncio: much is unsent."""
        self._is_busy = True

    def resume_writing(self) -> None:
        """asyncio: little is unsent."""
        self._is_busy = False
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the connection has ended."""
        self._end()

    def eof_received(self) -> bool:
        """asyncio: the other side sends nothing more."""
        self._end()
        return False

    def _end(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._wake()
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.gone()

    def _wake(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)


def attach(socket: Socket, tail: bytes) -> None:
    """Let a socket have its transport's bytes, those first that came before."""
    transport = socket._transport
    transport.set_protocol(cast("asyncio.BaseProtocol", socket))
    if tail:
        socket.data_received(tail)
