"""Waiting without harm."""

from __future__ import annotations

import asyncio

import pytest

from homeserver.services.unharmed import unharmed


async def test_the_result_is_passed_on() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = [asyncio.create_task(unharmed(future)) for _ in range(2)]
    await asyncio.sleep(0)

    future.set_result(3)

    assert await asyncio.gather(*waiting) == [3, 3]
    assert await unharmed(future) == 3


async def test_the_exception_is_passed_on() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(unharmed(future))
    await asyncio.sleep(0)

    future.set_exception(ValueError("no"))

    with pytest.raises(ValueError, match="no"):
        await waiting


async def test_who_gives_up_waiting_harms_nobody() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    first, second = (asyncio.create_task(unharmed(future)) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    assert first.cancelled()
    assert not future.done()
    future.set_result(3)
    assert await second == 3
