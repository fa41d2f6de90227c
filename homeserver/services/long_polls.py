"""Requests that wait for news, and end before their time when their caller is let in no longer.

A user who is locked, deactivated or logged out while a sync of theirs waits is told so at once.
What this process does itself is known at once; what another has done, within
:data:`LOOK_EVERY_SECONDS`.

Spec: client-server API, account locking, soft logout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.services.requester import Requester
from homeserver.storage import tokens as storage
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS = 10.0
ASKED_AT_ONCE = 1_000  # devices


class Waking(Protocol):
    """Whoever keeps requests waiting."""

    def wake(self, user_ids: Iterable[str]) -> None:
        """Have the requests of users look whether they are to go on waiting."""


class Forgetting(Protocol):
    """What is remembered of access tokens."""

    def forget(self, user_id: str, device_ids: Sequence[str] | None = None) -> None:
        """Ask the database again about these devices' tokens."""


class LongPoll:
    """One request that waits.  ``recheck`` raises if its caller is not let in any more."""

    __slots__ = ("_recheck", "error", "has_hung_up", "requester")

    def __init__(
        self,
        requester: Requester,
        recheck: Callable[[], Awaitable[object]],
        has_hung_up: Callable[[], bool],
    ) -> None:
        self.requester = requester
        self.has_hung_up = has_hung_up
        self.error: MatrixError | None = None
        """Why the caller is not let in any more."""
        self._recheck = recheck

    def is_over(self) -> bool:
        """Whether there is nobody to wait for."""
        return self.error is not None or self.has_hung_up()

    async def check(self) -> None:
        """See whether the caller is still let in."""
        try:
            await self._recheck()
        except MatrixError as error:
            self.error = error


class LongPolls:
    """Knows the requests that wait, and ends them."""

    def __init__(self, *, database: Database, sessions: Forgetting) -> None:
        self._database = database
        self._sessions = sessions
        self._by_user: dict[str, set[LongPoll]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self.keepers: list[Waking] = []
        """Who keeps requests waiting."""

    def __len__(self) -> int:
        return sum(map(len, self._by_user.values()))

    async def start(self) -> None:
        """Begin to look for what other processes have done."""
        self._looking = asyncio.create_task(self._keep_looking(), name="long polls")

    async def close(self) -> None:
        """Stop."""
        tasks = [*self._tasks, *([self._looking] if self._looking is not None else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, poll: LongPoll) -> None:
        """A request waits from now on, until :meth:`end`."""
        self._by_user.setdefault(poll.requester.user_id, set()).add(poll)

    def end(self, poll: LongPoll) -> None:
        """A request waits no longer."""
        user_id = poll.requester.user_id
        polls = self._by_user.get(user_id, set())
        polls.discard(poll)
        if not polls:
            self._by_user.pop(user_id, None)

    # ------------------------------------------------------------ ending

    def changed(self, user_id: str, device_ids: Collection[str] | None = None) -> None:
        """A user, or some devices of theirs, may not be let in any more: see about it."""
        polls = [
            poll
            for poll in self._by_user.get(user_id, ())
            if device_ids is None or poll.requester.device_id in device_ids
        ]
        if polls:
            task = asyncio.create_task(self._check(user_id, polls))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _check(self, user_id: str, polls: list[LongPoll]) -> None:
        try:
            await asyncio.gather(*(poll.check() for poll in polls))
        except Exception:
            logger.exception("could not see whether a user is still let in", user_id=user_id)
        if any(poll.error is not None for poll in polls):
            for keeper in self.keepers:
                keeper.wake([user_id])

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            try:
                await self.look()
            except Exception:
                logger.exception("could not look for devices that were logged out")

    async def look(self) -> None:
        """Find the devices that another process has logged out while they wait here."""
        devices = list(
            {
                (poll.requester.user_id, poll.requester.device_id)
                for polls in self._by_user.values()
                for poll in polls
                if poll.requester.app_service is None and poll.requester.device_id is not None
            }
        )
        for start in range(0, len(devices), ASKED_AT_ONCE):
            batch = devices[start : start + ASKED_AT_ONCE]
            for user_id, device_id in await storage.get_logged_out(self._database, batch):
                self._sessions.forget(user_id, [device_id])
