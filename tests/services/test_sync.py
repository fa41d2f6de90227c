"""What syncs say, on a real database."""

from __future__ import annotations

import asyncio

import pytest

from homeserver.protocol.filters import SyncFilter
from homeserver.services.rooms import Draft
from tests.services.reading_world import Client, ReadingWorld, bodies, state_of, types


@pytest.fixture
async def room_id(world: ReadingWorld, alice: Client, bob: Client) -> str:
    room_id = await world.room(alice.user_id, preset="public_chat", name="Tea")
    await world.membership.join(bob.user_id, room_id)
    return room_id


async def test_an_initial_sync_has_the_room_and_its_state(
    alice: Client, bob: Client, room_id: str
) -> None:
    for number in range(30):
        await alice.say(room_id, str(number))

    part = await bob.joined(room_id)

    assert bodies(part) == [str(number) for number in range(10, 30)]
    assert part["timeline"]["limited"] is True
    assert state_of(part)[("m.room.name", "")] == {"name": "Tea"}
    assert state_of(part)[("m.room.member", bob.user_id)]["membership"] == "join"
    assert part["summary"]["m.joined_member_count"] == 2
    assert part["unread_notifications"] == {"highlight_count": 0, "notification_count": 30}


async def test_state_is_as_it_was_at_the_start_of_the_timeline(
    alice: Client, bob: Client, room_id: str
) -> None:
    await alice.set_state(room_id, "m.room.topic", {"topic": "old"})
    await alice.say(room_id, "first")
    await alice.set_state(room_id, "m.room.topic", {"topic": "new"})
    await alice.say(room_id, "last")
    bob.filter = _limit(3)

    part = await bob.joined(room_id)

    assert types(part) == ["m.room.message", "m.room.topic", "m.room.message"]
    assert state_of(part)[("m.room.topic", "")] == {"topic": "old"}


async def test_state_after_is_as_it_is_at_the_end(alice: Client, bob: Client, room_id: str) -> None:
    bob.use_state_after = True
    await bob.sync()
    await alice.set_state(room_id, "m.room.topic", {"topic": "new"})
    await alice.say(room_id, "last")

    part = await bob.joined(room_id)

    assert "state" not in part
    assert state_of(part, "state_after") == {("m.room.topic", ""): {"topic": "new"}}


