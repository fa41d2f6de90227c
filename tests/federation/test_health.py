"""How long an instance that does not answer is left alone."""

from __future__ import annotations

import random

import pytest

from federation.errors import Temporary
from federation.health import DestinationHealth
from tests.federation.network import Clock

HOUR = 3600
PEER = "peer.test"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def health(database, clock):
    health = DestinationHealth(database=database, clock_ms=clock, choose=random.Random(1))
    yield health
    await health.close()


def fail(health: DestinationHealth, clock: Clock) -> float:
    """One more failed attempt, as soon as one is due; the pause after it."""
    clock.advance(health.wait_seconds(PEER))
    health.failed(PEER, "down")
    return health.wait_seconds(PEER)


async def test_the_pause_doubles_up_to_an_hour_and_stays_there_for_three_days(health, clock):
    started = clock()
    pauses = [fail(health, clock) for _ in range(60)]
    ages = clock() - started

    assert pauses[0] == pytest.approx(1, rel=0.2)
    assert pauses[5] == pytest.approx(32, rel=0.2)
    assert all(pause <= 1.2 * HOUR for pause in pauses)
    assert pauses[-1] == pytest.approx(HOUR, rel=0.2)
    assert ages < 72 * HOUR * 1000


async def test_what_is_down_for_longer_is_tried_every_six_hours(health, clock):
    pauses = [fail(health, clock) for _ in range(150)]

    assert pauses[-1] == pytest.approx(6 * HOUR, rel=0.2)


async def test_pauses_are_spread(health, clock):
    pauses = {round(fail(health, clock), 3) for _ in range(40)}

    assert len(pauses) > 35


async def test_attempts_that_failed_at_once_count_as_one(health):
    for _ in range(50):
        health.failed(PEER, "down")

    assert health.wait_seconds(PEER) < 1.3


async def test_a_person_is_refused_at_once_only_after_some_failures(health, clock):
    fail(health, clock)
    health.check(PEER)
    for _ in range(5):
        fail(health, clock)

    with pytest.raises(Temporary):
        health.check(PEER)
    clock.advance(health.wait_seconds(PEER))
    health.check(PEER)


async def test_success_ends_it_and_is_told(health, clock):
    told = []
    health.subscribe(told.append)
    for _ in range(8):
        fail(health, clock)

    health.succeeded(PEER)

    assert told == [PEER]
    assert not health.is_failing(PEER)
    assert fail(health, clock) == pytest.approx(1, rel=0.2)


async def test_being_heard_from_allows_one_attempt_and_the_pauses_go_on_growing(health, clock):
    told = []
    health.subscribe(told.append)
    for _ in range(8):
        fail(health, clock)

    for _ in range(10):
        health.heard_from(PEER)
    immediately = health.wait_seconds(PEER)
    health.failed(PEER, "down")
    for _ in range(10):
        health.heard_from(PEER)

    assert told == [PEER]
    assert immediately == 0
    assert health.wait_seconds(PEER) == pytest.approx(256, rel=0.2)


async def test_a_peer_may_say_when_to_come_back(health):
    health.failed(PEER, "busy", 300)

    assert health.wait_seconds(PEER) == 300


async def test_a_restart_forgets_nothing(health, clock, database):
    for _ in range(8):
        fail(health, clock)
    health.succeeded("other.test")
    await health.close()

    again = DestinationHealth(database=database, clock_ms=clock)
    await again.start()

    assert again.wait_seconds(PEER) == health.wait_seconds(PEER)
    assert again.failing_since(PEER) == health.failing_since(PEER)
    assert not again.is_failing("other.test")
