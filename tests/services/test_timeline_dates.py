"""Finding events by their dates, on a real database."""

from __future__ import annotations

import pytest

from homeserver.errors import NotFound
from homeserver.services.rooms import Draft
from homeserver.services.timeline_dates import DateQuery
from homeserver.services.visibility import Reader
from homeserver.storage.sync import EventTime
from tests.services.reading_world import Client, ReadingWorld

DAY_MS = 86_400_000


@pytest.fixture
async def room_id(world: ReadingWorld, alice: Client) -> str:
    return await world.room(alice.user_id, preset="public_chat")


async def lacks_history_before(world: ReadingWorld, event_id: str) -> None:
    """The event cites one that this instance does not have."""
    await world.database.execute(
        "INSERT INTO backward_extremities (room_id, event_id, successor_id)"
        " SELECT room_id, '$lacking', event_id FROM events WHERE event_id = $1",
        event_id,
    )


async def near(world: ReadingWorld, client: Client, room_id: str, ts: int, way: str) -> str:
    query = DateQuery(ts, forwards=way == "f")
    found = await world.reading.dates.event_near(client.user_id, room_id, query)
    return str(found["event_id"])


async def test_the_event_nearest_to_a_time(
    world: ReadingWorld, alice: Client, room_id: str
) -> None:
    sent = (await alice.say(room_id, "now")).event
    create = (await world.rooms.get(room_id)).state[("m.room.create", "")]

    assert await near(world, alice, room_id, sent.origin_server_ts + DAY_MS, "b") == sent.event_id
    assert await near(world, alice, room_id, 0, "f") == create
    for ts, way in ((sent.origin_server_ts + DAY_MS, "f"), (0, "b")):
        with pytest.raises(NotFound):
            await near(world, alice, room_id, ts, way)
    assert world.reading.elsewhere.asked == []  # all of the history is here


async def test_others_are_asked_for_what_is_next_to_a_gap_and_nowhere_else(
    world: ReadingWorld, alice: Client, room_id: str
) -> None:
    oldest = (await world.rooms.get(room_id)).state[("m.room.create", "")]
    await lacks_history_before(world, oldest)
    sent = (await alice.say(room_id, "now")).event
    asked = world.reading.elsewhere.asked

    after = await near(world, alice, room_id, sent.origin_server_ts + DAY_MS, "b")
    assert (after, asked) == (sent.event_id, [])
    assert await near(world, alice, room_id, 5, "f") == oldest
    with pytest.raises(NotFound):
        await near(world, alice, room_id, 6, "b")
    assert asked == [5, 6]


async def test_what_others_know_is_fetched_if_it_is_nearer(
    world: ReadingWorld, alice: Client, room_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest = (await world.rooms.get(room_id)).state[("m.room.create", "")]
    await lacks_history_before(world, oldest)
    fetched: list[str] = []

    async def fetch_older(room_id: str, reader: Reader, _limit: int) -> Reader | None:
        fetched.append(room_id)
        return reader if len(fetched) < 3 else None

    monkeypatch.setattr(world.reading.timeline, "fetch_older", fetch_older)
    elsewhere = world.reading.elsewhere

    elsewhere.known = EventTime("$earlier", 4)  # not after 5
    await near(world, alice, room_id, 5, "f")
    assert fetched == []
    elsewhere.known = EventTime("$later", 6)
    await near(world, alice, room_id, 5, "f")
    assert len(fetched) == 3  # as long as something came


async def test_a_stranger_has_nobody_asked(
    world: ReadingWorld, alice: Client, room_id: str
) -> None:
    oldest = (await world.rooms.get(room_id)).state[("m.room.create", "")]
    await lacks_history_before(world, oldest)
    bob = await world.client("bob")
    await world.membership.join(bob.user_id, room_id)
    await world.membership.leave(bob.user_id, room_id)

    with pytest.raises(NotFound):
        await near(world, bob, room_id, 5, "b")
    assert world.reading.elsewhere.asked == []


async def test_what_a_reader_may_not_see_is_passed_over(
    world: ReadingWorld, alice: Client, room_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.services.timeline_dates.AT_ONCE", 2)
    bob, start = await world.client("bob"), 2_000_000_000_000

    async def say(ts: int) -> str:
        content = {"msgtype": "m.text", "body": "x"}
        draft = Draft(alice.user_id, "m.room.message", content, origin_server_ts=ts)
        return (await world.rooms.send(room_id, draft)).event.event_id

    content = {"history_visibility": "joined"}
    await alice.set_state(room_id, "m.room.history_visibility", content)
    for number in range(5):
        await say(start + number)
    await world.membership.join(bob.user_id, room_id)
    seen = await say(start + 100)

    assert await near(world, bob, room_id, start, "f") == seen
