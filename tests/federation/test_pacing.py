"""The pace at which one instance's transactions are taken in."""

from __future__ import annotations

from typing import Any

import pytest

from federation.pacing import COUNTED_EVERY, MAX_BACKLOG, Pacing
from homeserver.config import RateConfig
from homeserver.errors import LimitExceeded
from homeserver.services.rate_limits import RateLimits

PEER = "peer.example"
TYPING: dict[str, Any] = {"edu_type": "m.typing", "content": {}}
MESSAGE: dict[str, Any] = {"edu_type": "m.direct_to_device", "content": {}}


def pacing(database, **rates: RateConfig) -> Pacing:
    return Pacing(database=database, rate_limits=RateLimits(rates=rates))


async def test_what_must_not_be_lost_waits_and_is_refused_when_that_would_be_long(database):
    slow = pacing(database, federation_events=RateConfig(per_second=0.01, burst=3))

    await slow.wait(PEER, [{}, {}], [MESSAGE, TYPING, TYPING])

    with pytest.raises(LimitExceeded):
        await slow.wait(PEER, [{}], [])
    await slow.wait("other.example", [{}], [])
    await slow.wait(PEER, [], [TYPING])


@pytest.mark.parametrize(
    "content",
    [
        {"push": [{}] * 50},
        {"!room:x": {"m.read": {f"@u{n}:x": {} for n in range(50)}}},
    ],
)
async def test_moments_are_passed_over_where_there_are_too_many(database, content):
    kind = "m.presence" if "push" in content else "m.receipt"
    edu = {"edu_type": kind, "content": content}
    slow = pacing(database, federation_ephemeral=RateConfig(per_second=0.01, burst=20))

    taken = [slow.takes(PEER, edu) for _ in range(5)]

    assert taken == [True, True, True, False, False]
    assert slow.takes("other.example", edu)


async def test_who_has_very_many_events_waiting_is_to_come_later(database):
    quick = pacing(database, federation_events=RateConfig(per_second=1e6, burst=1_000_000))
    await database.execute(
        """INSERT INTO inbox (origin, room_id, event_id, pdu, received_at)
        SELECT $1, '!r:x', '$' || n, '', 0 FROM generate_series(0, $2) AS n""",
        PEER,
        MAX_BACKLOG,
    )

    with pytest.raises(LimitExceeded):
        for _ in range(2 * COUNTED_EVERY // 50):
            await quick.wait(PEER, [{}] * 50, [])

    with pytest.raises(LimitExceeded):
        await quick.wait(PEER, [{}], [])
    await database.execute("DELETE FROM inbox")
    await quick.wait(PEER, [{}], [])
