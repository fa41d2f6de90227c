"""Works off what HTTP pushers have to send: each in order, again after a failure.

A row of the queue goes once the gateway has taken it, so that whoever dies with it leaves it to the
next process: at most the push in flight is sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from weakref import WeakValueDictionary

import orjson
import structlog

from homeserver.metrics import PUSHES
from homeserver.services.push.badges import Badge, Badges
from homeserver.services.push.gateway import Gateway, Outcome
from homeserver.services.push.payloads import Payloads, PushableEvents, badge_notification
from homeserver.services.push.pushers import Pushers
from homeserver.storage import push_queue as storage
from homeserver.storage import pushers as pusher_storage
from homeserver.storage.database import Database
from homeserver.storage.push_queue import NewPush, QueuedPush
from homeserver.storage.pushers import HTTP, Pusher

logger = structlog.get_logger(__name__)

FIRST_RETRY_MS = 1_000
LONGEST_RETRY_MS = 3_600_000
REFUSALS = 5  # after so many failures in a row, what a gateway refuses is given up
READ_AT_ONCE = 20
MOST_WAITING = 500  # of a pusher whose gateway fails
REQUESTS_AT_ONCE = 400
REQUESTS_PER_USER = 4  # whoever chooses slow gateways delays nobody else
AFTER_FAILURE_SECONDS = 5.0


def retry_delay_ms(failures: int) -> int:
    """How long to wait after so many failures in a row: twice as long each time, up to an hour."""
    return int(min(FIRST_RETRY_MS * 2 ** min(failures - 1, 20), LONGEST_RETRY_MS))


class PushSending:
    """A worker for each pusher that has something to send."""

    def __init__(
        self,
        *,
        database: Database,
        pushers: Pushers,
        events: PushableEvents,
        payloads: Payloads,
        badges: Badges,
        gateway: Gateway,
        give_up_after_ms: int,
        clock_ms: Callable[[], int],
    ) -> None:
        """``give_up_after_ms``: how long an event is tried to be pushed."""
        self._database = database
        self._pushers = pushers
        self._events = events
        self._payloads = payloads
        self._badges = badges
        self._gateway = gateway
        self._give_up_after_ms = give_up_after_ms
        self._clock_ms = clock_ms
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wakes: dict[int, asyncio.Event] = {}
        self._slots = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._user_slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def start(self) -> None:
        """Begin with what waits."""
        self.wake(await storage.get_waiting(self._database))

    async def close(self) -> None:
        """Stop; what is under way is sent again by the next process."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self, pusher_ids: Collection[int]) -> None:
        """These have something to send, or were set anew."""
        for pusher_id in pusher_ids:
            pusher = self._pushers.get(pusher_id)
            if pusher is None or pusher.kind != HTTP:
                continue
            self._wakes.setdefault(pusher_id, asyncio.Event()).set()
            if pusher_id not in self._tasks:
                task = asyncio.create_task(self._run(pusher_id), name="pusher")
                self._tasks[pusher_id] = task

    async def idle(self) -> None:
        """Wait until nobody has anything to send, or may at present."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # ------------------------------------------------------------ one pusher

    async def _run(self, pusher_id: int) -> None:
        wake = self._wakes[pusher_id]
        while True:
            wake.clear()
            try:
                delay = await self._work_off(pusher_id)
            except Exception:
                logger.exception("a pusher failed", pusher=pusher_id)
                delay = AFTER_FAILURE_SECONDS
            if delay is None and not wake.is_set():
                del self._tasks[pusher_id], self._wakes[pusher_id]
                return
            if delay is not None:
                await self._rest(pusher_id, delay)

    async def _rest(self, pusher_id: int, seconds: float) -> None:
        """Until it may be tried again; a pusher that was set anew may at once."""
        end = asyncio.get_running_loop().time() + seconds
        wake = self._wakes[pusher_id]
        while (left := end - asyncio.get_running_loop().time()) > 0:
            wake.clear()
            try:
                async with asyncio.timeout(left):
                    await wake.wait()
            except TimeoutError:
                return
            pusher = self._pushers.get(pusher_id)
            if pusher is None or pusher.retry_at is None:
                return

    async def _work_off(self, pusher_id: int) -> float | None:
        """Send what waits; None when nothing does, or the seconds after which to go on."""
        while (pusher := self._pushers.get(pusher_id)) is not None and pusher.enabled:
            now = self._clock_ms()
            if pusher.retry_at is not None and pusher.retry_at > now:
                return (pusher.retry_at - now) / 1000
            oldest = now - self._give_up_after_ms
            pushes = await storage.get_items(self._database, pusher_id, READ_AT_ONCE)
            if not pushes:
                return None
            if pusher.failures or pushes[0].queued_at < oldest:
                await storage.delete_stale(
                    self._database, pusher_id, before=oldest, most=MOST_WAITING
                )
                pushes = await storage.get_items(self._database, pusher_id, READ_AT_ONCE)
            for push in pushes:
                if not await self._send(pusher, push):
                    break
        return None

    async def _send(self, pusher: Pusher, push: QueuedPush) -> bool:
        """Send one; False if it, or the pusher, is not as it was."""
        badge = await self._badges.get(pusher.user_id)
        body = await self._body(pusher, push, badge)
        if body is None:
            await self._done(pusher, push, badge)
            return self._pushers.get(pusher.pusher_id) is pusher
        async with self._slots_of(pusher.user_id), self._slots:
            outcome = await self._gateway.notify(pusher.data["url"], body)
        PUSHES.labels("accepted" if outcome.error is None else "failed").inc()
        if pusher.pushkey in outcome.rejected:
            logger.info("pusher rejected by its gateway", user_id=pusher.user_id)
            await self._pushers.remove(pusher)
            return False
        if outcome.error is not None:
            await self._failed(pusher, push, outcome)
            return False
        await self._done(pusher, push, badge)
        self._badges.told[pusher.pusher_id] = badge
        if pusher.failures:
            await self._note(pusher, 0, None)
        return self._pushers.get(pusher.pusher_id) is pusher

    async def _done(self, pusher: Pusher, push: QueuedPush, badge: Badge) -> None:
        """Take it off the queue; counts that changed on its way are queued again.

        While a row for the counts is there, no second one is queued.
        """
        await storage.delete_items(self._database, [push.queue_id])
        if push.event_id is None and await self._badges.get(pusher.user_id) != badge:
            again = [NewPush(pusher.pusher_id)]
            await storage.insert(self._database, again, self._clock_ms())

    def _slots_of(self, user_id: str) -> asyncio.Semaphore:
        slots = self._user_slots.get(user_id)
        if slots is None:
            slots = self._user_slots[user_id] = asyncio.Semaphore(REQUESTS_PER_USER)
        return slots

    async def _body(self, pusher: Pusher, push: QueuedPush, badge: Badge) -> bytes | None:
        if push.event_id is None:
            if self._badges.told.get(pusher.pusher_id) == badge:
                return None
            return orjson.dumps(badge_notification(pusher, badge))
        pushed = await self._events.get(pusher, push)
        if pushed is None:
            return None
        return orjson.dumps(await self._payloads.notification(pusher, pushed, badge))

    async def _failed(self, pusher: Pusher, push: QueuedPush, outcome: Outcome) -> None:
        failures = pusher.failures + 1
        logger.warning(
            "push failed", user_id=pusher.user_id, app_id=pusher.app_id, reason=outcome.error
        )
        if outcome.refused and failures >= REFUSALS:
            await storage.delete_items(self._database, [push.queue_id])
        await self._note(pusher, failures, self._clock_ms() + retry_delay_ms(failures))

    async def _note(self, pusher: Pusher, failures: int, retry_at: int | None) -> None:
        pusher.failures, pusher.retry_at = failures, retry_at
        await pusher_storage.set_retry(self._database, pusher.pusher_id, failures, retry_at)
