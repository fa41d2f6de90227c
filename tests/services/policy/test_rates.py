"""Rates count, refill, and forget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from homeserver.services.policy import rates
from homeserver.services.policy.rates import InviteCounter, Rate


@given(
    count=st.integers(1, 20),
    seconds=st.integers(1, 100),
    steps=st.lists(st.floats(0, 50), min_size=1, max_size=60),
)
def test_never_more_than_a_burst_and_what_was_refilled(
    count: int, seconds: int, steps: list[float]
) -> None:
    rate, now, taken = Rate(count, seconds), 0.0, 0

    for step in steps:
        now += step
        taken += rate.take("key", now) == 0.0

        assert taken <= count + now * count / seconds + 1e-6


@given(count=st.integers(1, 20), seconds=st.integers(1, 100))
def test_whoever_waits_as_long_as_told_is_let_through(count: int, seconds: int) -> None:
    rate = Rate(count, seconds)
    for _ in range(count):
        assert rate.take("key", 5.0) == 0.0

    wait = rate.take("key", 5.0)

    assert 0 < wait <= seconds / count + 1e-6
    assert rate.take("key", 5.0 + wait) == 0.0


def test_the_least_lately_used_are_forgotten() -> None:
    rate = Rate(1, 1e9)

    for number in range(2 * rates.MAX_KEYS + 1):
        rate.take(str(number), 0.0)

    assert rate.take("0", 0.0) == 0.0
    assert all(
        rate.take(str(number), 0.0) > 0
        for number in range(rates.MAX_KEYS + 1, 2 * rates.MAX_KEYS + 1)
    )
    assert len(rate._full_at) + len(rate._before) <= 2 * rates.MAX_KEYS


def test_invites_are_counted_by_the_hour() -> None:
    invites = InviteCounter()

    assert [invites.count("@a:x", 0.0) for _ in range(10)] == list(range(1, 11))
    assert invites.count("@b:x", 0.0) == 1
    assert invites.count("@a:x", 3600.0 + 1800.0) == 1 + 5
    assert invites.count("@a:x", 3600.0 * 9) == 1
