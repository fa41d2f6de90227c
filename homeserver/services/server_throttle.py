"""Instances that content policy asked to slow down: few requests of theirs are taken for a while.

It is kept in memory: a restart forgets it, and the rules find out again.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from homeserver.errors import LimitExceeded
from homeserver.services.policy.rates import Rate

REQUESTS = 10
SECONDS = 60.0  # as many requests in so long
MAX_SERVERS = 10_000


class ServerThrottle:
    """A stricter bucket for each instance that is to slow down."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        self._rate = Rate(REQUESTS, SECONDS)

    def slow_down(self, server: str, seconds: int) -> None:
        """Take only few requests of an instance for so long from now on."""
        self._until[server] = max(self._until.get(server, 0.0), self._clock() + seconds)
        self._until.move_to_end(server)
        if len(self._until) > MAX_SERVERS:
            self._until.popitem(last=False)

    def check(self, server: str) -> None:
        """Count one request.  Raises :class:`LimitExceeded` if it comes too soon."""
        if not self._until:
            return
        until = self._until.get(server)
        if until is None:
            return
        now = self._clock()
        if now >= until:
            del self._until[server]
            return
        wait = self._rate.take(server, now)
        if wait:
            raise LimitExceeded(max(1, math.ceil(wait * 1000)))
