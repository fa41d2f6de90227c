"""How long messages stay: what a room asks for, within what the admin allows."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.retention import (
    RetentionLimits,
    RetentionPolicy,
    parse_retention_policy,
)


@pytest.mark.parametrize(
    ("limits", "policy", "lifetime"),
    [
        (RetentionLimits(), None, None),
        (RetentionLimits(), RetentionPolicy(5), 5),
        (RetentionLimits(default=7), None, 7),
        (RetentionLimits(default=7), RetentionPolicy(), None),
        (RetentionLimits(most=9), None, 9),
        (RetentionLimits(most=9), RetentionPolicy(), 9),
        (RetentionLimits(most=9), RetentionPolicy(20), 9),
        (RetentionLimits(least=3, most=9), RetentionPolicy(1), 3),
        (RetentionLimits(default=20, most=9), None, 9),
    ],
)
def test_a_room_gets_what_it_asks_for_within_the_limits(
    limits: RetentionLimits, policy: RetentionPolicy | None, lifetime: int | None
) -> None:
    assert limits.lifetime(policy) == lifetime


@pytest.mark.parametrize(
    "content",
    [
        {"max_lifetime": "5"},
        {"max_lifetime": 0},
        {"max_lifetime": True},
        {"max_lifetime": 2**53},
        {"max_lifetime": 5, "min_lifetime": 6},
        {"min_lifetime": -1},
    ],
)
def test_what_is_no_policy_counts_as_none(content: dict[str, Any]) -> None:
    assert parse_retention_policy(content) is None


def test_a_policy_may_leave_both_out() -> None:
    assert parse_retention_policy({}) == RetentionPolicy(None, None)
    assert parse_retention_policy({"max_lifetime": 5, "min_lifetime": 5}) == RetentionPolicy(5, 5)
