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
    "token_login": RateConfig(per_second=50, burst=500),  # by address: signed, so no guesses
    "oauth_registration": RateConfig(per_second=1, burst=50),  # by address: clients
    "oauth_token": RateConfig(per_second=20, burst=500),  # by address: unguessable, so generous
    "registration": RateConfig(per_second=0.1, burst=5),  # by address
    "email_request": RateConfig(per_second=1 / 30, burst=20),  # by address: mails asked for
    "email_address": RateConfig(per_second=1 / 600, burst=6),  # by e-mail address: mails to it
    "email_link": RateConfig(per_second=0.5, burst=30),  # by address: guesses at links
    "challenge": RateConfig(per_second=1, burst=20),  # by address: sessions begun
    "availability": RateConfig(per_second=1, burst=20),  # by address: user names asked for
    "login_token": RateConfig(per_second=1 / 60, burst=3),
    "report": RateConfig(per_second=0.05, burst=10),  # by user
    "export": RateConfig(per_second=1 / 28_800, burst=2),  # by user: of all one's data
    "schedule": RateConfig(per_second=10, burst=200),  # by user: what is to be sent later
    "webhook_test": RateConfig(per_second=0.2, burst=20),  # by application, or user
    "incoming_webhook": RateConfig(per_second=2, burst=60),  # by address: messages posted to it
    "incoming_guess": RateConfig(per_second=0.2, burst=20),  # by caller: addresses there are not
    "application_user": RateConfig(per_second=20, burst=1_000),  # by application: accounts
    "message_search": RateConfig(per_second=5, burst=50),  # by user
    "upload": RateConfig(per_second=1, burst=500),  # by user: files
    "media_fetch": RateConfig(per_second=5, burst=1_000),  # by user: other servers' files
    "media_create": RateConfig(per_second=1, burst=500),  # by user: IDs of files that come later
    "turn": RateConfig(per_second=0.5, burst=20),  # by user: credentials for relays of calls
    "upgrade": RateConfig(per_second=0.1, burst=10),  # by user: of rooms
    "room_summary": RateConfig(per_second=5, burst=100),  # by user: of rooms we are not in, too
    "hierarchy": RateConfig(per_second=2, burst=50),  # by user: pages of spaces
    "remote_summary": RateConfig(per_second=0.2, burst=20),  # by address, without an account
    "people_search": RateConfig(per_second=5, burst=50),  # by user
    "key_bundles": RateConfig(per_second=5, burst=500),  # by user: people whose keys are taken
    "profile": RateConfig(per_second=5, burst=50),
    # What one other instance may make us do, beside its requests (``federation``).
    "federation_weight": RateConfig(per_second=250_000, burst=4_000_000),  # of bodies
    "federation_events": RateConfig(per_second=200, burst=2_000),  # and what must not be lost
    "federation_ephemeral": RateConfig(per_second=1_000, burst=10_000),  # who types, reads, is here
    "key_claim": RateConfig(per_second=0.2, burst=100),  # one-time keys of one user
    "instance_report": RateConfig(per_second=0.005, burst=20),  # reports that it passes on
    # By address, before it is known who asks.
    "key_query": RateConfig(per_second=20, burst=1_000),  # servers whose keys are asked of us
    "key_lookup": RateConfig(per_second=10, burst=100),  # keys that are asked for elsewhere
    "unverified_weight": RateConfig(per_second=10_000, burst=300_000),  # of bodies
    "consent_query": RateConfig(per_second=5, burst=100),  # by instance
    "third_party_invite": RateConfig(per_second=1, burst=20),  # by instance: exchanges
    "third_party_binding": RateConfig(per_second=1, burst=20),  # by address
}
# Actions that are counted by themselves, at the rate of another.
RATE_OF = {
    "login_account": "login",  # by user: wrong passwords, wherever they come from
    "device_code": "login",  # guesses at one, by user
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
        self.is_exempt: Callable[[str], bool] | None = None
        """Which users are not limited: those of application services that say so."""

    def check(self, action: str, key: str, cost: float = 1) -> None:
        """Count one request, or more; raise :class:`LimitExceeded` if it comes too soon."""
        self.reserve(action, key, cost)

    def peek(self, action: str, key: str) -> None:
        """Raise :class:`LimitExceeded` if a request would come too soon; count nothing."""
        if self._enabled and not self._spares(key):
            rate, now = self._rate(action), self._clock()
            self._refuse(self._later(rate, action, key, now, 1) - now, rate, 0)

    def reserve(self, action: str, key: str, cost: float = 1, *, patience: float = 0) -> float:
        """Count a request; after how many seconds it is due.

        Raises :class:`LimitExceeded`, and counts nothing, if that were more than ``patience``.
        """
        if not self._enabled or self._spares(key):
            return 0.0
        rate, now = self._rate(action), self._clock()
        full_at = self._later(rate, action, key, now, min(cost, rate.burst))
        wait = self._refuse(full_at - now, rate, patience)
        self._full_at[(action, key)] = full_at
        self._full_at.move_to_end((action, key))
        if len(self._full_at) > MAX_BUCKETS:
            self._full_at.popitem(last=False)
        return wait

    def _spares(self, key: str) -> bool:
        return self.is_exempt is not None and key.startswith("@") and self.is_exempt(key)

    def _rate(self, action: str) -> RateConfig:
        return self._rates.get(action) or self._rates.get(RATE_OF.get(action, ""), OTHER)

    def _later(self, rate: RateConfig, action: str, key: str, now: float, cost: float) -> float:
        """When the bucket will be full again, if this is counted."""
        return max(self._full_at.get((action, key), now), now) + cost / rate.per_second

    def _refuse(self, until_full: float, rate: RateConfig, patience: float) -> float:
        wait = until_full - rate.burst / rate.per_second
        if wait > patience + 1e-9:
            raise LimitExceeded(max(1, math.ceil(wait * 1000)))
        return max(0.0, wait)

    def refund(self, action: str, key: str, cost: float = 1) -> None:
        """Take back what was counted."""
        if (action, key) in self._full_at:
            rate = self._rate(action)
            self._full_at[(action, key)] -= min(cost, rate.burst) / rate.per_second

    def reset(self, action: str, key: str) -> None:
        """Fill a caller's bucket."""
        self._full_at.pop((action, key), None)
