"""What is left of a rule's condition once the index has settled the rest."""

from __future__ import annotations

import pytest

from homeserver.services.policy.conditions import (
    All,
    Any_,
    Aspect,
    Leaf,
    Not,
    all_of,
    may_count_at_once,
    rest_of,
)

SETTLED = (Aspect.SHAPE | Aspect.DIRECTION, Aspect.ROOM)


def leaf(aspect: int) -> Leaf:
    return Leaf("key", aspect, lambda _: True)


SHAPE, DIRECTION, ROOM = leaf(Aspect.SHAPE), leaf(Aspect.DIRECTION), leaf(Aspect.ROOM)
WORDS, RATE, ACCOUNT = leaf(Aspect.WORDS), leaf(Aspect.RATE), leaf(Aspect.ACCOUNT)


def test_what_looks_at_one_settled_group_alone_is_true():
    assert rest_of(SHAPE, SETTLED) is None
    assert rest_of(all_of([SHAPE, DIRECTION, ROOM]), SETTLED) is None
    assert rest_of(Any_((SHAPE, DIRECTION)), SETTLED) is None
    assert rest_of(all_of([SHAPE, WORDS]), SETTLED) is WORDS


def test_what_looks_beyond_one_group_is_left():
    either = Any_((SHAPE, ROOM))
    rest = rest_of(all_of([SHAPE, either, WORDS]), SETTLED)

    assert isinstance(rest, All)
    assert set(rest.parts) == {either, WORDS}
    assert rest_of(either, SETTLED) is either


@pytest.mark.parametrize(
    ("condition", "at_once"),
    [
        (RATE, True),
        (all_of([RATE, SHAPE, WORDS]), True),
        (all_of([RATE, RATE]), True),
        (WORDS, True),
        (all_of([RATE, ACCOUNT]), False),
        (Any_((SHAPE, RATE)), False),
        (all_of([WORDS, Any_((SHAPE, RATE))]), False),
        (all_of([WORDS, Not(RATE)]), False),
        (all_of([RATE, Any_((SHAPE, ACCOUNT))]), False),
    ],
)
def test_rates_are_counted_at_once_only_where_nothing_else_can_decide_first(condition, at_once):
    assert may_count_at_once(condition) is at_once
