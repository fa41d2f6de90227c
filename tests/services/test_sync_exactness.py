"""What the specification says of syncing, sentence by sentence, where it is easily missed."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.events import JsonObject
from homeserver.services.creation import InitialState
from homeserver.services.rooms import Draft
from homeserver.services.sync_token import parse_timeline_token
from tests.services.reading_world import Client, ReadingWorld, bodies, state_of, types
from tests.services.test_timeline import messages

TOPIC = ("m.room.topic", "")


@pytest.fixture
async def room_id(world: ReadingWorld, alice: Client, bob: Client) -> str:
    room_id = await world.room(alice.user_id, preset="public_chat", name="Tea")
    await world.membership.join(bob.user_id, room_id)
    return room_id


@pytest.fixture(params=["from memory", "from the database"])
def memory(request: pytest.FixtureRequest, world: ReadingWorld) -> Any:
    """Forgets what is in memory, in one of two runs of a test."""
    return (lambda: None) if request.param == "from memory" else world.forget_memory


def filtered(client: Client, **room: Any) -> None:
    """The client's filter from now on."""
    client.filter = client.filter.parse({"room": room})


def members(part: JsonObject, section: str = "state") -> set[str]:
    """Whose member events a part has."""
    return {key[1] for key in state_of(part, section) if key[0] == "m.room.member"}


# ---------------------------------------------------------------- gaps


async def test_a_gap_of_everything_is_filled_from_its_end(
    alice: Client, bob: Client, room_id: str, memory: Any
) -> None:
    await bob.sync()
    since = bob.token
    assert since is not None
    for text in ("one", "two"):
        await alice.say(room_id, text)
    memory()
    filtered(bob, timeline={"limit": 0})

    timeline = (await bob.joined(room_id))["timeline"]
    page = await messages(
        bob,
        room_id,
        start=parse_timeline_token(timeline["prev_batch"]),
        stop=parse_timeline_token(since),
    )

    assert (timeline["events"], timeline["limited"]) == ([], True)
    assert [event["content"]["body"] for event in page["chunk"]] == ["two", "one"]


