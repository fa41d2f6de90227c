"""Connections: whichever answers are lost, both sides agree on what the client has."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from homeserver.services.sliding.connection import (
    Connection,
    Moment,
    Sent,
    State,
    Step,
    StreamStep,
    in_both,
)
from homeserver.services.sliding.wanted import RequiredState, RoomConfig, StatePattern

ROOMS = st.sampled_from(["!a", "!b", "!c"])
PATTERN = st.builds(
    StatePattern, st.sampled_from([None, "t", "m.room.member"]), st.sampled_from([None, "", "k"])
)
REQUIRED = st.builds(RequiredState, st.frozensets(PATTERN), st.frozensets(PATTERN), st.booleans())
CONFIG = st.builds(RoomConfig, st.integers(0, 20), st.frozensets(REQUIRED, max_size=2))
SENT = st.builds(
    Sent, st.sampled_from(["join", "leave"]), CONFIG, st.integers(0, 20), st.booleans()
)
BEHIND = st.dictionaries(ROOMS, st.one_of(st.none(), st.integers(1, 99)))
STREAM = st.builds(StreamStep, st.sets(ROOMS), BEHIND)
STEP = st.builds(
    Step,
    st.builds(
        Moment,
        st.integers(1, 99),
        st.integers(1, 99),
        st.integers(0, 9),
        st.frozensets(ROOMS),
        st.frozensets(st.sampled_from(["typing", "e2ee"])),
        st.one_of(st.none(), st.just({"device_one_time_keys_count": {"a": 1}})),
    ),
    st.dictionaries(ROOMS, st.one_of(st.none(), SENT)),
    BEHIND,
    STREAM,
    STREAM,
)


def picture(state: State) -> Any:
    """All that a client has, to be compared."""
    return (
        replace(state.moment, checked=None),
        dict(state.sent),
        dict(state.behind),
        (set(state.receipts.known), dict(state.receipts.behind)),
        (set(state.account_data.known), dict(state.account_data.behind)),
    )


@given(st.lists(st.tuples(STEP, st.booleans(), st.booleans()), max_size=8))
def test_the_server_knows_what_the_client_has_whatever_is_lost(
    answers: list[tuple[Step, bool, bool]],
) -> None:
    connection, client = Connection(), State()
    pos: str | None = None

    for step, is_lost, is_put_away in answers:
        assert connection.resume(pos)
        assert picture(connection.state) == picture(client)
        answered = connection.answer(step)
        if is_put_away:
            connection = Connection.load(connection.dump())
        if not is_lost:
            pos = answered
            client.apply(step)

    assert connection.resume(pos)
    assert picture(connection.state) == picture(client)


@given(STEP, STEP)
def test_a_pos_is_good_until_the_client_has_come_with_a_later_one(
    first: Step, second: Step
) -> None:
    connection = Connection()
    one = connection.answer(first)
    assert connection.resume(one)
    two = connection.answer(second)
    assert connection.resume(two)

    assert not connection.resume(one)
    assert not connection.resume(None)
    assert connection.resume(two)


@given(
    CONFIG,
    CONFIG,
    st.tuples(st.sampled_from(["t", "m.room.member", "u"]), st.sampled_from(["", "k", "l"])),
)
def test_a_config_that_adds_nothing_matches_nothing_more(
    before: RoomConfig, after: RoomConfig, key: tuple[str, str]
) -> None:
    if not after.adds_state_to(before) and after.matches(key):
        assert before.matches(key)


JOINED = st.dictionaries(ROOMS, st.integers(1, 99))


@given(st.lists(st.tuples(STEP, st.integers(0, 2), st.frozensets(ROOMS)), max_size=12), st.data())
def test_what_was_compared_once_says_the_same_as_comparing_all_of_it_anew(
    answers: list[tuple[Step, int, frozenset[str]]], data: st.DataObject
) -> None:
    state, searched = State(), set[str]()
    rooms_of_user = [data.draw(JOINED) for _ in range(3)]

    for step, number, scope in answers:
        state.apply(step)
        joined = rooms_of_user[number]

        assert state.was_told_all(joined) == (joined.keys() <= state.sent.keys())
        assert state.receipts.unknown(scope) == scope - state.receipts.known
        assert state.within(scope, joined) == scope & joined.keys()
        assert state.within(scope, joined) is state.within(scope, joined)
        assert state.sent.keys() <= searched | state.compared.unsearched
        searched |= state.compared.unsearched
        state.compared.unsearched.clear()


@given(BEHIND, st.frozensets(ROOMS))
def test_what_is_in_both_is_found_from_either(
    behind: dict[str, int | None], rooms: frozenset[str]
) -> None:
    known = {room_id: position for room_id, position in behind.items() if position is not None}

    assert set(in_both(known, rooms)) == known.keys() & rooms
