"""Rate limits: how often one caller may do one thing.

A bucket of ``burst`` requests refills at ``per_second``.  It is kept as one number, the time at
which it will be full again, so an idle caller costs nothing.  Spec: client-server API, rate
limiting.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from homeserver.config import RateConfig
from homeserver.errors import LimitExceeded

MAX_BUCKETS = 100_000


DEFAULT_RATES: dict[str, RateConfig] = {
    "login": RateConfig(per_second=0.2, burst=10),  # by address
    "registration": RateConfig(per_second=0.1, burst=5),  # by address
    "challenge": RateConfig(per_second=1, burst=20),  # by address: sessions begun
    "availability": RateConfig(per_second=1, burst=20),  # by address: user names asked for
    "login_token": RateConfig(per_second=1 / 60, burst=3),
    "report": RateConfig(per_second=0.05, burst=10),  # by user
    "export": RateConfig(per_second=1 / 28_800, burst=2),  # by user: of all one's data
    "profile": RateConfig(per_second=5, burst=50),
    "consent_query": RateConfig(per_second=5, burst=100),  # by instance
    "third_party_invite": RateConfig(per_second=1, burst=20),  # by instance: exchanges
    "third_party_binding": RateConfig(per_second=1, burst=20),  # by address
}
# Actions that are counted by themselves, at the rate of another.
RATE_OF = {
    "login_account": "login",  # by user: wrong passwords, wherever they come from
    "registration_token": "registration",  # guesses at one, by address
}
OTHER = RateConfig(per_second=10, burst=100)


class RateLimits:
    """Counts requests by action and caller; refuses those that come too often."""

    def __init__(
        self,
        *,
        rates: Mapping[str, RateConfig] | None = None,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = {**DEFAULT_RATES, **(rates or {})}
        self._enabled = enabled
        self._clock = clock
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def check(self, action: str, key: str) -> None:
        """Count one request; raise :class:`LimitExceeded` if it comes too soon."""
        if not self._enabled:
            return
        rate = self._rates.get(action) or self._rates.get(RATE_OF.get(action, ""), OTHER)
        now = self._clock()
        full_at = max(self._full_at.get((action, key), now), now) + 1 / rate.per_second
        wait = full_at - now - rate.burst / rate.per_second
        if wait > 1e-9:
            raise LimitExceeded(max(1, math.ceil(wait * 1000)))
        self._full_at[(action, key)] = full_at
        self._full_at.move_to_end((action, key))
        if len(self._full_at) > MAX_BUCKETS:
            self._full_at.popitem(last=False)

    def reset(self, action: str, key: str) -> None:
        """Fill a caller's bucket."""
        self._full_at.pop((action, key), None)
