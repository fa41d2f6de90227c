"""Token buckets."""

import pytest

from homeserver.config import RateConfig
from homeserver.errors import LimitExceeded
from homeserver.services.rate_limits import RateLimits


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limits(clock: Clock, *, enabled: bool = True) -> RateLimits:
    return RateLimits(
        rates={"login": RateConfig(per_second=2, burst=3)}, enabled=enabled, clock=clock
    )


def test_a_burst_passes_and_the_next_request_is_told_when_to_come_back():
    subject = limits(Clock())
    for _ in range(3):
        subject.check("login", "alice")

    with pytest.raises(LimitExceeded) as caught:
        subject.check("login", "alice")

    assert caught.value.extra["retry_after_ms"] == 500


def test_a_bucket_refills_with_time():
    clock = Clock()
    subject = limits(clock)
    for _ in range(3):
        subject.check("login", "alice")

    clock.now += 0.5

    subject.check("login", "alice")
    with pytest.raises(LimitExceeded):
        subject.check("login", "alice")


def test_a_refused_request_does_not_put_off_the_next_one():
    clock = Clock()
    subject = limits(clock)
    for _ in range(3):
        subject.check("login", "alice")
    for _ in range(10):
        with pytest.raises(LimitExceeded):
            subject.check("login", "alice")

    clock.now += 0.5

    subject.check("login", "alice")


def test_callers_and_actions_are_counted_apart():
    subject = limits(Clock())
    for _ in range(3):
        subject.check("login", "alice")

    subject.check("login", "bob")
    subject.check("message", "alice")


def test_nothing_is_limited_where_limits_are_off():
    subject = limits(Clock(), enabled=False)

    for _ in range(100):
        subject.check("login", "alice")


def test_looking_counts_nothing():
    subject = limits(Clock())
    for _ in range(10):
        subject.peek("login", "alice")
    for _ in range(3):
        subject.check("login", "alice")

    with pytest.raises(LimitExceeded):
        subject.peek("login", "alice")


def test_who_is_patient_is_told_how_long_to_wait():
    subject = limits(Clock())

    waits = [subject.reserve("login", "alice", 2, patience=1) for _ in range(2)]

    assert waits == pytest.approx([0, 0.5])
    with pytest.raises(LimitExceeded):
        subject.reserve("login", "alice", 2, patience=1)


def test_what_was_counted_can_be_taken_back():
    subject = limits(Clock())
    subject.check("login", "alice", 3)

    subject.refund("login", "alice", 3)

    subject.check("login", "alice", 3)
