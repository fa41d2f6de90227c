"""What requests may cost before it is known who sent them; turns of one instance's requests."""

from __future__ import annotations

import asyncio

import pytest

from federation.incoming import AT_ONCE, MOST_WAITING, BodiesUnderWay, Turns, weight
from homeserver.errors import LimitExceeded

KIB = 1024


def test_one_caller_has_only_so_much_under_way():
    bodies = BodiesUnderWay(per_caller=10 * KIB, altogether=100 * KIB)

    with bodies.receiving("one", 10 * KIB):
        with pytest.raises(LimitExceeded), bodies.receiving("one", 1):
            pass
        with bodies.receiving("two", 10 * KIB):
            pass
    with bodies.receiving("one", 10 * KIB):
        pass


def test_all_callers_together_have_only_so_much_under_way():
    bodies = BodiesUnderWay(per_caller=10 * KIB, altogether=15 * KIB)

    with (
        bodies.receiving("one", 10 * KIB),
        pytest.raises(LimitExceeded),
        bodies.receiving("two", 10 * KIB),
    ):
        pass


@pytest.mark.parametrize(
    ("light", "heavy"),
    [
        (b'{"body":"hello, world"}', b'{"a":[[],[],[],[],[],[],[]]}'),
        (b'{"body":"' + b"x" * KIB + b'"}', b"[" + b"1," * 512 + b"1]"),
    ],
)
def test_many_small_values_weigh_more_than_a_long_text(light, heavy):
    assert weight(light) < weight(heavy)


class Handlers:
    """Requests of instances, each of which runs until it is let go."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.let_go = asyncio.Event()
        self.running: list[str] = []

    async def request(self, origin: str, size: int = 100) -> None:
        """One."""
        async with self.turns.turn(origin, size):
            self.running.append(origin)
            await self.let_go.wait()


async def begin(handlers: Handlers, origin: str, count: int, size: int = 100):
    tasks = [asyncio.create_task(handlers.request(origin, size)) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_few_requests_of_one_instance_run_at_once_and_the_others_follow():
    handlers = Handlers()

    many = await begin(handlers, "busy", 3 * AT_ONCE)
    other = await begin(handlers, "other", 1)

    assert handlers.running.count("busy") == AT_ONCE
    assert handlers.running.count("other") == 1
    handlers.let_go.set()
    await asyncio.gather(*many, *other)
    assert handlers.running.count("busy") == 3 * AT_ONCE


async def test_too_many_that_wait_are_refused():
    handlers = Handlers()
    tasks = await begin(handlers, "busy", AT_ONCE + MOST_WAITING)

    with pytest.raises(LimitExceeded):
        await handlers.request("busy")

    handlers.let_go.set()
    await asyncio.gather(*tasks)
    await handlers.request("busy")


async def test_large_bodies_do_not_pile_up_but_one_always_passes():
    handlers = Handlers()
    tasks = await begin(handlers, "large", 1, 100 << 20)

    with pytest.raises(LimitExceeded):
        await handlers.request("large", 1)

    handlers.let_go.set()
    await asyncio.gather(*tasks)
