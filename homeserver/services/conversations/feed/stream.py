"""A subscription that is read rather than called: for streams over HTTP."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import structlog

from homeserver.services.conversations.feed.feed import Feed, TooMuch
from homeserver.services.conversations.feed.subscriptions import Subscription
from homeserver.services.conversations.feed.updates import Update
from homeserver.services.conversations.shapes.updates import Reset

logger = structlog.get_logger(__name__)


class StreamEnded(Exception):
    """No more comes: the other side is to come back with its last position."""


class UpdateStream:
    """What one device is told, as far as it was not read yet.  An asynchronous context manager.

    Who reads too slowly is cut off: what waits is bounded.
    """

    def __init__(
        self,
        feed: Feed,
        user_id: str,
        device_id: str | None,
        since: int | None,
        *,
        most_bytes: int,
        scopes: frozenset[str] | None = None,
    ) -> None:
        """``most_bytes``: so much JSON may wait to be read.  ``scopes``: see :meth:`Feed.open`."""
        self._scopes = scopes
        self._feed = feed
        self.user_id = user_id
        self._device_id = device_id
        self.position = feed.position
        """Where it began; what lies between it and ``since`` comes first."""
        self._since = self.position if since is None else since
        self._most_bytes = most_bytes
        self._waiting: list[Update] = []
        self._bytes = 0
        self._ended = False
        self._news = asyncio.Event()
        self._read = asyncio.Event()
        self._opening: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._opening = asyncio.create_task(self._open(), name="stream opening")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._subscription is not None:
            self._feed.shut(self._subscription)

    async def _open(self) -> None:
        since = self._since
        try:
            while self._subscription is None:
                try:
                    self._subscription = await self._feed.open(
                        self.user_id, self._device_id, since, self, scopes=self._scopes
                    )
                except TooMuch as error:
                    since = self._feed.position
                    self.deliver(Update(Reset(position=since, reason=error.reason)))
        except ConnectionError:
            pass
        except Exception:
            logger.exception("a stream could not begin")
            self._end()

    # ------------------------------------------------------------ reading

    async def next(self, timeout_seconds: float) -> list[Update]:
        """What has come; nothing, if that is so for a while.  Raises :class:`StreamEnded`."""
        if not self._waiting and not self._ended:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._news.wait()
            except TimeoutError:
                return []
        if not self._waiting and self._ended:
            raise StreamEnded
        updates, self._waiting, self._bytes = self._waiting, [], 0
        self._read.set()
        return updates

    # ------------------------------------------------------------ a sink of the feed

    def deliver(self, update: Update) -> None:
        """Keep an update until it is read."""
        if self._ended:
            return
        self._waiting.append(update)
        self._bytes += len(update.json)
        if self._bytes > self._most_bytes:
            self._end()
        self._news.set()

    def cut_off(self, reason: str) -> None:
        """No more comes, but what waits is read."""
        self._end()

    async def ready(self) -> None:
        """Wait until what came was read.  Raises ``ConnectionError`` at the end."""
        while self._waiting and not self._ended:
            self._read.clear()
            await self._read.wait()
        if self._ended:
            raise ConnectionResetError("The stream has ended")

    def _end(self) -> None:
        self._ended = True
        self._news.set()
        self._read.set()