async def test_a_waiting_sync_is_woken_by_a_message_and_asks_the_database_nothing(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    await alice.say(room_id, "warm")
    await bob.sync()
    waiting = asyncio.create_task(bob.joined(room_id, timeout_ms=10_000))
    await world.until_waiting()

    await alice.say(room_id, "hello")
    world.queries.count = 0
    part = await waiting

    assert bodies(part) == ["hello"]
    assert part["timeline"]["limited"] is False
    assert world.queries.count == 0


async def test_a_sync_without_news_waits_until_the_timeout(bob: Client, room_id: str) -> None:
    await bob.sync()

    answer = await asyncio.wait_for(bob.sync(timeout_ms=100), 30)

    assert "rooms" not in answer


async def test_messages_that_come_together_come_in_one_answer(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    waiting = asyncio.create_task(bob.joined(room_id, timeout_ms=10_000))
    await world.until_waiting()

    await asyncio.gather(*(alice.say(room_id, str(number)) for number in range(5)))

    assert sorted(bodies(await waiting)) == ["0", "1", "2", "3", "4"]


async def test_a_gap_has_a_limited_timeline_and_the_state_that_changed_in_it(
    alice: Client, bob: Client, room_id: str
) -> None:
    bob.filter = _limit(2)
    await bob.sync()
    await alice.set_state(room_id, "m.room.topic", {"topic": "in the gap"})
    for number in range(5):
        await alice.say(room_id, str(number))

    part = await bob.joined(room_id)

    assert bodies(part) == ["3", "4"]
    assert part["timeline"]["limited"] is True
    assert state_of(part) == {("m.room.topic", ""): {"topic": "in the gap"}}


@pytest.mark.parametrize("remembered", [True, False])
async def test_an_old_token_is_answered_from_the_database(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str, remembered: bool
) -> None:
    bob.filter = _limit(2)
    await bob.sync()
    await alice.set_state(room_id, "m.room.topic", {"topic": "in the gap"})
    for number in range(5):
        await alice.say(room_id, str(number))
    if not remembered:
        world.forget_memory()

    part = await bob.joined(room_id)

    assert bodies(part) == ["3", "4"]
    assert state_of(part) == {("m.room.topic", ""): {"topic": "in the gap"}}
    assert part["unread_notifications"]["notification_count"] == 5


async def test_the_sending_device_gets_its_transaction_id(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    tablet = await world.client("alice", "TABLET")
    for client in (alice, bob, tablet):
        await client.sync()
    await alice.say(room_id, "mine")

    unsigned = {
        client: (await client.joined(room_id))["timeline"]["events"][0]["unsigned"]
        for client in (alice, bob, tablet)
    }

    assert unsigned[alice]["transaction_id"] == "txn1"
    assert "transaction_id" not in unsigned[bob]
    assert "transaction_id" not in unsigned[tablet]
    assert unsigned[bob]["membership"] == "join"


async def test_a_redacted_message_is_empty_and_says_why(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    sent = await alice.say(room_id, "oops")
    await world.rooms.send(
        room_id,
        Draft(
            alice.user_id,
            "m.room.redaction",
            {"redacts": sent.event.event_id, "reason": "typo"},
        ),
    )

    events = (await bob.joined(room_id))["timeline"]["events"]

    assert events[-2]["content"] == {}
    assert events[-2]["unsigned"]["redacted_because"]["content"]["reason"] == "typo"
    assert events[-1]["redacts"] == sent.event.event_id


async def test_a_state_event_says_what_it_replaced(
    alice: Client, bob: Client, room_id: str
) -> None:
    old = await alice.set_state(room_id, "m.room.topic", {"topic": "old"})
    await bob.sync()
    await alice.set_state(room_id, "m.room.topic", {"topic": "new"})

    event = (await bob.joined(room_id))["timeline"]["events"][0]

    assert event["unsigned"]["prev_content"] == {"topic": "old"}
    assert event["unsigned"]["replaces_state"] == old


async def test_a_newly_joined_room_comes_with_its_whole_state(
    world: ReadingWorld, alice: Client, room_id: str
) -> None:
    carol = await world.client("carol")
    await carol.sync()
    await alice.say(room_id, "before")
    await world.membership.join(carol.user_id, room_id)

    part = await carol.joined(room_id)

    assert "before" in bodies(part)
    assert ("m.room.create", "") in state_of(part) or types(part)[0] == "m.room.create"
    assert part["summary"]["m.joined_member_count"] == 3


async def test_coming_back_after_a_gap_gives_the_whole_state_again(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    bob.filter = _limit(1)
    await bob.sync()
    await world.membership.leave(bob.user_id, room_id)
    await alice.set_state(room_id, "m.room.topic", {"topic": "while away"})
    await world.membership.join(bob.user_id, room_id)

    part = await bob.joined(room_id)

    assert state_of(part)[("m.room.topic", "")] == {"topic": "while away"}
    assert state_of(part)[("m.room.name", "")] == {"name": "Tea"}


async def test_a_left_room_is_told_once_and_only_up_to_the_leave(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    await alice.say(room_id, "goodbye")
    await world.membership.kick(alice.user_id, room_id, bob.user_id, "late")
    await alice.say(room_id, "he is gone")

    answer = await bob.sync()

    part = answer["rooms"]["leave"][room_id]
    assert "join" not in answer["rooms"]
    assert bodies(part) == ["goodbye"]
    assert types(part) == ["m.room.message", "m.room.member"]
    assert "rooms" not in await bob.sync()


async def test_what_happens_after_a_leave_is_not_told_with_a_later_ban(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    await world.membership.leave(bob.user_id, room_id)
    await bob.sync()
    await alice.set_state(room_id, "m.room.topic", {"topic": "secret"})
    await alice.say(room_id, "secret")
    await world.membership.set_membership(alice.user_id, room_id, bob.user_id, "ban")

    part = (await bob.sync())["rooms"]["leave"][room_id]
    bob.token = None
    bob.filter = SyncFilter.parse({"room": {"include_leave": True}})
    whole = (await bob.sync())["rooms"]["leave"][room_id]

    assert [e["content"]["membership"] for e in part["timeline"]["events"]] == ["ban"]
    assert part["state"]["events"] == []
    assert ("m.room.topic", "") not in state_of(whole)
    assert "m.room.topic" not in types(whole)
    assert bodies(whole) == []


@pytest.mark.parametrize("limit", [1, 20])
async def test_coming_back_goes_on_where_the_client_was(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str, limit: int
) -> None:
    bob.filter = _limit(limit)
    await alice.say(room_id, "known")
    await bob.sync()
    await world.membership.leave(bob.user_id, room_id)
    await alice.say(room_id, "while away")
    await world.membership.join(bob.user_id, room_id)

    part = await bob.joined(room_id)

    assert part["timeline"]["limited"] is (limit == 1)
    if limit > 1:
        assert bodies(part) == ["while away"]
        assert [event["type"] for event in part["timeline"]["events"]] == [
            "m.room.member",
            "m.room.message",
            "m.room.member",
        ]


async def test_left_rooms_are_in_an_initial_sync_if_asked_for(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await world.membership.leave(bob.user_id, room_id)
    await alice.say(room_id, "later")

    without = await bob.sync()
    bob.token = None
    bob.filter = bob.filter.parse({"room": {"include_leave": True}})
    part = (await bob.sync())["rooms"]["leave"][room_id]

    assert "rooms" not in without
    assert types(part)[-1] == "m.room.member"


async def test_a_forgotten_room_is_told_of_once_to_a_device_that_has_it(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    await alice.say(room_id, "no more")
    await world.membership.leave(bob.user_id, room_id)
    await world.membership.forget(bob.user_id, room_id)

    first = (await bob.sync())["rooms"]["leave"][room_id]
    second = await bob.sync()
    bob.token, bob.filter = None, bob.filter.parse({"room": {"include_leave": True}})
    anew = await bob.sync()

    assert types(first) == ["m.room.member"]
    assert state_of(first) == {}
    assert "rooms" not in second
    assert "rooms" not in anew


async def test_an_invite_comes_with_stripped_state_and_a_refusal_is_told(
    world: ReadingWorld, alice: Client, room_id: str
) -> None:
    carol = await world.client("carol")
    await carol.sync()
    waiting = asyncio.create_task(carol.sync(timeout_ms=10_000))
    await world.until_waiting()
    await world.membership.invite(alice.user_id, room_id, carol.user_id)

    events = (await waiting)["rooms"]["invite"][room_id]["invite_state"]["events"]
    await world.membership.leave(carol.user_id, room_id)
    answer = await carol.sync()

    assert {"m.room.create", "m.room.name", "m.room.member"} <= {e["type"] for e in events}
    assert types(answer["rooms"]["leave"][room_id]) == ["m.room.member"]


async def test_invites_and_messages_of_ignored_users_are_left_out(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    await world.account_data.put(
        bob.user_id, "m.ignored_user_list", {"ignored_users": {str(alice.user_id): {}}}
    )
    await bob.sync()
    other = await world.room(alice.user_id)
    await world.membership.invite(alice.user_id, other, bob.user_id)
    await alice.say(room_id, "you cannot hear me")
    await alice.set_state(room_id, "m.room.topic", {"topic": "but see this"})

    answer = await bob.sync()

    assert "invite" not in answer["rooms"]
    assert types(answer["rooms"]["join"][room_id]) == ["m.room.topic"]


async def test_members_are_loaded_lazily_and_once(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    carol = await world.client("carol")
    await world.membership.join(carol.user_id, room_id)
    for _ in range(3):
        await alice.say(room_id, "hello")
    bob.filter = bob.filter.parse(
        {"room": {"timeline": {"limit": 2}, "state": {"lazy_load_members": True}}}
    )

    first = await bob.joined(room_id)
    await alice.say(room_id, "again")
    again = await bob.joined(room_id)
    await carol.say(room_id, "me too")
    carols = await bob.joined(room_id)

    members = {key[1] for key in state_of(first) if key[0] == "m.room.member"}
    assert members == {alice.user_id, bob.user_id}
    assert again["state"]["events"] == []
    assert list(state_of(carols)) == [("m.room.member", carol.user_id)]


async def test_a_lost_answer_is_no_reason_to_leave_out_its_members(
    alice: Client, bob: Client, room_id: str
) -> None:
    bob.filter = bob.filter.parse(
        {"room": {"timeline": {"limit": 1}, "state": {"lazy_load_members": True}}}
    )
    await bob.say(room_id, "me")
    await bob.sync()
    token = bob.token
    await alice.say(room_id, "hello")

    lost = await bob.joined(room_id)
    again = await bob.joined(room_id, since=token)

    assert ("m.room.member", alice.user_id) in state_of(lost)
    assert ("m.room.member", alice.user_id) in state_of(again)


async def test_full_state_is_given_with_an_incremental_timeline(
    alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()

    part = await bob.joined(room_id, full_state=True)

    assert part["timeline"]["events"] == []
    assert ("m.room.create", "") in state_of(part)


async def test_a_filter_by_type_and_sender_is_kept_to(
    alice: Client, bob: Client, room_id: str
) -> None:
    bob.filter = bob.filter.parse(
        {"room": {"timeline": {"types": ["m.room.message"], "not_senders": [bob.user_id]}}}
    )
    await alice.say(room_id, "hers")
    await bob.say(room_id, "his")

    part = await bob.joined(room_id)

    assert bodies(part) == ["hers"]


async def test_state_events_that_the_timeline_leaves_out_are_in_the_state(
    alice: Client, bob: Client, room_id: str
) -> None:
    bob.filter = bob.filter.parse({"room": {"timeline": {"types": ["m.room.message"]}}})
    await bob.sync()
    await alice.set_state(room_id, "m.room.topic", {"topic": "filtered"})

    part = await bob.joined(room_id)

    assert part["timeline"]["events"] == []
    assert state_of(part) == {("m.room.topic", ""): {"topic": "filtered"}}


async def test_only_some_fields_or_the_federation_format(
    alice: Client, bob: Client, room_id: str
) -> None:
    await alice.say(room_id, "hello")
    bob.filter = bob.filter.parse({"event_fields": ["type", "content.body"]})
    fields = (await bob.joined(room_id))["timeline"]["events"][-1]
    bob.filter, bob.token = bob.filter.parse({"event_format": "federation"}), None
    pdu = (await bob.joined(room_id))["timeline"]["events"][-1]

    assert fields == {"type": "m.room.message", "content": {"body": "hello"}}
    assert "signatures" in pdu and "prev_events" in pdu


def _limit(limit: int) -> SyncFilter:
    return SyncFilter.parse({"room": {"timeline": {"limit": limit}}})
