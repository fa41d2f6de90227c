"""A circuit breaker: whoever fails again and again is left alone for a while."""

from __future__ import annotations

from collections.abc import Callable

MOST_FAILURES = 5  # in a row
REST_SECONDS = 30.0


class CircuitBreaker:
    """Counts failures; open, it lets one attempt through in each period of rest."""

    def __init__(self, clock_seconds: Callable[[], float]) -> None:
        self._clock_seconds = clock_seconds
        self._failures = 0
        self._next_attempt = 0.0  # seconds of the clock; while open

    @property
    def is_open(self) -> bool:
        """Whether calls are skipped."""
        return self._failures >= MOST_FAILURES

    def allows(self) -> bool:
        """Whether to call now; a True while open is the one attempt of this period."""
        if not self.is_open:
            return True
        now = self._clock_seconds()
        if now < self._next_attempt:
            return False
        self._next_attempt = now + REST_SECONDS
        return True

    def succeeded(self) -> None:
        """It answered."""
        self._failures = 0

    def failed(self) -> bool:
        """It did not; True if the breaker opens by this."""
        was_open = self.is_open
        self._failures += 1
        if self.is_open:
            self._next_attempt = self._clock_seconds() + REST_SECONDS
        return self.is_open and not was_open
