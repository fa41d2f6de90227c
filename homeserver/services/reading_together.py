"""Reads of many who ask at the same moment, as one query.

A sync of a thousand rooms makes the parts of some dozens of them at the same time.  Each part is
made as if it were the only one; what they need of the database meets here: all that is asked for
before the event loop comes round again is read at once.  What is on its way already is never
shared with those who ask later, so everybody reads what was committed before they asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MOST_KEYS = 2_000


class _Batch(Generic[Key, Value]):
    """What is asked for at one moment, and who waits for it."""

    __slots__ = ("keys", "waiting")

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self.waiting: list[tuple[Collection[Key], asyncio.Future[Mapping[Key, Value]]]] = []


class ReadingTogether(Generic[Key, Value]):
    """One kind of read."""

    def __init__(
        self,
        read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]],
        most: int = MOST_KEYS,
    ) -> None:
        """``read``: reads all that it is given at once; ``most``: keys after which a batch is
        closed, though one that asks for more alone gets all of it at once."""
        self._read = read
        self._most = most
        self._open: _Batch[Key, Value] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: Key) -> Value | None:
        """What is read for one key, if there is anything."""
        return (await self.get_many((key,))).get(key)

    async def get_many(self, keys: Collection[Key]) -> Mapping[Key, Value]:
        """What is read for some keys, and perhaps for others.  Raises what the read raises."""
        batch = self._open
        if batch is None:
            batch = self._open = _Batch()
            task = asyncio.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        batch.keys.update(dict.fromkeys(keys))
        if len(batch.keys) >= self._most:
            self._open = None
        future: asyncio.Future[Mapping[Key, Value]] = asyncio.get_running_loop().create_future()
        batch.waiting.append((keys, future))
        return await future

    async def _run(self, batch: _Batch[Key, Value]) -> None:
        if self._open is batch:
            self._open = None
        if all(future.done() for _, future in batch.waiting):
            return  # they have all been cancelled
        try:
            found = await self._read(list(batch.keys))
        except Exception as error:
            if len(batch.waiting) > 1:
                await self._run_apart(batch)
            else:
                _fail(batch.waiting[0][1], error)
            return
        for _, future in batch.waiting:
            if not future.done():
                future.set_result(found)

    async def _run_apart(self, batch: _Batch[Key, Value]) -> None:
        """Who asks for what cannot be read fails alone."""
        for keys, future in batch.waiting:
            if future.done():
                continue
            try:
                found = await self._read(list(dict.fromkeys(keys)))
            except Exception as error:
                _fail(future, error)
            else:
                if not future.done():
                    future.set_result(found)


def _fail(future: asyncio.Future[Mapping[Key, Value]], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
