"""Waiting for something that goes on whatever becomes of who waits."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def unharmed(future: asyncio.Future[T]) -> T:
    """The result of a future, which lives on if the wait is cancelled.

    As ``asyncio.shield``, at half its price: a send waits like this twice.
    """
    if not future.done():
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(_: asyncio.Future[T]) -> None:
            if not woken.done():
                woken.set_result(None)

        future.add_done_callback(wake)
        try:
            await woken
        except asyncio.CancelledError:
            future.remove_done_callback(wake)
            raise
    return future.result()
