"""Checking signatures without keeping the event loop waiting.

One takes about 130 microseconds, with the GIL released.  A single one is checked where it is; what
comes in a burst (the state of a room, a full transaction) goes to threads.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from homeserver.protocol.signing import BadSignature, VerifyKey

INLINE = 4  # a burst up to this size is not worth a thread
CHUNK = 32
MAX_THREADS = 8


class _Check(Struct):
    key: VerifyKey
    message: bytes
    signature: bytes
    done: asyncio.Future[bool]


class Verifier:
    """Gathers the checks of one turn of the event loop."""

    def __init__(self) -> None:
        self._waiting: list[_Check] = []
        self._threads: ThreadPoolExecutor | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def verify(self, key: VerifyKey, message: bytes, signature: bytes) -> None:
        """Check one signature.  Raises :class:`~homeserver.protocol.signing.BadSignature`."""
        loop = asyncio.get_running_loop()
        check = _Check(key, message, signature, loop.create_future())
        self._waiting.append(check)
        if len(self._waiting) == 1:
            loop.call_soon(self._start)
        if not await check.done:
            raise BadSignature("the signature does not match")

    def close(self) -> None:
        """Let the threads go."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        if len(batch) <= INLINE:
            _finish(batch, _verify_all(batch))
            return
        for start in range(0, len(batch), CHUNK):
            task = asyncio.create_task(self._in_thread(batch[start : start + CHUNK]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _in_thread(self, batch: list[_Check]) -> None:
        if self._threads is None:
            count = min(os.cpu_count() or 1, MAX_THREADS)
            self._threads = ThreadPoolExecutor(count, thread_name_prefix="verify")
        loop = asyncio.get_running_loop()
        _finish(batch, await loop.run_in_executor(self._threads, _verify_all, batch))


def _verify_all(batch: list[_Check]) -> list[bool]:
    return [_is_good(check) for check in batch]


def _is_good(check: _Check) -> bool:
    try:
        check.key.verify(check.message, check.signature)
    except BadSignature:
        return False
    return True


def _finish(batch: list[_Check], results: list[bool]) -> None:
    for check, result in zip(batch, results, strict=True):
        if not check.done.done():
            check.done.set_result(result)
