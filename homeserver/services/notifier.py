"""Wakes the syncs that wait.

After a commit every waiting user who has something new to see is woken, once all listeners of the
log have taken the commit in.  What follows before a woken sync runs comes with the same answer;
and while very many devices are busy, each is woken at most every few milliseconds, so that one
answer carries what many would have.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import structlog

from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.storage.database import Database
from homeserver.storage.log import Log, Notice
from homeserver.storage.sync import get_watchers

logger = structlog.get_logger(__name__)

# How long a device rests after an answer, for each device that was answered in the last second.
REST_SECONDS_PER_DEVICE = 0.0012
LONGEST_REST_SECONDS = 0.25
BUSY_SECONDS = 1.0
PRESENCE_SECONDS = 0.5
WOKEN_AT_ONCE = 50
# The answer to a send goes ahead of the sync that shows the event to the device which sent it:
# clients match the two by the event's ID, and matrix-js-sdk cannot yet where a thread has it.
SENDER_RESTS_SECONDS = 0.02

Device = tuple[str, str | None]


class Waiter:
    """One sync that waits.  Register it before looking for news, so that none is missed."""

    __slots__ = ("_future", "_notifier", "device", "woken")

    def __init__(self, notifier: Notifier, device: Device) -> None:
        self._notifier = notifier
        self._future: asyncio.Future[None] | None = None
        self.device = device
        self.woken = False
        """Whether there may be something new since it was registered or last reset."""

    def __enter__(self) -> Self:
        self._notifier.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._notifier.remove(self)

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait until woken; False if the time is up first, or the server stops."""
        if self._notifier.is_closed:
            return False
        if not self.woken:
            loop = asyncio.get_running_loop()
            self._future = loop.create_future()
            timer = loop.call_later(timeout_seconds, self.finish)
            try:
                await self._future
            finally:
                timer.cancel()
                self._future = None
        return self.woken and not self._notifier.is_closed

    def wake(self) -> None:
        """There is something new: end the wait, now or when the device has rested."""
        if self.woken:
            return
        self.woken = True
        if self._future is None:
            return
        rest = self._notifier.rest_seconds(self.device)
        if rest > 0:
            asyncio.get_running_loop().call_later(rest, self.finish)
        else:
            self.finish()

    def finish(self) -> None:
        """End the wait."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Notifier:
    """Knows who waits, and wakes them."""

    def __init__(self, *, database: Database, log: Log, rooms: RoomsOfUsers) -> None:
        self._database = database
        self._rooms = rooms
        self._waiting: dict[str, set[Waiter]] = {}
        self._answered: OrderedDict[Device, float] = OrderedDict()
        self._sent: OrderedDict[Device, float] = OrderedDict()
        self._to_wake: dict[str, None] = {}
        self._presence_changed: set[str] = set()
        self._presence_task: asyncio.Task[None] | None = None
        self.is_closed = False
        """Whether nobody is to wait any more, because the server stops."""
        log.subscribe(self._on_notice)

    def close(self) -> None:
        """Answer all who wait."""
        self.is_closed = True
        if self._presence_task is not None:
            self._presence_task.cancel()
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.finish()

    # ------------------------------------------------------------ waiting

    def waiter(self, user_id: str, device_id: str | None) -> Waiter:
        """A waiter for one sync of a device, to be used as a context manager."""
        return Waiter(self, (user_id, device_id))

    def add(self, waiter: Waiter) -> None:
        """Begin to wake a waiter."""
        user_id = waiter.device[0]
        self._waiting.setdefault(user_id, set()).add(waiter)
        self._rooms.pin(user_id)

    def remove(self, waiter: Waiter) -> None:
        """The waiter has its answer, or has given up."""
        user_id = waiter.device[0]
        waiters = self._waiting[user_id]
        waiters.discard(waiter)
        if not waiters:
            del self._waiting[user_id]
        self._rooms.unpin(user_id)

    def answered(self, user_id: str, device_id: str | None) -> None:
        """A device gets an answer now."""
        _note(self._answered, (user_id, device_id), BUSY_SECONDS)

    def rest_seconds(self, device: Device) -> float:
        """How much longer a device has to rest before its next answer; nothing if not above 0."""
        until = 0.0
        answered = self._answered.get(device)
        if answered is not None:
            rest = len(self._answered) * REST_SECONDS_PER_DEVICE
            until = answered + min(rest, LONGEST_REST_SECONDS)
        sent = self._sent.get(device)
        if sent is not None:
            until = max(until, sent + SENDER_RESTS_SECONDS)
        return until - asyncio.get_running_loop().time() if until else 0.0

    # ------------------------------------------------------------ waking

    def _on_notice(self, notice: Notice) -> None:
        rooms: set[str] = set()
        users: set[str] = set()
        for _, record in notice.records:
            rooms.update(record.touched_rooms())
            users.update(record.touched_users())
            if (sender := record.sent_by()) is not None:
                _note(self._sent, sender, SENDER_RESTS_SECONDS)
        if not self._waiting:
            return
        for room_id in rooms:
            users.update(self._waiting_in(room_id))
        self.wake(users)

    def room_changed(self, room_id: str) -> None:
        """Something that is not in the log changed in a room: who types."""
        self.wake(self._waiting_in(room_id))

    def presence_changed(self, user_id: str) -> None:
        """A user's presence changed: those who share a room are woken before long."""
        self._presence_changed.add(user_id)
        if self._presence_task is None or self._presence_task.done():
            self._presence_task = asyncio.create_task(self._tell_watchers())

    def wake(self, user_ids: Iterable[str]) -> None:
        """Wake users, as soon as what is happening now has been taken in by everybody."""
        waiting = [user_id for user_id in user_ids if user_id in self._waiting]
        if waiting:
            if not self._to_wake:
                asyncio.get_running_loop().call_soon(self._wake_all)
            self._to_wake.update(dict.fromkeys(waiting))

    def _waiting_in(self, room_id: str) -> Iterable[str]:
        members = self._rooms.members(room_id)
        if len(members) <= len(self._waiting):
            return [user_id for user_id in members if user_id in self._waiting]
        return [user_id for user_id in self._waiting if user_id in members]

    def _wake_all(self) -> None:
        """Wake some at a time, so that a large room does not hold up what else is going on."""
        for user_id in list(self._to_wake)[:WOKEN_AT_ONCE]:
            del self._to_wake[user_id]
            for waiter in self._waiting.get(user_id, ()):
                waiter.wake()
        if self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_all)

    async def _tell_watchers(self) -> None:
        """Presence changes often and matters little, so it is gathered for a moment."""
        while self._presence_changed:
            await asyncio.sleep(PRESENCE_SECONDS)
            changed, self._presence_changed = self._presence_changed, set()
            if not self._waiting:
                continue
            try:
                watchers = await get_watchers(self._database, changed, self._waiting.keys())
            except Exception:
                logger.exception("waking for presence failed")
                continue
            self.wake(watchers | changed)


def _note(moments: OrderedDict[Device, float], device: Device, keep_seconds: float) -> None:
    """Note that something happens to a device now, and forget what is longer ago."""
    now = asyncio.get_running_loop().time()
    moments[device] = now
    moments.move_to_end(device)
    while True:
        oldest = next(iter(moments))
        if now - moments[oldest] <= keep_seconds:
            return
        del moments[oldest]
