"""The order of rooms, and the ranges of lists, against the plainest way to say what they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from homeserver.services.sliding.lists import RoomOrder, window

ROOMS = st.sampled_from([f"!{n}" for n in range(8)])
STEPS = st.lists(st.tuples(ROOMS, st.one_of(st.none(), st.integers(1, 100))), max_size=40)
RANGE = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: tuple(sorted(pair)))


def sorted_rooms(activity: dict[str, int]) -> list[int]:
    """The positions of rooms, the last active first."""
    return sorted(activity.values(), reverse=True)


@given(st.dictionaries(ROOMS, st.integers(1, 100)), STEPS)
def test_rooms_stay_in_the_order_of_what_happened_last(
    begun: dict[str, int], steps: list[tuple[str, int | None]]
) -> None:
    order, model = RoomOrder(begun), dict(begun)

    for room_id, position in steps:
        if position is None:
            order.remove(room_id)
            model.pop(room_id, None)
        else:
            order.touch(room_id, position)
            model[room_id] = max(position, model.get(room_id, 0))

        rooms = list(order.newest_first())
        assert set(rooms) == set(model) and len(order) == len(model)
        assert [order.position(room) for room in rooms] == sorted_rooms(model)


@given(st.dictionaries(ROOMS, st.integers(1, 100)), STEPS)
def test_the_version_changes_with_the_set_of_rooms_alone(
    begun: dict[str, int], steps: list[tuple[str, int | None]]
) -> None:
    order = RoomOrder(begun)

    for room_id, position in steps:
        before, rooms = order.version, set(order.newest_first())
        if position is None:
            order.remove(room_id)
        else:
            order.touch(room_id, position)

        assert (order.version != before) == (set(order.newest_first()) != rooms)


@given(
    st.dictionaries(ROOMS, st.integers(1, 100)),
    st.frozensets(ROOMS),
    st.one_of(st.none(), st.lists(RANGE, max_size=3).map(sorted)),
)
def test_a_window_has_the_rooms_at_its_places(
    activity: dict[str, int],
    chosen: frozenset[str],
    ranges: list[tuple[int, int]] | None,
) -> None:
    order = RoomOrder(activity)
    matching = chosen & activity.keys()

    found = window(order, matching, ranges)

    listed = [room_id for room_id in order.newest_first() if room_id in matching]
    expected = {
        room_id
        for place, room_id in enumerate(listed)
        if ranges is None or any(first <= place <= last for first, last in ranges)
    }
    assert found.count == len(listed)
    assert set(found.rooms) == expected
