"""What several want at the same time is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from homeserver.services.shared_tasks import SharedTasks


class Work:
    """Something that takes as long as the test wants."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()
        self.tasks: SharedTasks[str, int] = SharedTasks("work")

    async def _do(self) -> int:
        self.begun += 1
        await self.go_on.wait()
        return self.begun

    def ask(self, key: str) -> asyncio.Task[int]:
        """Somebody wants it."""
        return asyncio.create_task(self.tasks.run(key, self._do))


async def test_who_asks_for_the_same_meanwhile_gets_what_is_being_done() -> None:
    work = Work()
    first, second = work.ask("a"), work.ask("a")
    await asyncio.sleep(0)
    work.go_on.set()

    assert (await first, await second) == (1, 1)
    assert (await work.ask("a"), len(work.tasks)) == (2, 0)


async def test_a_task_goes_on_when_who_asked_first_has_gone() -> None:
    work = Work()
    first, second = work.ask("a"), work.ask("a")
    await asyncio.sleep(0)
    first.cancel()
    work.go_on.set()

    assert await second == 1


async def test_what_is_refused_at_the_beginning_is_not_under_way() -> None:
    work = Work()

    def refuse() -> Coroutine[Any, Any, int]:
        raise PermissionError

    with pytest.raises(PermissionError):
        await work.tasks.run("a", refuse)

    assert len(work.tasks) == 0


async def test_those_who_wait_at_the_end_are_told() -> None:
    work = Work()
    waiting = work.ask("a")
    await asyncio.sleep(0)

    await work.tasks.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting
