"""What requests may cost while it is not known who sent them, and how many one instance may make.

Before a signature is verified the only thing known is an address, so what is read and parsed is
counted by address.  After that the instance's requests take turns: so many at once, a few waiting,
and it is told to come later beyond that.  So neither slow bodies nor many requests of one instance
keep others waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from msgspec import Struct, field

from homeserver.errors import LimitExceeded

BODIES_PER_CALLER_BYTES = 64 << 20  # being received at one time
BODIES_BYTES = 256 << 20
AT_ONCE = 5
MOST_WAITING = 50
WAITING_BYTES = 16 << 20  # of one instance's requests, unless it is a single one
RETRY_MS = 1_000
BYTES_PER_WEIGHT = 64


def weight(body: bytes) -> int:
    """About how much work it is to parse JSON: its values and, where they are long, its bytes."""
    return 1 + len(body) // BYTES_PER_WEIGHT + sum(body.count(mark) for mark in (b"{", b"[", b","))


class BodiesUnderWay:
    """Bounds what is received of unverified requests at one time, by caller and altogether."""

    def __init__(
        self, per_caller: int = BODIES_PER_CALLER_BYTES, altogether: int = BODIES_BYTES
    ) -> None:
        self._per_caller = per_caller
        self._altogether = altogether
        self._by_caller: dict[str, int] = {}
        self._sum = 0

    @contextmanager
    def receiving(self, caller: str, size: int) -> Iterator[None]:
        """A body of up to so many bytes is on its way.  Raises :class:`LimitExceeded`."""
        theirs = self._by_caller.get(caller, 0)
        if theirs + size > self._per_caller or self._sum + size > self._altogether:
            raise LimitExceeded(RETRY_MS)
        self._by_caller[caller] = theirs + size
        self._sum += size
        try:
            yield
        finally:
            self._sum -= size
            self._by_caller[caller] -= size
            if not self._by_caller[caller]:
                del self._by_caller[caller]


class _Instance(Struct):
    running: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    requests: int = 0  # running and waiting
    size: int = 0


class Turns:
    """Lets a few requests of each instance run at once; others wait, or are refused."""

    def __init__(self) -> None:
        self._instances: dict[str, _Instance] = {}

    @asynccontextmanager
    async def turn(self, key: str, size: int) -> AsyncIterator[None]:
        """Wait for a turn; ``size`` in bytes.  Raises :class:`LimitExceeded` if too many wait."""
        instance = self._instances.get(key)
        if instance is None:
            instance = self._instances[key] = _Instance()
        elif instance.requests >= AT_ONCE + MOST_WAITING or instance.size + size > WAITING_BYTES:
            raise LimitExceeded(RETRY_MS)
        instance.requests += 1
        instance.size += size
        try:
            async with instance.running:
                yield
        finally:
            instance.requests -= 1
            instance.size -= size
            if not instance.requests:
                del self._instances[key]
