"""Where in a timeline a user may see: in ranges, the same as event by event."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.visibility import Reader, RoomHistory
from homeserver.storage.events import StoredEvent

VISIBILITIES = st.sampled_from(["world_readable", "shared", "invited", "joined"])
MEMBERSHIPS = st.sampled_from(["join", "leave", "invite", "ban", "knock"])


def a_message(order: int) -> StoredEvent:
    pdu = {
        "type": "m.room.message",
        "sender": "@bob:one.example",
        "room_id": "!r:one.example",
        "content": {},
        "depth": 1,
        "origin_server_ts": 1,
        "prev_events": [],
        "auth_events": [],
    }
    event = Event(pdu, f"${order}", ROOM_VERSIONS["11"])
    return StoredEvent(event, order, order, None, None, None, False, None, None)


@given(
    st.lists(st.tuples(st.integers(0, 40), VISIBILITIES), unique_by=lambda pair: pair[0]),
    VISIBILITIES,
    st.lists(st.tuples(st.integers(0, 40), MEMBERSHIPS), unique_by=lambda pair: pair[0]),
)
def test_ranges_say_what_is_said_of_each_message(
    histories: list[tuple[int, str]], before: str, memberships: list[tuple[int, str]]
) -> None:
    histories.sort()
    memberships.sort()
    history = RoomHistory([o for o, _ in histories], [v for _, v in histories], before)
    reader = Reader(
        "@alice:one.example", history, [p for p, _ in memberships], [m for _, m in memberships]
    )
    taken = {place for place, _ in (*histories, *memberships)}

    ranges = reader.visible_ranges()

    for order in range(-3, 45):
        if order not in taken:  # a message has a place of its own
            within = any(after < order <= upto for after, upto in ranges)
            assert within == reader.may_see(a_message(order)), (order, ranges)
