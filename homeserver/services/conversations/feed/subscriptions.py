"""Those who are told: a reader, and the subscriptions of their devices."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog

from homeserver.services.conversations.feed.judging import Judge, restricts_nothing
from homeserver.services.conversations.feed.updates import Routed, Update

logger = structlog.get_logger(__name__)

CLOSING = "closing"  # why everybody is cut off when the server stops
MOST_PENDING = 10_000  # updates that wait to be judged for one reader


class Sink(Protocol):
    """Where a subscription's updates go."""

    def deliver(self, update: Update) -> None:
        """Take an update.  It must not block."""

    def cut_off(self, reason: str) -> None:
        """No more comes: the other side is to come back with its last position."""

    async def ready(self) -> None:
        """Return when there is room for more.  Raises ``ConnectionError`` when it is gone."""


class Subscription:
    """What one device is told.  Positions only rise."""

    __slots__ = ("device_id", "position", "reader", "scopes", "sink", "user_id")

    def __init__(
        self,
        user_id: str,
        device_id: str | None,
        position: int,
        sink: Sink,
        scopes: frozenset[str] | None = None,
    ) -> None:
        """``scopes``: of the token that listens; None: it may hear everything."""
        self.user_id = user_id
        self.device_id = device_id
        self.position = position
        """The device was told all up to here."""
        self.sink = sink
        self.scopes = scopes
        self.reader: Reader | None = None

    def take(self, update: Update) -> None:
        """Pass an update on, unless it was told before."""
        position = update.position
        if position is not None:
            if position <= self.position:
                return
            self.position = position
        if self.scopes is None or update.shape.needs in self.scopes:
            self.sink.deliver(update)


class Reader:
    """A user with subscriptions that are live."""

    __slots__ = ("_judge", "_pending", "_task", "is_plain", "subscriptions", "user_id")

    def __init__(self, user_id: str, judge: Judge) -> None:
        self.user_id = user_id
        self.subscriptions: list[Subscription] = []
        self.is_plain = False
        """Whether they are known to have blocked and hidden nothing."""
        self._judge = judge
        self._pending: deque[Routed] | None = None
        self._task: asyncio.Task[None] | None = None

    def take(self, routed: Routed) -> None:
        """Pass an update on: at once if there is nothing to ask, else in its turn."""
        if self.is_plain and routed.is_simple and self._pending is None:
            for subscription in self.subscriptions:
                if routed.is_for(subscription.device_id):
                    subscription.take(routed.update)
            return
        if self._pending is None:
            self._pending = deque()
            self._task = asyncio.create_task(self._run(), name="feed reader")
        self._pending.append(routed)
        if len(self._pending) > MOST_PENDING:
            self.cut_off("too_much")

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be judged."""
        return self._pending is None

    def cut_off(self, reason: str) -> None:
        """End all subscriptions: what happened cannot be told in order any more."""
        if self._pending is not None:
            self._pending.clear()
        for subscription in list(self.subscriptions):
            subscription.sink.cut_off(reason)

    def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        pending = self._pending
        assert pending is not None
        try:
            while pending:
                routed = pending[0]
                update = await self._shown(routed)
                if pending and pending[0] is routed:
                    pending.popleft()
                    if update is not None:
                        for subscription in list(self.subscriptions):
                            if routed.is_for(subscription.device_id):
                                subscription.take(update)
        except Exception:
            logger.exception("an update could not be judged")
            self.cut_off("failed")
        finally:
            self._pending = None
            self._task = None

    async def _shown(self, routed: Routed) -> Update | None:
        withheld = await self._judge.withheld(self.user_id)
        self.is_plain = restricts_nothing(withheld)
        return await self._judge.shown(self.user_id, routed, withheld)


class Readers:
    """The readers by their IDs, with those who come and go."""

    def __init__(self, judge: Judge, *, gone: Callable[[str], None]) -> None:
        """``gone``: told of a user whose last subscription has ended."""
        self._judge = judge
        self._gone = gone
        self.by_user: dict[str, Reader] = {}

    def add(self, subscription: Subscription) -> Reader:
        """Begin to tell a subscription what happens."""
        reader = self.by_user.get(subscription.user_id)
        if reader is None:
            reader = self.by_user[subscription.user_id] = Reader(subscription.user_id, self._judge)
        reader.subscriptions.append(subscription)
        subscription.reader = reader
        return reader

    def remove(self, subscription: Subscription) -> None:
        """The subscription has ended."""
        reader = subscription.reader
        if reader is None:
            return
        subscription.reader = None
        reader.subscriptions.remove(subscription)
        if not reader.subscriptions:
            reader.close()
            del self.by_user[subscription.user_id]
            self._gone(subscription.user_id)
