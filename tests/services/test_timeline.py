"""Reading rooms' history and state, on a real database."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import RoomEventFilter
from homeserver.services.creation import InitialState
from homeserver.services.requester import Requester
from homeserver.services.rooms import Draft
from homeserver.services.sync_token import SyncToken, parse_timeline_token
from homeserver.services.timeline import PageRequest
from tests.services.reading_world import Client, ReadingWorld


@pytest.fixture
async def room_id(world: ReadingWorld, alice: Client, bob: Client) -> str:
    room_id = await world.room(alice.user_id, preset="public_chat", name="Tea")
    await world.membership.join(bob.user_id, room_id)
    return room_id


def requester(client: Client) -> Requester:
    return Requester(client.user_id, client.device_id)


def decoded(value: Any) -> Any:
    """What a client reads."""
    return orjson.loads(orjson.dumps(value))


async def messages(client: Client, room_id: str, **request: Any) -> JsonObject:
    """A page of history, as the client reads it."""
    page = PageRequest(request.pop("backwards", True), **request)
    answer: JsonObject = decoded(
        await client.world.reading.timeline.messages(requester(client), room_id, page)
    )
    return answer


def bodies(events: list[JsonObject]) -> list[str]:
    return [event["content"]["body"] for event in events if "body" in event["content"]]


async def test_pages_follow_each_other_to_the_beginning(
    alice: Client, bob: Client, room_id: str
) -> None:
    for number in range(25):
        await alice.say(room_id, str(number))

    found: list[JsonObject] = []
    point: int | None = None
    while True:
        page = await messages(bob, room_id, start=point, limit=7)
        found += page["chunk"]
        if "end" not in page:
            break
        point = parse_timeline_token(page["end"])

    assert bodies(found) == [str(number) for number in reversed(range(25))]
    assert found[-1]["type"] == "m.room.create"
    assert found[0]["room_id"] == room_id
    assert found[0]["unsigned"]["membership"] == "join"


async def test_forwards_from_the_beginning_ends_with_the_newest(
    alice: Client, bob: Client, room_id: str
) -> None:
    for number in range(5):
        await alice.say(room_id, str(number))

    page = await messages(bob, room_id, backwards=False, limit=100)

    assert bodies(page["chunk"]) == ["0", "1", "2", "3", "4"]
    assert "end" not in page


async def test_a_filter_and_its_lazy_members_are_kept_to(
    alice: Client, bob: Client, room_id: str
) -> None:
    await alice.say(room_id, "hers")
    await bob.say(room_id, "his")
    only = RoomEventFilter.parse({"senders": [str(alice.user_id)], "lazy_load_members": True})

    page = await messages(bob, room_id, limit=3, filter=only)

    assert {event["sender"] for event in page["chunk"]} == {alice.user_id}
    assert [event["state_key"] for event in page["state"]] == [alice.user_id]


async def test_a_stranger_may_not_read(world: ReadingWorld, room_id: str) -> None:
    carol = await world.client("carol")

    with pytest.raises(Forbidden):
        await messages(carol, room_id)


async def test_who_left_reads_up_to_their_leave(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await alice.say(room_id, "before")
    await world.membership.leave(bob.user_id, room_id)
    await alice.say(room_id, "after")
    await alice.set_state(room_id, "m.room.topic", {"topic": "after"})

    page = await messages(bob, room_id)
    state = decoded(await world.reading.timeline_state.state(requester(bob), room_id))

    assert bodies(page["chunk"]) == ["before"]
    assert "m.room.topic" not in {event["type"] for event in state}


async def test_who_forgot_a_room_reads_nothing(
    world: ReadingWorld, bob: Client, room_id: str
) -> None:
    await world.membership.leave(bob.user_id, room_id)
    await world.membership.forget(bob.user_id, room_id)

    with pytest.raises(Forbidden):
        await messages(bob, room_id)


@pytest.mark.parametrize(
    ("visibility", "seen"),
    [
        ("world_readable", ["before the invite", "invited", "joined"]),
        ("shared", ["before the invite", "invited", "joined"]),
        ("invited", ["invited", "joined"]),
        ("joined", ["joined"]),
    ],
)
async def test_history_visibility_decides_what_a_newcomer_sees(
    world: ReadingWorld, alice: Client, visibility: str, seen: list[str]
) -> None:
    carol = await world.client("carol")
    room_id = await world.room(
        alice.user_id,
        initial_state=[
            InitialState("m.room.history_visibility", "", {"history_visibility": visibility})
        ],
    )
    await alice.say(room_id, "before the invite")
    await world.membership.invite(alice.user_id, room_id, carol.user_id)
    await alice.say(room_id, "invited")
    await world.membership.join(carol.user_id, room_id)
    await alice.say(room_id, "joined")

    page = await messages(carol, room_id, backwards=False, limit=100)
    synced = await carol.joined(room_id)

    assert bodies(page["chunk"]) == seen
    assert bodies(synced["timeline"]["events"]) == seen


async def test_visibility_counts_as_it_was_when_the_event_was_sent(
    world: ReadingWorld, alice: Client
) -> None:
    room_id = await world.room(alice.user_id, preset="public_chat")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    await alice.say(room_id, "secret")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "shared"})
    await alice.say(room_id, "open")
    carol = await world.client("carol")
    await world.membership.join(carol.user_id, room_id)

    page = await messages(carol, room_id, limit=100)

    assert bodies(page["chunk"]) == ["open"]
    visibilities = [e for e in page["chunk"] if e["type"] == "m.room.history_visibility"]
    assert len(visibilities) == 3


async def test_a_stranger_reads_a_world_readable_room(world: ReadingWorld, alice: Client) -> None:
    room_id = await world.room(alice.user_id, preset="public_chat")
    await alice.say(room_id, "hidden")
    await alice.set_state(
        room_id, "m.room.history_visibility", {"history_visibility": "world_readable"}
    )
    await alice.say(room_id, "for all")
    carol = await world.client("carol")

    page = await messages(carol, room_id)

    assert bodies(page["chunk"]) == ["for all"]


async def test_the_context_of_an_event(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    sent = [await alice.say(room_id, str(number)) for number in range(7)]

    found = decoded(
        await world.reading.timeline.context(
            requester(bob), room_id, sent[3].event.event_id, 4, RoomEventFilter()
        )
    )
    older = await messages(bob, room_id, start=parse_timeline_token(found["start"]), limit=1)
    newer = await messages(
        bob, room_id, start=parse_timeline_token(found["end"]), limit=1, backwards=False
    )

    assert bodies([found["event"]]) == ["3"]
    assert bodies(found["events_before"]) == ["2", "1"]
    assert bodies(found["events_after"]) == ["4", "5"]
    assert bodies(older["chunk"]) == ["0"]
    assert bodies(newer["chunk"]) == ["6"]
    assert "m.room.create" in {event["type"] for event in found["state"]}


async def test_one_event_and_what_may_not_be_seen(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    sent = await alice.say(room_id, "mine")
    other = await world.room(alice.user_id)
    elsewhere = await alice.say(other, "elsewhere")
    timeline = world.reading.timeline

    found = decoded(await timeline.event(requester(alice), room_id, sent.event.event_id))

    assert found["unsigned"]["transaction_id"] == "txn1"
    for room, event_id in (
        (room_id, "$nothing"),
        (room_id, elsewhere.event.event_id),
    ):
        with pytest.raises(NotFound):
            await timeline.event(requester(bob), room, event_id)


async def test_members_by_membership_and_at_a_point(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    answer = await bob.sync()
    await world.membership.leave(bob.user_id, room_id)
    read = world.reading.timeline_state.members

    async def members(**asked: Any) -> dict[str, str]:
        full = {"at": None, "membership": None, "not_membership": None, **asked}
        events = decoded(await read(requester(alice), room_id, **full))
        return {event["state_key"]: event["content"]["membership"] for event in events}

    assert await members() == {alice.user_id: "join", bob.user_id: "leave"}
    assert await members(membership="join") == {alice.user_id: "join"}
    assert await members(not_membership="join") == {bob.user_id: "leave"}
    assert await members(at=parse_timeline_token(answer["next_batch"]), membership="join") == {
        alice.user_id: "join",
        bob.user_id: "join",
    }


async def test_state_by_key_joined_members_and_joined_rooms(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    state = world.reading.timeline_state

    content, event = await state.state_event(requester(bob), room_id, "m.room.name", "")
    joined = await state.joined_members(requester(bob), room_id)

    assert content == {"name": "Tea"}
    assert decoded(event)["sender"] == alice.user_id
    assert set(joined["joined"]) == {alice.user_id, bob.user_id}
    assert await state.joined_rooms(bob.user_id) == [room_id]
    with pytest.raises(NotFound):
        await state.state_event(requester(bob), room_id, "m.room.name", "other")


async def test_soft_failed_events_never_show(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    sent = await alice.say(room_id, "spam")
    await world.database.execute(
        "UPDATE events SET soft_failed = true WHERE event_id = $1", sent.event.event_id
    )
    world.store.forget(sent.event.event_id)
    world.forget_memory()

    page = await messages(bob, room_id)

    assert bodies(page["chunk"]) == []
    assert bodies((await bob.joined(room_id))["timeline"]["events"]) == []


async def test_redactions_show_in_history(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    sent = await alice.say(room_id, "oops")
    await messages(bob, room_id)
    await world.rooms.send(
        room_id,
        Draft(alice.user_id, "m.room.redaction", {"redacts": sent.event.event_id}),
    )

    page = await messages(bob, room_id, limit=2)

    assert page["chunk"][1]["content"] == {}
    assert page["chunk"][1]["unsigned"]["redacted_because"]["type"] == "m.room.redaction"


@pytest.mark.parametrize(
    "text", ["", "x", "s1", "t", "t1.5", "s1_2_3_4_5", "s-1_0_0", "t" + "9" * 30]
)
def test_a_token_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(InvalidParam):
        SyncToken.parse(text)
    with pytest.raises(InvalidParam):
        parse_timeline_token(text)


def test_tokens_survive_the_way_to_the_client() -> None:
    for token in (SyncToken(5, 6, 7, 5), SyncToken(9, 6, 7, 3)):
        assert SyncToken.parse(str(token)) == token
        assert parse_timeline_token(str(token)) == token.position
