"""A session: a device that is told what happens, and sends.

What a client sends is carried out in its order: a frame begins when the one before it has its place
in the log, and several are on their way to the disk at once.  Who sends faster than that is read no
further for a while.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import structlog

from client_api.conversations.api import invalid
from client_api.conversations.auth import Caller
from client_api.conversations.ws import client_frames, framing, server_frames
from client_api.conversations.ws.framing import Frame
from client_api.conversations.ws.server_frames import Ok, Pong, Refusal, Welcome
from client_api.conversations.ws.socket import Socket
from homeserver.errors import MatrixError, NotJson
from homeserver.services.conversations.feed.feed import TooMuch
from homeserver.services.conversations.feed.subscriptions import CLOSING, Subscription
from homeserver.services.conversations.feed.updates import Update
from homeserver.services.conversations.problems import Problem, problem_json
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.updates import Reset
from homeserver.services.presence_state import UserPresence

if TYPE_CHECKING:
    from client_api.conversations.ws.hub import Hub

logger = structlog.get_logger(__name__)

UNAUTHENTICATED, REPLACED, RESUME, TOO_MANY, BAD_HELLO = 4001, 4002, 4010, 4029, 4400
HELLO_SECONDS = 10.0
DONE = Ok()
RATE, IN_FLIGHT, HELLO = 1, 2, 4  # why a socket is read no further
# msgspec tells of broken UTF-8, and orjson of what is not for JSON, in errors of Python's own
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, TypeError)

Authenticate = Callable[[str, str | None], Awaitable[Caller]]

_decoder: msgspec.json.Decoder[client_frames.ClientFrame] = msgspec.json.Decoder(
    client_frames.ClientFrame
)


class Session:
    """What one socket's client is, and does."""

    __slots__ = (
        "_allowance",
        "_authenticate",
        "_beats",
        "_counted_at",
        "_frames",
        "_held",
        "_hello_timer",
        "_hub",
        "_in_flight",
        "_kind",
        "_opening",
        "_subscription",
        "_user",
        "_worker",
        "beat_at",
        "caller",
        "presence",
        "socket",
        "token",
    )

    def __init__(self, hub: Hub, socket: Socket, kind: int, authenticate: Authenticate) -> None:
        """``kind``: the format of what goes out.  ``authenticate``: a token, and for whom."""
        self._hub = hub
        self.socket = socket
        self._kind = kind
        self._authenticate: Authenticate | None = authenticate
        self.caller: Caller | None = None
        self.token: str | None = None
        self._user: str | None = None
        self._subscription: Subscription | None = None
        self._opening: asyncio.Task[None] | None = None
        self._hello_timer: asyncio.TimerHandle | None = None
        self._frames: deque[Any] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._in_flight = 0
        self._held = 0
        self._allowance = float(hub.limits.frames_at_once)
        self._counted_at = 0.0
        self._beats = 0
        self.beat_at = 0.0
        self.presence: UserPresence | None = None
        socket.listener = self

    # ------------------------------------------------------------ beginning

    def wait_for_hello(self) -> None:
        """The client says who it is in its first frame."""
        loop = asyncio.get_running_loop()
        self._hello_timer = loop.call_later(
            HELLO_SECONDS, self.socket.close, BAD_HELLO, "Say 'hello' with a token first"
        )

    def begin(self, caller: Caller, token: str, user: str | None, since: int | None) -> None:
        """Welcome the client, and tell it what it has missed, and what happens.

        ``user``: for whom an application acts, as it said.
        """
        self.caller, self.token, self._user, self._authenticate = caller, token, user, None
        if not self._hub.add(self):
            return
        position = self._hub.feed.position
        self._write(
            Welcome(
                position=position,
                person=address(caller.requester.user_id),
                device=caller.requester.device_id,
                heartbeat_seconds=self._hub.limits.heartbeat_seconds,
                limits=self._hub.limits.told,
            )
        )
        if since is not None and since <= position:
            self._hub.acks.reached(caller.requester.user_id, since)
        start = position if since is None else since
        self._opening = asyncio.create_task(self._open(start), name="socket opening")

    async def _open(self, since: int) -> None:
        assert self.caller is not None
        requester, scopes, feed = self.caller.requester, self.caller.scopes, self._hub.feed
        try:
            while True:
                try:
                    subscription = await feed.open(
                        requester.user_id, requester.device_id, since, self, scopes=scopes
                    )
                    break
                except TooMuch as error:
                    since = feed.position
                    self.deliver(Update(Reset(position=since, reason=error.reason)))
        except ConnectionError:
            return
        except Exception:
            logger.exception("a session could not begin")
            self.socket.close(framing.INTERNAL_ERROR, "Something went wrong; come back")
            return
        finally:
            self._opening = None
        if self.socket.listener is self:
            self._subscription = subscription
        else:
            feed.shut(subscription)

    async def _hello(self, frame: client_frames.HelloFrame) -> None:
        authenticate = self._authenticate
        assert authenticate is not None
        try:
            caller = await authenticate(frame.token, frame.user)
        except MatrixError as error:
            self._refuse(error, None)
            self.socket.close(UNAUTHENTICATED, error.text)
            return
        if self.socket.listener is self:
            self.begin(caller, frame.token, frame.user, frame.since)
            self._release(HELLO)

    # ------------------------------------------------------------ a sink of the feed

    def deliver(self, update: Update) -> None:
        """Write an update."""
        frame = update.frames.get(self._kind)
        if frame is None:
            frame = server_frames.update_frame(update, self._kind)
        self.socket.write(frame)

    def cut_off(self, reason: str) -> None:
        """The client is to come back with its last position."""
        code = framing.SERVICE_RESTART if reason == CLOSING else RESUME
        asyncio.get_running_loop().call_soon(
            self.socket.close, code, "Come back with your last position"
        )

    async def ready(self) -> None:
        """Wait until the socket has room."""
        await self.socket.ready()

    # ------------------------------------------------------------ what the client sends

    def message(self, frame: Frame) -> None:
        """A frame came: count it, and carry it out in its turn."""
        self._count()
        try:
            asked = _decode(frame)
        except MatrixError as error:
            self._refuse(error, _client_id(frame))
            return
        if self.caller is None:
            self._first(asked)
        elif isinstance(asked, client_frames.PingFrame):
            self._write(Pong(client_id=asked.client_id))
        elif isinstance(asked, client_frames.AckFrame):
            if asked.position <= self._hub.feed.position:
                self._hub.acks.reached(self.caller.requester.user_id, asked.position)
        elif isinstance(asked, client_frames.HelloFrame):
            self._refuse(Problem("invalid_body", "The session has begun already"), None)
        else:
            self._enqueue(asked)

    def _first(self, asked: client_frames.ClientFrame) -> None:
        if self._hello_timer is None:
            return
        self._hello_timer.cancel()
        self._hello_timer = None
        if isinstance(asked, client_frames.HelloFrame):
            self._hold(HELLO)  # what comes behind it is for the session
            self._hub.spawn(self._hello(asked))
        else:
            self.socket.close(BAD_HELLO, "Say 'hello' with a token first")

    def _enqueue(self, asked: Any) -> None:
        if self._frames is None:
            self._frames = deque()
        self._frames.append(asked)
        if len(self._frames) + self._in_flight >= self._hub.limits.in_flight:
            self._hold(IN_FLIGHT)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="socket frames")

    async def _work(self) -> None:
        frames, loop = self._frames, asyncio.get_running_loop()
        assert frames is not None
        while frames:
            turn: asyncio.Future[None] = loop.create_future()
            self._in_flight += 1
            self._hub.spawn(self._carry_out(frames.popleft(), turn))
            await turn  # its place in the log is taken
        self._worker = self._frames = None

    async def _carry_out(self, asked: Any, turn: asyncio.Future[None]) -> None:
        def queued() -> None:
            if not turn.done():
                turn.set_result(None)

        client_id = asked.client_id
        caller = self.caller
        assert caller is not None
        try:
            done = await self._hub.actions.carry_out(caller, asked, queued)
            if client_id is not None:
                self._write(msgspec.structs.replace(done or DONE, client_id=client_id))
        except MatrixError as error:
            self._refuse(error, client_id)
        except Exception:
            logger.exception("a frame failed")
            self._refuse(
                MatrixError("Something went wrong on this server; it has been logged", status=500),
                client_id,
            )
        finally:
            queued()
            self._in_flight -= 1
            if self._held & IN_FLIGHT and self._in_flight <= self._hub.limits.in_flight // 2:
                self._release(IN_FLIGHT)

    # ------------------------------------------------------------ limits

    def _count(self) -> None:
        """Read no further for a while if frames come too fast."""
        limits, loop = self._hub.limits, asyncio.get_running_loop()
        now = loop.time()
        grown = self._allowance + (now - self._counted_at) * limits.frames_per_second
        self._allowance = min(grown, float(limits.frames_at_once)) - 1
        self._counted_at = now
        if self._allowance < 1 and not self._held & RATE:
            self._hold(RATE)
            wait = (1 - self._allowance) / limits.frames_per_second
            loop.call_later(wait, self._release, RATE)

    def _hold(self, why: int) -> None:
        self._held |= why
        self.socket.hold()

    def _release(self, why: int) -> None:
        self._held &= ~why
        if not self._held:
            self.socket.release()

    # ------------------------------------------------------------ answers, and the end

    def _write(self, shape: msgspec.Struct) -> None:
        self.socket.write(server_frames.write(shape, self._kind))

    def _refuse(self, error: MatrixError, client_id: str | None) -> None:
        self._write(Refusal(client_id=client_id, problem=problem_json(error)))

    def gone(self) -> None:
        """The socket has ended.  What the client has sent is carried out all the same."""
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        if self._opening is not None:
            self._opening.cancel()
        if self._subscription is not None:
            self._hub.feed.shut(self._subscription)
            self._subscription = None
        if self.caller is not None:
            self._hub.remove(self)

    @property
    def device_id(self) -> str | None:
        """The device that listens; None for an API token's session."""
        return self.caller.requester.device_id if self.caller is not None else None

    def is_check_due(self) -> bool:
        """Whether the token is to be checked at this beat: at every other."""
        self._beats += 1
        return self._beats % 2 == 0

    async def check(self) -> None:
        """Close if the token is no longer good, or is good for other things."""
        if self.token is None or self.caller is None:
            return
        try:
            caller = await self._hub.recheck(self.token, self._user)
        except MatrixError as error:
            self.socket.close(UNAUTHENTICATED, error.text)
            return
        if caller.scopes != self.caller.scopes:
            self.cut_off("scopes")  # what it may hear of was settled when it began
        self.caller = caller


def _decode(frame: Frame) -> client_frames.ClientFrame:
    """A client's frame.  Raises :class:`MatrixError`."""
    try:
        return _decoder.decode(_as_json(frame))
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except UNREADABLE as error:
        raise NotJson("The frame cannot be read") from error


def _as_json(frame: Frame) -> bytes:
    """What a frame says, as JSON.  Raises one of ``UNREADABLE``.

    MessagePack can say what JSON cannot: bytes, times, numbers as keys.  None of that may get
    into events.
    """
    if frame.opcode == framing.TEXT:
        return frame.payload
    return orjson.dumps(
        msgspec.msgpack.decode(frame.payload), option=orjson.OPT_PASSTHROUGH_DATETIME
    )


def _client_id(frame: Frame) -> str | None:
    """The client ID of a frame that is wrong in another way."""
    try:
        fields = msgspec.json.decode(_as_json(frame))
    except UNREADABLE:
        return None
    client_id = fields.get("client_id") if isinstance(fields, dict) else None
    return client_id if isinstance(client_id, str) and len(client_id) <= 255 else None
