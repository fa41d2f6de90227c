"""Matches obey boolean algebra, and what is not known yet is never guessed."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from homeserver.services.policy.conditions import (
    ALL_ASPECTS,
    ASPECTS,
    Condition,
    Leaf,
    Not,
    all_of,
    any_of,
    fold,
    leaves,
)
from homeserver.services.policy.subject import Subject
from tests.services.policy.samples import message

SUBJECT = message()


def leaf(value: bool, aspect: int) -> Leaf:
    def test(_subject: Subject) -> bool:
        return value

    return Leaf("key", aspect, test)


LEAVES = st.builds(leaf, st.booleans(), st.sampled_from(ASPECTS))
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(all_of),
        st.lists(inner, min_size=1, max_size=4).map(any_of),
        inner.map(Not),
    ),
    max_leaves=12,
)


def truth(condition: Condition) -> bool:
    value = condition.truth(SUBJECT, ALL_ASPECTS)
    assert value is not None
    return value


@given(st.lists(CONDITIONS, min_size=1, max_size=5))
def test_all_and_any_are_conjunction_and_disjunction(parts: list[Condition]) -> None:
    values = [truth(part) for part in parts]

    assert truth(all_of(parts)) == all(values)
    assert truth(any_of(parts)) == any(values)


@given(st.lists(CONDITIONS, min_size=1, max_size=5))
def test_de_morgan(parts: list[Condition]) -> None:
    assert truth(Not(all_of(parts))) == truth(any_of([Not(part) for part in parts]))
    assert truth(Not(any_of(parts))) == truth(all_of([Not(part) for part in parts]))


@given(CONDITIONS)
def test_twice_not_is_yes(condition: Condition) -> None:
    assert truth(Not(Not(condition))) == truth(condition)


@given(
    st.lists(CONDITIONS, min_size=1, max_size=5).flatmap(
        lambda p: st.tuples(st.just(p), st.permutations(p))
    )
)
def test_the_order_of_parts_does_not_matter(
    orders: tuple[list[Condition], Iterable[Condition]],
) -> None:
    one, other = orders

    assert truth(all_of(one)) == truth(all_of(list(other)))
    assert truth(any_of(one)) == truth(any_of(list(other)))


@given(CONDITIONS, st.sets(st.sampled_from(ASPECTS)))
def test_what_is_certain_early_stays_so(condition: Condition, known: set[int]) -> None:
    early = condition.truth(SUBJECT, sum(known))

    assert early is None or early == truth(condition)


@given(CONDITIONS, st.sets(st.sampled_from(ASPECTS)), st.sets(st.sampled_from(ASPECTS)))
def test_more_knowledge_never_unsettles(
    condition: Condition, known: set[int], more: set[int]
) -> None:
    early = condition.truth(SUBJECT, sum(known))

    assert early is None or condition.truth(SUBJECT, sum(known | more)) == early


@given(CONDITIONS, st.sets(st.sampled_from(ASPECTS)))
def test_folding_is_asking(condition: Condition, known: set[int]) -> None:
    mask = sum(known)

    folded = fold(condition, lambda leaf: leaf.test(SUBJECT) if leaf.aspect & mask else None)

    assert folded == condition.truth(SUBJECT, mask)


@given(st.lists(CONDITIONS, min_size=2, max_size=6))
def test_what_counts_comes_last(parts: list[Condition]) -> None:
    order = [max(leaf.aspect for leaf in leaves(part)) for part in all_of(parts).parts]  # type: ignore[union-attr]

    assert order == sorted(order)
