"""Checking signatures without keeping the event loop waiting.

One takes about 60 microseconds, with the GIL released.  A single one is checked where it is; what
comes in a burst (the state of a room, a full transaction) goes to threads.  Who has many to check
had better prepare them all and then wait: threads that are to take the GIL from a busy one wait for
milliseconds, each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from homeserver.protocol.signing import BadSignature, VerifyKey

INLINE = 4  # a burst up to this size is not worth a thread
CHUNK = 50
MAX_THREADS = 8


class Check(Struct, frozen=True):
    """A signature, what it covers, and the key that it is said to be made with."""

    key: VerifyKey
    message: bytes
    signature: bytes


_Waiting = list[tuple[Check, asyncio.Future[bool]]]


class Verifier:
    """Gathers the checks of one turn of the event loop."""

    def __init__(self) -> None:
        self._waiting: _Waiting = []
        self._threads: ThreadPoolExecutor | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def verify(self, check: Check) -> None:
        """Check one signature.  Raises :class:`~homeserver.protocol.signing.BadSignature`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((check, done))
        if len(self._waiting) == 1:
            loop.call_soon(self._start)
        if not await done:
            raise BadSignature("the signature does not match")

    async def verify_many(self, checks: Sequence[Check]) -> list[bool]:
        """Whether each of many signatures is good."""
        if len(checks) <= INLINE:
            return _verify_all(checks)
        loop = asyncio.get_running_loop()
        chunks = [checks[start : start + CHUNK] for start in range(0, len(checks), CHUNK)]
        threads = self._pool()
        done = [loop.run_in_executor(threads, _verify_all, chunk) for chunk in chunks]
        return [result for results in await asyncio.gather(*done) for result in results]

    def close(self) -> None:
        """Let the threads go."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        if len(batch) <= INLINE:
            _finish(batch, _verify_all([check for check, _ in batch]))
            return
        task = asyncio.create_task(self._in_threads(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_threads(self, batch: _Waiting) -> None:
        _finish(batch, await self.verify_many([check for check, _ in batch]))

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None:
            count = min(os.cpu_count() or 1, MAX_THREADS)
            self._threads = ThreadPoolExecutor(count, thread_name_prefix="verify")
        return self._threads


def _verify_all(checks: Sequence[Check]) -> list[bool]:
    return [_is_good(check) for check in checks]


def _is_good(check: Check) -> bool:
    try:
        check.key.verify(check.message, check.signature)
    except BadSignature:
        return False
    return True


def _finish(batch: _Waiting, results: list[bool]) -> None:
    for (_, done), result in zip(batch, results, strict=True):
        if not done.done():
            done.set_result(result)
