"""Rows written in the background are neither lost nor waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from homeserver.services import background_batches
from homeserver.services.background_batches import BackgroundBatches


class Table:
    """Takes rows, but for those that it refuses; may be away."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.batches = 0
        self.away = 0
        self.refused: set[int] = set()

    async def write(self, rows: Sequence[int]) -> None:
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise ConnectionRefusedError("away")
        if self.refused & set(rows):
            raise ValueError("refused")
        self.batches += 1
        self.rows.extend(rows)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_batches, "LONGEST_PAUSE_SECONDS", 0)


async def test_rows_go_together_and_in_order() -> None:
    table = Table()
    batches = BackgroundBatches[int]("rows", table.write)

    for row in range(100):
        batches.add(row)
    await batches.close()

    assert table.rows == list(range(100))
    assert table.batches == 1


async def test_a_flush_waits_for_what_was_added_before_it_alone() -> None:
    table = Table()
    batches = BackgroundBatches[int]("rows", table.write)
    running = True

    async def keep_adding() -> None:
        while running:
            batches.add(2)
            await asyncio.sleep(0)

    batches.add(1)
    adding = asyncio.create_task(keep_adding())
    async with asyncio.timeout(30):
        await batches.flush()
    running = False
    await adding
    await batches.close()

    assert table.rows[0] == 1


async def test_rows_wait_while_the_database_is_away() -> None:
    table = Table()
    table.away = 3
    batches = BackgroundBatches[int]("rows", table.write)

    for row in range(10):
        batches.add(row)
    await batches.flush()

    assert table.rows == list(range(10))


async def test_a_row_that_is_refused_takes_no_other_with_it() -> None:
    table = Table()
    table.refused = {3}
    batches = BackgroundBatches[int]("rows", table.write)

    for row in range(6):
        batches.add(row)
    await batches.close()

    assert table.rows == [0, 1, 2, 4, 5]


async def test_closing_ends_though_the_database_stays_away() -> None:
    table = Table()
    table.away = 1_000_000
    batches = BackgroundBatches[int]("rows", table.write)

    batches.add(1)
    await batches.close()

    assert table.rows == []


async def test_memory_is_bounded_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background_batches, "MAX_WAITING", 50)
    monkeypatch.setattr(background_batches, "MAX_BATCH", 10)
    table = Table()
    batches = BackgroundBatches[int]("rows", table.write)

    for row in range(200):
        batches.add(row)
    await batches.close()

    assert len(table.rows) <= 50
    assert table.rows == list(range(table.rows[0], 200))
