"""What several want at the same time is done once, for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SharedTasks(Generic[K, T]):
    """Tasks that are under way, by what they are about."""

    def __init__(self, name: str) -> None:
        """``name``: of the tasks."""
        self._name = name
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(self, key: K, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the task about ``key`` comes to; raises what it raises.

        Where none is under way ``begin`` says what to do, unless it raises.  A task goes on when
        those who wait for it are cancelled.
        """
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(begin(), name=self._name)
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def _done(self, key: K, task: asyncio.Task[T]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # whoever still waits is told; nobody need

    async def close(self) -> None:
        """Cut off what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
