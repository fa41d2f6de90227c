"""How often somebody does something: token buckets in bounded memory.

A bucket of ``count`` tokens refills over ``seconds``.  It is kept as one number, the time at which
it will be full again, so whoever is idle costs nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_BUCKETS = 20_000


class Rate:
    """Counts by key; the least lately used keys are forgotten."""

    def __init__(self, *, count: int, seconds: float, clock: Callable[[], float]) -> None:
        self._count = count
        self._seconds = seconds
        self._clock = clock  # seconds, monotonic
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str) -> float:
        """Count one; 0.0 if it is within the rate, else the seconds until one would be.

        What exceeds the rate is not counted, so that a steady sender is let through at the rate.
        """
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now) + self._seconds / self._count
        wait = full_at - now - self._seconds
        if wait > 1e-9:
            return wait
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > MAX_BUCKETS:
            self._full_at.popitem(last=False)
        return 0.0
