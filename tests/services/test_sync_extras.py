"""What syncs bear besides room events."""

from __future__ import annotations

import asyncio

import pytest

from homeserver.protocol.filters import SyncFilter
from homeserver.services import notifier as notifier_module
from tests.services.doubles import device_keys
from tests.services.reading_world import Client, ReadingWorld


@pytest.fixture
async def room_id(world: ReadingWorld, alice: Client, bob: Client) -> str:
    room_id = await world.room(alice.user_id, preset="public_chat")
    await world.membership.join(bob.user_id, room_id)
    return room_id


async def test_typing_wakes_and_is_told_when_it_ends(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    waiting = asyncio.create_task(bob.joined(room_id, timeout_ms=10_000))
    await world.until_waiting()

    await world.typing.set_typing(room_id, alice.user_id, True)
    begun = (await waiting)["ephemeral"]["events"]
    quiet = await bob.sync()
    await world.typing.set_typing(room_id, alice.user_id, False)
    ended = (await bob.joined(room_id))["ephemeral"]["events"]

    assert begun == [{"type": "m.typing", "content": {"user_ids": [alice.user_id]}}]
    assert "rooms" not in quiet
    assert ended == [{"type": "m.typing", "content": {"user_ids": []}}]


async def test_receipts_are_told_and_private_ones_kept(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    sent = await bob.say(room_id, "hello")
    event_id = sent.event.event_id
    await alice.sync()
    await bob.sync()
    await world.receipts.send(room_id, alice.user_id, "m.read.private", event_id)

    mine = (await alice.joined(room_id))["ephemeral"]["events"]
    theirs = await bob.sync()
    await world.receipts.send(room_id, alice.user_id, "m.read", event_id)
    public = (await bob.joined(room_id))["ephemeral"]["events"]

    assert list(mine[0]["content"][event_id]) == ["m.read.private"]
    assert "rooms" not in theirs
    assert list(public[0]["content"][event_id]["m.read"]) == [alice.user_id]


@pytest.mark.parametrize("remembered", [True, False])
async def test_the_last_receipt_of_each_reader_is_told(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str, remembered: bool
) -> None:
    sent = [(await bob.say(room_id, str(number))).event.event_id for number in range(3)]
    for _ in range(2):
        await bob.sync()
    for event_id in (sent[0], sent[2], sent[1]):
        await world.receipts.send(room_id, alice.user_id, "m.read", event_id)
    if not remembered:
        world.forget_memory()
    world.queries.count = 0

    events = (await bob.joined(room_id))["ephemeral"]["events"]

    assert list(events[0]["content"]) == [sent[2]]
    assert (world.queries.count == 0) is remembered


async def test_an_initial_sync_has_receipts_and_typing(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    sent = await bob.say(room_id, "hello")
    await world.receipts.send(room_id, alice.user_id, "m.read", sent.event.event_id)
    await world.typing.set_typing(room_id, alice.user_id, True)

    events = (await bob.joined(room_id))["ephemeral"]["events"]

    assert {event["type"] for event in events} == {"m.typing", "m.receipt"}


async def test_a_filter_keeps_ephemeral_events_out(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    bob.filter = SyncFilter.parse({"room": {"ephemeral": {"types": []}}})
    await bob.sync()

    await world.typing.set_typing(room_id, alice.user_id, True)

    assert "rooms" not in await bob.sync()


async def test_account_data_is_told_globally_and_by_room(
    world: ReadingWorld, bob: Client, room_id: str
) -> None:
    first = await bob.sync()
    waiting = asyncio.create_task(bob.sync(timeout_ms=10_000))
    await world.until_waiting()
    await world.account_data.put(bob.user_id, "org.example.theme", {"dark": True})
    answer = await waiting
    await world.account_data.put(bob.user_id, "m.tag", {"tags": {}}, room_id=room_id)
    part = await bob.joined(room_id)

    assert [event["type"] for event in first["account_data"]["events"]] == ["m.push_rules"]
    assert answer["account_data"]["events"] == [
        {"type": "org.example.theme", "content": {"dark": True}}
    ]
    assert part["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {}}}]


async def test_push_rules_are_told_as_a_client_knows_them(
    world: ReadingWorld, bob: Client, room_id: str
) -> None:
    await bob.sync()
    await world.push_rules.put(
        bob.user_id, "room", room_id, {"actions": []}, before=None, after=None
    )

    event = (await bob.sync())["account_data"]["events"][0]

    assert event["type"] == "m.push_rules"
    assert event["content"]["global"]["room"][0]["rule_id"] == room_id


async def test_a_room_left_and_joined_again_brings_its_account_data(
    world: ReadingWorld, bob: Client, room_id: str
) -> None:
    await world.account_data.put(bob.user_id, "m.tag", {"tags": {}}, room_id=room_id)
    await world.membership.leave(bob.user_id, room_id)
    await bob.sync()
    await world.membership.join(bob.user_id, room_id)

    part = await bob.joined(room_id)

    assert part["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {}}}]


async def send_to_bob(world: ReadingWorld, alice: Client, bob: Client, txn_id: str) -> None:
    await world.to_device.send(
        alice.user_id,
        alice.device_id,
        "m.test",
        txn_id,
        {str(bob.user_id): {bob.device_id: {"number": txn_id}}},
    )


async def test_to_device_messages_come_again_until_they_are_acknowledged(
    world: ReadingWorld, alice: Client, bob: Client
) -> None:
    await bob.sync()
    before = bob.token
    waiting = asyncio.create_task(bob.sync(timeout_ms=10_000))
    await world.until_waiting()
    await send_to_bob(world, alice, bob, "1")

    first = (await waiting)["to_device"]["events"]
    again = (await bob.sync(since=before))["to_device"]["events"]
    after = await bob.sync()
    left = await world.database.fetchval("SELECT count(*) FROM to_device_messages")

    assert (
        first == again == [{"type": "m.test", "sender": alice.user_id, "content": {"number": "1"}}]
    )
    assert after["to_device"]["events"] == []
    assert left == 0


async def test_very_many_to_device_messages_come_in_several_answers(
    world: ReadingWorld, alice: Client, bob: Client
) -> None:
    await bob.sync()
    await asyncio.gather(*(send_to_bob(world, alice, bob, str(n)) for n in range(250)))

    sizes = [len((await bob.sync(timeout_ms=100))["to_device"]["events"]) for _ in range(4)]

    assert sizes == [100, 100, 50, 0]


async def test_new_keys_of_somebody_in_a_room_are_announced(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    stranger = await world.client("stranger")
    for client in (alice, bob, stranger):
        await client.sync()
    await world.keys.upload(
        alice.user_id,
        alice.device_id,
        device_keys=device_keys(str(alice.user_id), alice.device_id),
        one_time_keys={},
        fallback_keys={},
    )

    assert (await bob.sync())["device_lists"]["changed"] == [alice.user_id]
    assert "device_lists" not in await stranger.sync()


async def test_who_comes_and_goes_is_in_the_device_lists(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    carol = await world.client("carol")
    await bob.sync()
    await world.membership.join(carol.user_id, room_id)
    came = await bob.sync()
    await world.membership.leave(carol.user_id, room_id)
    went = await bob.sync()

    assert carol.user_id in came["device_lists"]["changed"]
    assert went["device_lists"]["left"] == [carol.user_id]


async def test_key_counts_follow_uploads_and_claims(world: ReadingWorld, bob: Client) -> None:
    keys = {
        f"signed_curve25519:AAAA{n}": {
            "key": "key",
            "signatures": {str(bob.user_id): {f"ed25519:{bob.device_id}": "signature"}},
        }
        for n in range(2)
    }
    before = await bob.sync()
    await world.keys.upload(
        bob.user_id, bob.device_id, device_keys=None, one_time_keys=keys, fallback_keys={}
    )
    uploaded = await bob.sync()
    await world.keys.claim_local({str(bob.user_id): {bob.device_id: "signed_curve25519"}})
    claimed = await bob.sync()

    assert before["device_one_time_keys_count"] == {"signed_curve25519": 0}
    assert uploaded["device_one_time_keys_count"] == {"signed_curve25519": 2}
    assert claimed["device_one_time_keys_count"] == {"signed_curve25519": 1}
    assert claimed["device_unused_fallback_key_types"] == []


async def test_presence_of_those_who_share_a_room_is_told(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    waiting = asyncio.create_task(bob.sync(timeout_ms=10_000))
    await world.until_waiting()

    await world.presence.set_status(alice.user_id, "unavailable", "tea time")
    answer = await waiting

    event = answer["presence"]["events"][0]
    assert event["sender"] == alice.user_id
    assert event["content"]["status_msg"] == "tea time"


async def test_two_syncs_of_one_device_are_both_answered(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    token = bob.token
    waiting = [asyncio.create_task(bob.sync(timeout_ms=10_000, since=token)) for _ in range(2)]
    await world.until_waiting(2)

    await alice.say(room_id, "hello")
    answers = await asyncio.gather(*waiting)

    assert all(room_id in answer["rooms"]["join"] for answer in answers)


async def test_stopping_answers_those_who_wait(world: ReadingWorld, bob: Client) -> None:
    await bob.sync()
    waiting = asyncio.create_task(bob.sync(timeout_ms=60_000))
    await world.until_waiting()

    world.reading.notifier.close()

    await asyncio.wait_for(waiting, 30)


async def test_a_busy_device_rests_and_then_gets_everything_at_once(
    world: ReadingWorld,
    alice: Client,
    bob: Client,
    room_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await bob.sync()
    monkeypatch.setattr(notifier_module, "REST_SECONDS_PER_DEVICE", 0.01)
    monkeypatch.setattr(notifier_module, "LONGEST_REST_SECONDS", 2.0)  # however slow the machine
    notifier = world.reading.notifier
    for number in range(400):  # as if very many devices were busy
        notifier.answered(f"@busy{number}:one.example", "PHONE")
    notifier.answered(bob.user_id, bob.device_id)
    await alice.say(room_id, "first")
    waiting = asyncio.create_task(bob.joined(room_id, timeout_ms=10_000))
    await asyncio.sleep(0.05)
    await alice.say(room_id, "second")

    part = await waiting

    assert [event["content"]["body"] for event in part["timeline"]["events"]] == [
        "first",
        "second",
    ]
