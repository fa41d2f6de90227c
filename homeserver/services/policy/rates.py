"""How often somebody does something, in bounded memory.

Time is given by the caller, in seconds that never go back; so a dry run counts by the events' own.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

MAX_KEYS = 20_000
INVITE_WINDOW_SECONDS = 3600.0
SLACK = 1e-9


class Rate:
    """A bucket of ``count`` tokens for each key, refilled over ``seconds``.

    A bucket is kept as one number, the time at which it will be full again, so whoever is idle
    costs nothing.  The :data:`MAX_KEYS` keys used last are kept, and at most as many again: in two
    generations, which is cheaper at every use than an order of them all.
    """

    __slots__ = ("_before", "_full_at", "_step", "count", "seconds")

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self.seconds = seconds
        self._step = seconds / count
        self._full_at: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def take(self, key: str, now: float) -> float:
        """Count one; 0.0 if it is within the rate, else the seconds until one would be.

        What exceeds the rate is not counted, so a steady sender is let through at the rate.
        """
        full_at = self._full_at.get(key)
        if full_at is None:
            full_at = self._before.get(key, now)
        full_at = (full_at if full_at > now else now) + self._step
        wait = full_at - now - self.seconds
        if wait > SLACK:
            return wait
        self._full_at[key] = full_at
        if len(self._full_at) >= MAX_KEYS:
            self._before, self._full_at = self._full_at, {}
        return 0.0


class _Window(Struct):
    started: float
    count: int = 0
    count_before: int = 0


class InviteCounter:
    """How many invites each sender sent in the last hour.

    Two numbers for each sender: this hour's and the last one's, which fades as this one passes.  So
    it is exact in a sender's first hour and near the truth later.
    """

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def count(self, sender: str, now: float) -> int:
        """Count one invite; how many there were, this one included."""
        window = self._windows.setdefault(sender, _Window(now))
        self._windows.move_to_end(sender)
        if len(self._windows) > MAX_KEYS:
            self._windows.popitem(last=False)
        passed = now - window.started
        if passed >= INVITE_WINDOW_SECONDS:
            recent = passed < 2 * INVITE_WINDOW_SECONDS
            window.count_before = window.count if recent else 0
            window.count = 0
            window.started += INVITE_WINDOW_SECONDS * (passed // INVITE_WINDOW_SECONDS)
            passed = now - window.started
        window.count += 1
        return window.count + int(window.count_before * (1 - passed / INVITE_WINDOW_SECONDS))


class Rates:
    """The rates of all rules, which survive a reload as long as their numbers stay."""

    def __init__(self) -> None:
        self._rates: dict[str, Rate] = {}

    def get(self, name: str, count: int, seconds: float) -> Rate:
        """The rate of a place in the rules."""
        rate = self._rates.get(name)
        if rate is None or (rate.count, rate.seconds) != (count, seconds):
            rate = self._rates[name] = Rate(count, seconds)
        return rate

    def keep(self, names: set[str]) -> None:
        """Forget all others."""
        for name in self._rates.keys() - names:
            del self._rates[name]