async def test_the_previous_batch_of_a_whole_timeline_is_where_the_client_was(
    alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    since = bob.token
    assert since is not None
    await alice.say(room_id, "one")

    timeline = (await bob.joined(room_id))["timeline"]
    page = await messages(
        bob,
        room_id,
        start=parse_timeline_token(timeline["prev_batch"]),
        stop=parse_timeline_token(since),
    )

    assert (timeline["limited"], page["chunk"]) == (False, [])


async def test_state_that_the_filter_leaves_out_between_two_messages_is_in_the_state(
    alice: Client, bob: Client, room_id: str, memory: Any
) -> None:
    filtered(bob, timeline={"types": ["m.room.message"]})
    await bob.sync()
    await alice.say(room_id, "one")
    await alice.set_state(room_id, "m.room.topic", {"topic": "between"})
    await alice.say(room_id, "two")
    memory()

    part = await bob.joined(room_id)

    assert bodies(part) == ["one", "two"]
    assert state_of(part) == {TOPIC: {"topic": "between"}}


async def test_of_state_that_changed_in_a_gap_and_after_it_the_older_one_is_in_the_state(
    alice: Client, bob: Client, room_id: str, memory: Any
) -> None:
    await bob.sync()
    await alice.set_state(room_id, "m.room.topic", {"topic": "first"})
    await alice.say(room_id, "in the gap")
    await alice.set_state(room_id, "m.room.topic", {"topic": "second"})
    memory()
    filtered(bob, timeline={"limit": 1})

    part = await bob.joined(room_id)

    assert types(part) == ["m.room.topic"]
    assert state_of(part) == {TOPIC: {"topic": "first"}}


async def test_the_state_after_has_what_the_timeline_has_too(
    alice: Client, bob: Client, room_id: str, memory: Any
) -> None:
    bob.use_state_after = True
    await bob.sync()
    await alice.say(room_id, "one")
    await alice.set_state(room_id, "m.room.topic", {"topic": "shown"})
    memory()

    part = await bob.joined(room_id)

    assert "state" not in part
    assert state_of(part, "state_after") == {TOPIC: {"topic": "shown"}}


async def test_the_state_after_is_there_even_if_it_is_empty(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    bob.use_state_after = True
    await bob.sync()
    await alice.say(room_id, "one")
    joined = await bob.joined(room_id)
    await world.membership.leave(bob.user_id, room_id)
    left = (await bob.sync())["rooms"]["leave"][room_id]

    assert joined["state_after"] == {"events": []}
    assert ("state_after" in left, "state" in left) == (True, False)


# ---------------------------------------------------------------- lazy loading


async def test_members_who_changed_in_a_gap_come_though_they_said_nothing(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str, memory: Any
) -> None:
    filtered(bob, state={"lazy_load_members": True}, timeline={"limit": 1})
    carol = await world.client("carol")
    await world.membership.join(carol.user_id, room_id)
    await bob.sync()
    await world.membership.leave(carol.user_id, room_id)
    await alice.say(room_id, "one")
    await alice.say(room_id, "two")
    memory()

    part = await bob.joined(room_id)

    assert part["timeline"]["limited"]
    assert state_of(part)[("m.room.member", carol.user_id)]["membership"] == "leave"


async def test_the_reader_themself_is_among_the_members_when_they_join(
    world: ReadingWorld, alice: Client, room_id: str
) -> None:
    carol = await world.client("carol")
    filtered(carol, state={"lazy_load_members": True}, timeline={"limit": 1})
    await carol.sync()
    await world.membership.join(carol.user_id, room_id)
    await alice.say(room_id, "welcome")

    part = await carol.joined(room_id)

    assert {alice.user_id, carol.user_id} <= members(part)


async def test_the_reader_is_among_the_members_when_the_full_state_is_asked_for(
    bob: Client, room_id: str
) -> None:
    filtered(bob, state={"lazy_load_members": True})
    await bob.sync()

    part = await bob.joined(room_id, full_state=True)

    assert bob.user_id in members(part)


async def test_redundant_members_are_sent_again_if_asked_for(
    alice: Client, bob: Client, room_id: str
) -> None:
    lazily = {"lazy_load_members": True, "include_redundant_members": True}
    filtered(bob, state=lazily)
    await bob.sync()
    await alice.say(room_id, "one")
    first = await bob.joined(room_id)
    await alice.say(room_id, "two")
    second = await bob.joined(room_id)

    assert members(first) == members(second) == {alice.user_id}


async def test_members_after_whom_a_room_is_named_are_among_those_sent(
    world: ReadingWorld, alice: Client
) -> None:
    bob = await world.client("bob")
    room_id = await world.room(alice.user_id, preset="public_chat")
    for name in ("carol", "dave"):
        friend = await world.client(name)
        await world.membership.join(friend.user_id, room_id)
    filtered(bob, state={"lazy_load_members": True}, timeline={"limit": 1})
    await bob.sync()
    await world.membership.join(bob.user_id, room_id)

    part = await bob.joined(room_id)

    assert set(part["summary"]["m.heroes"]) <= members(part)


# ---------------------------------------------------------------- summaries


async def test_a_room_that_loses_its_name_is_named_after_its_members_from_then_on(
    alice: Client, bob: Client, room_id: str, memory: Any
) -> None:
    before = await bob.joined(room_id)
    await alice.set_state(room_id, "m.room.name", {})
    memory()

    after = await bob.joined(room_id)

    assert "m.heroes" not in before["summary"]
    assert after["summary"]["m.heroes"] == [alice.user_id]


async def test_counts_of_members_are_told_when_they_change_and_not_else(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    first = await bob.joined(room_id)
    await alice.say(room_id, "one")
    quiet = await bob.joined(room_id)
    carol = await world.client("carol")
    await world.membership.invite(alice.user_id, room_id, carol.user_id)
    invited = await bob.joined(room_id)

    counts = {"m.joined_member_count": 2, "m.invited_member_count": 0}
    assert (first["summary"], quiet["summary"]) == (counts, {})
    assert invited["summary"] == {**counts, "m.invited_member_count": 1}


async def test_nobody_is_counted_who_is_not_yet_told_of(
    world: ReadingWorld, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await world.room(alice.user_id, preset="public_chat")
    summaries = world.reading.summaries
    read = summaries.get

    async def read_late(wanted: str) -> Any:
        await world.membership.join(bob.user_id, room_id)
        return await read(wanted)

    with monkeypatch.context() as late:
        late.setattr(summaries, "get", read_late)
        first = await alice.joined(room_id)
    second = await alice.joined(room_id)

    members = {e["state_key"] for e in first["timeline"]["events"] if e["type"] == "m.room.member"}
    assert members == {alice.user_id}
    assert first["summary"] == {}
    assert second["summary"]["m.joined_member_count"] == 2


async def test_who_is_left_alone_is_told_of_those_who_were_there(
    world: ReadingWorld, alice: Client
) -> None:
    bob = await world.client("bob")
    room_id = await world.room(alice.user_id, preset="public_chat")
    await world.membership.join(bob.user_id, room_id)
    await world.membership.leave(bob.user_id, room_id)

    part = await alice.joined(room_id)

    assert part["summary"] == {
        "m.heroes": [bob.user_id],
        "m.joined_member_count": 1,
        "m.invited_member_count": 0,
    }


# ---------------------------------------------------------------- rooms that are left


@pytest.mark.parametrize("membership", ["leave", "ban"])
async def test_who_is_removed_is_told_so_and_by_whom(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str, membership: str, memory: Any
) -> None:
    await bob.sync()
    await alice.say(room_id, "goodbye")
    content = {"membership": membership, "reason": "enough"}
    draft = Draft(alice.user_id, "m.room.member", content, bob.user_id)
    await world.rooms.send_state(room_id, draft)
    await alice.say(room_id, "he is gone")
    memory()

    answer = await bob.sync()
    part = answer["rooms"]["leave"][room_id]
    again = await bob.sync()

    assert "join" not in answer["rooms"]
    assert [event["sender"] for event in part["timeline"]["events"]] == [alice.user_id] * 2
    assert part["timeline"]["events"][-1]["content"]["reason"] == "enough"
    assert "rooms" not in again


@pytest.mark.parametrize("visibility", ["world_readable", "invited"])
async def test_an_invite_to_a_room_where_much_is_said_is_taken_back(
    world: ReadingWorld, alice: Client, bob: Client, visibility: str
) -> None:
    setting = InitialState("m.room.history_visibility", "", {"history_visibility": visibility})
    room_id = await world.room(alice.user_id, preset="private_chat", initial_state=[setting])
    await bob.sync()
    await world.membership.invite(alice.user_id, room_id, bob.user_id)
    await alice.say(room_id, "he is invited")
    await alice.set_state(room_id, "m.room.topic", {"topic": "tea"})
    await world.membership.kick(alice.user_id, room_id, bob.user_id)

    part = (await bob.sync())["rooms"]["leave"][room_id]

    shown = [(e["type"], e["content"]["membership"]) for e in part["timeline"]["events"]]
    assert shown[-1] == ("m.room.member", "leave")
    assert {kind for kind, _ in shown} == {"m.room.member"}


async def test_archived_rooms_come_with_what_their_reader_attached_to_them(
    world: ReadingWorld, bob: Client, room_id: str
) -> None:
    await world.account_data.put_managed(
        bob.user_id, "m.tag", {"tags": {"u.old": {}}}, room_id=room_id
    )
    await world.membership.leave(bob.user_id, room_id)
    filtered(bob, include_leave=True)

    part = (await bob.sync())["rooms"]["leave"][room_id]

    assert part["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {"u.old": {}}}}]


async def test_a_room_left_and_joined_between_two_syncs_is_joined(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str, memory: Any
) -> None:
    await bob.sync()
    await world.membership.leave(bob.user_id, room_id)
    await alice.set_state(room_id, "m.room.topic", {"topic": "meanwhile"})
    await world.membership.join(bob.user_id, room_id)
    memory()

    answer = await bob.sync()
    part = answer["rooms"]["join"][room_id]

    assert "leave" not in answer["rooms"]
    assert (state_of(part) | state_of(part, "timeline"))[TOPIC] == {"topic": "meanwhile"}


# ---------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("event_filter", "expected"),
    [
        ({"types": ["m.room.*"]}, ["m.room.message", "m.room.topic"]),
        ({"types": ["m.*", "org.*"], "not_types": ["m.room.t*"]}, ["m.room.message", "org.x"]),
        ({"not_types": ["*"]}, []),
        ({"types": []}, []),
        ({"senders": ["@bob:one.example"]}, []),
        ({"senders": ["@alice:one.example"], "not_senders": ["@alice:one.example"]}, []),
        ({"contains_url": True}, ["org.x"]),
        ({"contains_url": False}, ["m.room.message", "m.room.topic"]),
        ({"rooms": ["!elsewhere:one.example"]}, []),
        ({"limit": 2}, ["m.room.topic", "org.x"]),
        ({"limit": 0}, []),
    ],
)
async def test_the_timeline_has_what_its_filter_lets_through(
    alice: Client,
    bob: Client,
    room_id: str,
    event_filter: JsonObject,
    expected: list[str],
    memory: Any,
) -> None:
    await bob.sync()
    await alice.say(room_id, "one")
    await alice.set_state(room_id, "m.room.topic", {"topic": "two"})
    await alice.set_state(room_id, "org.x", {"url": "mxc://one.example/x"})
    memory()
    filtered(bob, timeline=event_filter)

    part = (await bob.sync()).get("rooms", {}).get("join", {}).get(room_id)

    assert (types(part) if part is not None else []) == expected


@pytest.mark.parametrize("excluding", [{"rooms": []}, {"not_rooms": True}])
async def test_a_room_that_is_filtered_out_is_not_in_the_answer_at_all(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str, excluding: JsonObject
) -> None:
    invited = await world.room(alice.user_id)
    await world.membership.invite(alice.user_id, invited, bob.user_id)
    key = next(iter(excluding))
    filtered(bob, **{key: [room_id, invited] if key == "not_rooms" else []})

    assert "rooms" not in await bob.sync()


async def test_the_filter_of_state_is_not_that_of_the_timeline(
    alice: Client, bob: Client, room_id: str
) -> None:
    filtered(bob, state={"types": ["m.room.create"]}, timeline={"types": ["m.room.message"]})
    await alice.say(room_id, "one")

    part = await bob.joined(room_id)

    assert list(state_of(part)) == [("m.room.create", "")]
    assert types(part) == ["m.room.message"]


async def test_account_data_is_filtered_by_type_in_rooms_and_outside(
    world: ReadingWorld, bob: Client, room_id: str
) -> None:
    for type_ in ("a.one", "b.two"):
        await world.account_data.put_managed(bob.user_id, type_, {})
        await world.account_data.put_managed(bob.user_id, type_, {}, room_id=room_id)
    only_a = {"types": ["a.*"]}
    bob.filter = bob.filter.parse({"account_data": only_a, "room": {"account_data": only_a}})

    answer = await bob.sync()

    part = answer["rooms"]["join"][room_id]
    assert [event["type"] for event in answer["account_data"]["events"]] == ["a.one"]
    assert [event["type"] for event in part["account_data"]["events"]] == ["a.one"]
