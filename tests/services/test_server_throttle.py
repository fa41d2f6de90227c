"""Instances that are to slow down are let through at a walk, and for a time."""

from __future__ import annotations

import pytest

from homeserver.errors import LimitExceeded
from homeserver.services import server_throttle
from homeserver.services.server_throttle import ServerThrottle


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def passed(throttle: ServerThrottle, server: str, requests: int) -> int:
    count = 0
    for _ in range(requests):
        try:
            throttle.check(server)
            count += 1
        except LimitExceeded:
            pass
    return count


def test_few_requests_pass_until_the_time_is_over() -> None:
    clock = Clock()
    throttle = ServerThrottle(clock)
    throttle.slow_down("slow.test", 600)

    assert passed(throttle, "slow.test", 50) == 10
    assert passed(throttle, "other.test", 50) == 50
    clock.now = 60.0
    assert passed(throttle, "slow.test", 50) == 10
    clock.now = 600.0
    assert passed(throttle, "slow.test", 50) == 50


def test_whoever_is_refused_is_told_when_to_come_back() -> None:
    clock = Clock()
    throttle = ServerThrottle(clock)
    throttle.slow_down("slow.test", 600)
    passed(throttle, "slow.test", 10)

    with pytest.raises(LimitExceeded) as refusal:
        throttle.check("slow.test")
    clock.now += refusal.value.extra["retry_after_ms"] / 1000

    throttle.check("slow.test")


def test_a_shorter_time_does_not_shorten_a_longer_one() -> None:
    clock = Clock()
    throttle = ServerThrottle(clock)

    throttle.slow_down("slow.test", 600)
    throttle.slow_down("slow.test", 1)
    clock.now = 300.0

    assert passed(throttle, "slow.test", 50) == 10


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_throttle, "MAX_SERVERS", 3)
    throttle = ServerThrottle(Clock())

    for number in range(4):
        throttle.slow_down(f"{number}.test", 600)

    assert [passed(throttle, f"{number}.test", 50) for number in range(4)] == [50, 10, 10, 10]
