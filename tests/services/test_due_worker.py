"""A worker that sleeps until something falls due."""

from __future__ import annotations

import asyncio

import pytest

from homeserver.services import due_worker
from homeserver.services.due_worker import DueWorker


class Work:
    """Counts its rounds; ``due``: when the next one is (ms)."""

    def __init__(self, due: int | None = None) -> None:
        self.due = due
        self.rounds = 0
        self.failures = 0
        self.changed = asyncio.Condition()
        self.worker = DueWorker("work", self.do, clock_ms=lambda: 0, pause_seconds=0.001)

    async def do(self) -> int | None:
        """One round."""
        async with self.changed:
            self.rounds += 1
            self.changed.notify_all()
        if self.failures:
            self.failures -= 1
            raise ValueError("it fails")
        return self.due

    async def reaches(self, rounds: int) -> None:
        """Wait for so many."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: self.rounds >= rounds)


async def test_it_begins_at_once_and_works_again_when_it_is_woken() -> None:
    work = Work()
    await work.worker.start()
    await work.reaches(1)
    await asyncio.sleep(0.05)
    before = work.rounds

    work.worker.wake()

    await work.reaches(2)
    await work.worker.close()
    assert (before, work.rounds) == (1, 2)


async def test_it_works_again_when_something_is_due() -> None:
    work = Work(due=5)
    await work.worker.start()

    await work.reaches(3)

    await work.worker.close()
    assert work.worker.is_closing


async def test_it_goes_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due_worker, "AFTER_FAILURE_SECONDS", 0.01)
    work = Work()
    work.failures = 2
    await work.worker.start()

    await work.reaches(3)

    await work.worker.close()


async def test_what_is_under_way_may_end_in_time() -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def slow() -> None:
        begun.set()
        await asyncio.sleep(0.05)
        ended.set()

    worker = DueWorker("slow", slow, clock_ms=lambda: 0, pause_seconds=0.001)
    await worker.start()
    await begun.wait()

    await worker.close(patience_seconds=20)

    assert ended.is_set()
