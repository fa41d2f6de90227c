"""Unread counts: what is counted for whom, and what resets it."""

from __future__ import annotations

import pytest

from homeserver.protocol.filters import SyncFilter
from tests.services.reading_world import Client, ReadingWorld

Counts = tuple[int, int]
HIGHLIGHT = {"set_tweak": "highlight"}


@pytest.fixture
async def room_id(world: ReadingWorld, alice: Client, bob: Client) -> str:
    room_id = await world.room(alice.user_id, preset="public_chat")
    await world.membership.join(bob.user_id, room_id)
    carol = await world.client("carol")
    await world.membership.join(carol.user_id, room_id)
    return room_id


async def counts(client: Client, room_id: str) -> Counts:
    """Notifications and highlights, as an incremental sync tells them, and as a new one does."""
    part = await client.joined(room_id, full_state=client.token is not None)
    client.world.reading.unread_counts._counts.clear()
    again = await client.joined(room_id, full_state=True)
    assert again["unread_notifications"] == part["unread_notifications"]
    unread = part["unread_notifications"]
    return unread["notification_count"], unread["highlight_count"]


async def test_messages_count_for_others_until_they_are_read(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    await bob.sync()
    sent = [await alice.say(room_id, str(number)) for number in range(3)]

    assert await counts(bob, room_id) == (3, 0)
    assert await counts(alice, room_id) == (0, 0)
    await world.receipts.send(room_id, bob.user_id, "m.read", sent[1].event.event_id)
    assert await counts(bob, room_id) == (1, 0)
    await world.receipts.send(room_id, bob.user_id, "m.read.private", sent[2].event.event_id)
    assert await counts(bob, room_id) == (0, 0)


async def test_a_receipt_that_lags_behind_changes_nothing(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    sent = [await alice.say(room_id, str(number)) for number in range(3)]
    await world.receipts.send(room_id, bob.user_id, "m.read", sent[2].event.event_id)
    await world.receipts.send(room_id, bob.user_id, "m.read", sent[0].event.event_id)

    assert await counts(bob, room_id) == (0, 0)


async def test_sending_reads_what_stands_before(alice: Client, bob: Client, room_id: str) -> None:
    await bob.sync()
    await alice.say(room_id, "hello")
    assert await counts(bob, room_id) == (1, 0)
    await bob.say(room_id, "hello yourself")
    await alice.say(room_id, "and again")

    assert await counts(bob, room_id) == (1, 0)


async def test_a_mention_is_a_highlight(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    carol = await world.client("carol", "TABLET")
    await alice.say(room_id, "bob!", **{"m.mentions": {"user_ids": [str(bob.user_id)]}})
    await alice.say(room_id, "all!", **{"m.mentions": {"room": True}})

    assert await counts(bob, room_id) == (2, 2)
    assert await counts(carol, room_id) == (2, 1)


async def test_a_muted_room_counts_nothing_for_who_muted_it(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    carol = await world.client("carol", "TABLET")
    await world.push_rules.put(
        bob.user_id, "room", room_id, {"actions": []}, before=None, after=None
    )
    await alice.say(room_id, "hello")

    assert await counts(bob, room_id) == (0, 0)
    assert await counts(carol, room_id) == (1, 0)


async def test_what_was_sent_before_the_join_does_not_count(
    world: ReadingWorld, alice: Client, room_id: str
) -> None:
    await alice.say(room_id, "before")
    dora = await world.client("dora")
    await world.membership.join(dora.user_id, room_id)
    await alice.say(room_id, "after")

    assert await counts(dora, room_id) == (1, 0)


async def test_threads_are_counted_and_read_by_themselves(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    bob.filter = SyncFilter.parse({"room": {"timeline": {"unread_thread_notifications": True}}})
    root = (await alice.say(room_id, "root")).event.event_id
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    first = await alice.say(room_id, "in the thread", **relation)
    await alice.say(room_id, "in the thread, too", **relation)

    part = await bob.joined(room_id)
    assert part["unread_notifications"]["notification_count"] == 1
    assert part["unread_thread_notifications"][root]["notification_count"] == 2

    await world.receipts.send(room_id, bob.user_id, "m.read", first.event.event_id, root)
    part = await bob.joined(room_id)
    assert part["unread_notifications"]["notification_count"] == 1
    assert part["unread_thread_notifications"][root]["notification_count"] == 1

    await world.receipts.send(room_id, bob.user_id, "m.read", root, "main")
    part = await bob.joined(room_id)
    assert part["unread_notifications"]["notification_count"] == 0
    assert part["unread_thread_notifications"][root]["notification_count"] == 1

    await world.receipts.send(room_id, bob.user_id, "m.read", first.event.event_id)
    last = await alice.say(room_id, "the end")
    await world.receipts.send(room_id, bob.user_id, "m.read", last.event.event_id)
    part = await bob.joined(room_id)
    assert part["unread_notifications"]["notification_count"] == 0
    assert "unread_thread_notifications" not in part


async def test_own_receipts_bring_the_new_count_to_every_device(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    sent = await alice.say(room_id, "hello")
    await bob.sync()
    bob.filter = SyncFilter.parse({"room": {"ephemeral": {"types": []}}})

    await world.receipts.send(room_id, bob.user_id, "m.read.private", sent.event.event_id)
    part = await bob.joined(room_id)

    assert part["unread_notifications"]["notification_count"] == 0


async def test_edits_and_reactions_do_not_count(alice: Client, bob: Client, room_id: str) -> None:
    await bob.sync()
    sent = await alice.say(room_id, "helo")
    await alice.say(
        room_id,
        "* hello",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "hello"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": sent.event.event_id},
        },
    )

    assert await counts(bob, room_id) == (1, 0)


async def test_what_relates_to_a_thread_belongs_to_it_after_a_restart_too(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    bob.filter = SyncFilter.parse({"room": {"timeline": {"unread_thread_notifications": True}}})
    root = (await alice.say(room_id, "root")).event.event_id
    relation = {"rel_type": "m.thread", "event_id": root}
    said = (await alice.say(room_id, "in the thread", **{"m.relates_to": relation})).event.event_id
    for _ in range(2):
        reference = {"rel_type": "m.reference", "event_id": said}
        world.store.forget(said)
        last = await alice.say(room_id, "about it", **{"m.relates_to": reference})
        said = last.event.event_id

    part = await bob.joined(room_id)

    threads = part["unread_thread_notifications"]
    assert threads[root]["notification_count"] == 3
    assert part["unread_notifications"]["notification_count"] == 1


async def test_a_name_that_a_rule_looks_for_is_found_in_a_room_that_was_not_in_memory(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    rule = {"conditions": [{"kind": "contains_display_name"}], "actions": ["notify", HIGHLIGHT]}
    await world.push_rules.put(bob.user_id, "override", "name", rule, before=None, after=None)
    joined = {"membership": "join", "displayname": "Bob"}
    await bob.set_state(room_id, "m.room.member", joined, bob.user_id)
    await bob.sync()
    world.live_rooms.drop(room_id)

    await alice.say(room_id, "where is Bob?")

    assert await counts(bob, room_id) == (1, 1)


async def test_a_kind_of_notification_needs_the_level_that_the_room_says(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    condition = {"kind": "sender_notification_permission", "key": "everyone"}
    rule = {"conditions": [condition], "actions": ["notify", HIGHLIGHT]}
    await world.push_rules.put(alice.user_id, "override", "all", rule, before=None, after=None)
    await alice.sync()
    levels = {"notifications": {"everyone": 0}}

    await bob.say(room_id, "before")
    before = await counts(alice, room_id)
    await alice.set_state(room_id, "m.room.power_levels", levels)
    await bob.say(room_id, "after")

    assert before == (1, 0)
    assert await counts(alice, room_id) == (2, 1)
