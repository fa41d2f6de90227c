"""Asks one check: in time, not too many at once, and not while it keeps failing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from homeserver.metrics import CHECK_SECONDS, CHECKS
from homeserver.services.external_checks.answers import Answer, CannotCheck, CheckFailed
from homeserver.services.external_checks.breaker import MOST_FAILURES, REST_SECONDS, CircuitBreaker

logger = structlog.get_logger(__name__)

MOST_WAITING = 256
Opened = Callable[[str], None]


class Caller:
    """The limits around one check."""

    def __init__(
        self,
        name: str,
        *,
        timeout_seconds: float,
        concurrent: int,
        clock_seconds: Callable[[], float],
        opened: Opened,
    ) -> None:
        """``opened`` is told, with a reason, each time that the check is given up for a while."""
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(concurrent)
        self._waiting = 0
        self._breaker = CircuitBreaker(clock_seconds)
        self._opened = opened

    async def call(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask; waiting for a place counts towards the time.

        Raises :class:`CheckFailed`, and :class:`CannotCheck` as ``ask`` does.
        """
        if self._waiting >= MOST_WAITING:
            raise self._skipped("too many wait for it")
        if not self._breaker.allows():
            raise self._skipped("it failed lately, and is left alone for a while")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_seconds), self._slots:
                with CHECK_SECONDS.labels(self._name).time():
                    answer = await ask()
        except CannotCheck:
            self._breaker.succeeded()
            CHECKS.labels(self._name, "cannot_check").inc()
            raise
        except TimeoutError as error:
            raise self._failed(f"no answer within {self._timeout_seconds:g} s") from error
        except CheckFailed as error:
            raise self._failed(str(error)) from error
        finally:
            self._waiting -= 1
        self._breaker.succeeded()
        CHECKS.labels(self._name, answer.verdict).inc()
        return answer

    def _skipped(self, reason: str) -> CheckFailed:
        CHECKS.labels(self._name, "skipped").inc()
        return CheckFailed(reason)

    def _failed(self, reason: str) -> CheckFailed:
        logger.warning("external check failed", check=self._name, reason=reason)
        CHECKS.labels(self._name, "failed").inc()
        if self._breaker.failed():
            self._opened(
                f"{MOST_FAILURES} failures in a row, the last one: {reason};"
                f" left alone for {REST_SECONDS:g} s at a time"
            )
        return CheckFailed(reason)
