"""All sockets: one for each device, so many for each user, each with a sign of life at times."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import structlog
from msgspec import Struct

from client_api.conversations.auth import Caller
from client_api.conversations.ws.actions import Actions
from client_api.conversations.ws.server_frames import Limits
from client_api.conversations.ws.session import REPLACED, TOO_MANY, UNAUTHENTICATED, Session
from client_api.conversations.ws.socket import Outbox, SocketLimits
from homeserver.errors import LimitExceeded, MatrixError
from homeserver.metrics import SOCKETS
from homeserver.services.conversations.api_tokens import is_api_token
from homeserver.services.conversations.feed.feed import Feed
from homeserver.services.conversations.feed.subscriptions import CLOSING
from homeserver.services.presence_state import UserPresence

logger = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 30
TICK_SECONDS = 1.0
RETRY_MS = 10_000
AT_ONCE = 2_000  # signs of life asked for in a second
STREAM_CHECK_SECONDS = 60.0  # so often it is asked whether a stream's token is still good


class Stream(Protocol):
    """What somebody listens to other than by a session: over HTTP, or by GraphQL."""

    user_id: str

    def cut_off(self, reason: str) -> None:
        """No more is told."""


class Acks(Protocol):
    """What devices say they have."""

    def reached(self, user_id: str, position: int) -> None:
        """A device of a user has everything up to a position of the log."""


class Presences(Protocol):
    """Who is here."""

    enabled: bool

    def connect(self, user_id: str, set_presence: str = "online") -> UserPresence:
        """A device of the user's is here."""

    def disconnect(self, user: UserPresence) -> None:
        """It is gone."""


class Tokens(Protocol):
    """Access tokens of devices."""

    async def still_good(self, tokens: Collection[str]) -> set[str]:
        """Those that are good now."""


class SessionLimits(Struct, frozen=True):
    """What one session may do, and how many a user may have."""

    frame_bytes: int
    frames_per_second: float
    frames_at_once: int
    in_flight: int
    unread_bytes: int
    sockets_per_user: int
    heartbeat_seconds: int = HEARTBEAT_SECONDS

    @property
    def told(self) -> Limits:
        """As the client is told."""
        return Limits(
            frame_bytes=self.frame_bytes,
            frames_per_second=self.frames_per_second,
            frames_at_once=self.frames_at_once,
            in_flight=self.in_flight,
            unread_bytes=self.unread_bytes,
        )

    @property
    def of_socket(self) -> SocketLimits:
        """Those that the socket keeps."""
        return SocketLimits(self.frame_bytes, self.unread_bytes)


class _Streaming(Struct, eq=False):
    """A stream that is open, and the token for it with its scopes when it was opened."""

    stream: Stream
    token: str
    user: str | None
    is_gone: Callable[[], bool]
    scopes: frozenset[str] | None
    check_at: float  # in the loop's time


