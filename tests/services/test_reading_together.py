"""Reads of many at the same moment are one; and each gets its own answer all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from homeserver.services.reading_together import ReadingTogether


class Shelf:
    """Something to read from, which keeps count."""

    def __init__(self) -> None:
        self.reads: list[Sequence[int]] = []
        self.values = {number: str(number) for number in range(100)}
        self.opened = asyncio.Event()
        self.opened.set()

    async def read(self, keys: Sequence[int]) -> Mapping[int, str]:
        self.reads.append(keys)
        found = {key: self.values[key] for key in keys if key in self.values}
        await self.opened.wait()
        if any(key < 0 for key in keys):
            raise ValueError("cannot be")
        return found


async def test_who_ask_at_the_same_moment_are_served_by_one_read() -> None:
    shelf = Shelf()
    together = ReadingTogether(shelf.read)

    found = await asyncio.gather(*(together.get(number) for number in (1, 2, 2, 200)))

    assert found == ["1", "2", "2", None]
    assert shelf.reads == [[1, 2, 200]]


async def test_who_asks_later_reads_what_has_changed_meanwhile() -> None:
    shelf = Shelf()
    shelf.opened.clear()
    together = ReadingTogether(shelf.read)
    early = asyncio.create_task(together.get(1))
    await asyncio.sleep(0.01)
    shelf.values[1] = "changed"
    late = asyncio.create_task(together.get(1))
    await asyncio.sleep(0.01)

    shelf.opened.set()

    assert (await early, await late) == ("1", "changed")


async def test_who_asks_for_the_impossible_fails_alone() -> None:
    shelf = Shelf()
    together = ReadingTogether(shelf.read)

    found = await asyncio.gather(
        together.get(1), together.get(-1), together.get(2), return_exceptions=True
    )

    assert (found[0], found[2]) == ("1", "2")
    assert isinstance(found[1], ValueError)


async def test_one_who_gives_up_does_not_take_the_others_with_them() -> None:
    shelf = Shelf()
    shelf.opened.clear()
    together = ReadingTogether(shelf.read)
    tasks = [asyncio.create_task(together.get(number)) for number in (1, 2)]
    await asyncio.sleep(0.01)

    tasks[0].cancel()
    shelf.opened.set()

    assert await tasks[1] == "2"
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_nothing_is_read_for_those_who_have_all_given_up() -> None:
    shelf = Shelf()
    task = asyncio.create_task(ReadingTogether(shelf.read).get(1))
    asyncio.get_running_loop().call_soon(task.cancel)

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)

    assert shelf.reads == []


async def test_a_read_is_of_a_bounded_number_of_keys() -> None:
    shelf = Shelf()
    together = ReadingTogether(shelf.read, 10)

    found = await asyncio.gather(*(together.get(number) for number in range(25)))

    assert found == [str(number) for number in range(25)]
    assert [len(keys) for keys in shelf.reads] == [10, 10, 5]