class Hub:
    """Knows the sessions, and the streams over HTTP."""

    def __init__(
        self,
        *,
        feed: Feed,
        actions: Actions,
        acks: Acks,
        presences: Presences,
        tokens: Tokens,
        recheck: Callable[[str, str | None], Awaitable[Caller]],
        limits: SessionLimits,
    ) -> None:
        """``recheck``: the caller by their token and for whom they act; raises if it is void."""
        self.feed = feed
        self.actions = actions
        self.acks = acks
        self._presences = presences
        self._tokens = tokens
        self.recheck = recheck
        self.limits = limits
        self.outbox = Outbox()
        self._by_user: dict[str, list[Session]] = {}
        self._streams: dict[str, list[_Streaming]] = {}
        self._turns: deque[Session] = deque()  # whose sign of life is due, the next first
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._closing = False

    def shut(self) -> None:
        """The server stops: send everybody away."""
        self._closing = True
        for session in self.sessions():
            session.cut_off(CLOSING)
        for streams in self._streams.values():
            for streaming in streams:
                streaming.stream.cut_off(CLOSING)

    async def close(self) -> None:
        """Stop; what clients have sent is carried out first."""
        self.shut()
        if self._ticking is not None:
            self._ticking.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    # ------------------------------------------------------------ coming and going

    def sessions(self) -> list[Session]:
        """All that are there."""
        return [session for sessions in self._by_user.values() for session in sessions]

    def add(self, session: Session) -> bool:
        """A session begins: it takes the place of its device's older one.

        False, and it is sent away, if its user has too many.
        """
        assert session.caller is not None
        requester = session.caller.requester
        sessions = self._by_user.get(requester.user_id, [])
        if requester.device_id is not None:
            for other in [s for s in sessions if s.device_id == requester.device_id]:
                other.socket.close(REPLACED, "This device has connected again")
        sessions = self._by_user.setdefault(requester.user_id, [])
        if self._is_full(requester.user_id):
            session.socket.close(TOO_MANY, "This user has too many sockets open")
            return False
        self._begin_ticking()
        sessions.append(session)
        SOCKETS.inc()
        session.beat_at = asyncio.get_running_loop().time() + self.limits.heartbeat_seconds
        self._turns.append(session)
        if self._presences.enabled:
            session.presence = self._presences.connect(requester.user_id)
        return True

    def _is_full(self, user_id: str) -> bool:
        streams = [s for s in self._streams.get(user_id, ()) if not s.is_gone()]
        count = len(self._by_user.get(user_id, ())) + len(streams)
        return self._closing or count >= self.limits.sockets_per_user

    @contextmanager
    def streaming(
        self,
        stream: Stream,
        token: str,
        user: str | None,
        is_gone: Callable[[], bool],
        scopes: frozenset[str] | None = None,
    ) -> Iterator[None]:
        """A stream is open.  ``user``: for whom an application acts; ``is_gone``: whether the
        client has hung up, which is noticed only at the next word to it; ``scopes``: the token's.

        Raises :class:`LimitExceeded` if its user has too many.
        """
        user_id = stream.user_id
        if self._is_full(user_id):
            raise LimitExceeded(RETRY_MS)
        self._begin_ticking()
        check_at = asyncio.get_running_loop().time() + STREAM_CHECK_SECONDS
        streaming = _Streaming(stream, token, user, is_gone, scopes, check_at)
        self._streams.setdefault(user_id, []).append(streaming)
        presence = self._presences.connect(user_id) if self._presences.enabled else None
        try:
            yield
        finally:
            if presence is not None:
                self._presences.disconnect(presence)
            self._streams[user_id].remove(streaming)
            if not self._streams[user_id]:
                del self._streams[user_id]

    def remove(self, session: Session) -> None:
        """A session has ended."""
        assert session.caller is not None
        user_id = session.caller.requester.user_id
        sessions = self._by_user.get(user_id)
        if sessions is None or session not in sessions:
            return
        sessions.remove(session)
        SOCKETS.dec()
        if not sessions:
            del self._by_user[user_id]
        if session.presence is not None:
            self._presences.disconnect(session.presence)
            session.presence = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something of a session's."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------ as time passes

    def tokens_changed(self, user_id: str) -> None:
        """Some tokens of a user may be void: see which sessions that ends."""
        for session in self._by_user.get(user_id, ()):
            self.spawn(session.check())
        for streaming in self._streams.get(user_id, ()):
            self.spawn(self._check_stream(streaming))

    async def _check_stream(self, streaming: _Streaming) -> None:
        try:
            caller = await self.recheck(streaming.token, streaming.user)
        except MatrixError:
            streaming.stream.cut_off("token")
        else:
            if caller.scopes != streaming.scopes:
                streaming.stream.cut_off("scopes")

    def api_tokens_changed(self) -> None:
        """Some API tokens may be void, or good for less: see which sessions that ends."""
        for sessions in self._by_user.values():
            for session in sessions:
                if session.token is not None and is_api_token(session.token):
                    self.spawn(session.check())
        for streams in self._streams.values():
            for streaming in streams:
                if is_api_token(streaming.token):
                    self.spawn(self._check_stream(streaming))

    def _begin_ticking(self) -> None:
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick_always(), name="socket heartbeats")

    async def _tick_always(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.tick(asyncio.get_running_loop().time())
            except Exception:
                logger.exception("heartbeats failed")

    async def tick(self, now: float) -> None:
        """Ask those whose turn it is for a sign of life, and see whether their tokens are good.

        ``now``: in the loop's time.
        """
        due: list[Session] = []
        while self._turns and self._turns[0].beat_at <= now and len(due) < AT_ONCE:
            session = self._turns.popleft()
            if session.socket.listener is session:
                due.append(session)
                session.beat_at = now + self.limits.heartbeat_seconds
                session.socket.beat()
        self._turns.extend(due)  # the rest, if many came at once, has its turn a second later
        await self._check_tokens(session for session in due if session.is_check_due())
        for streams in self._streams.values():
            for streaming in streams:
                if streaming.check_at <= now:
                    streaming.check_at = now + STREAM_CHECK_SECONDS
                    self.spawn(self._check_stream(streaming))

    async def _check_tokens(self, sessions: Iterable[Session]) -> None:
        by_token: dict[str, Session] = {}
        for session in sessions:
            if session.token is not None and is_api_token(session.token):
                await session.check()
            elif session.token is not None:
                by_token[session.token] = session
        if not by_token:
            return
        good = await self._tokens.still_good(by_token)
        for token in by_token.keys() - good:
            by_token[token].socket.close(UNAUTHENTICATED, "The access token is no longer good")
