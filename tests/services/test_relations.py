"""Edits, threads and references, in short and page by page."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.errors import NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import SyncFilter
from homeserver.services.relations import ChildrenRequest
from homeserver.services.rooms import Draft
from homeserver.services.sync_token import parse_timeline_token
from tests.services.reading_world import Client, ReadingWorld
from tests.services.test_timeline import decoded, messages, requester


@pytest.fixture
async def room_id(world: ReadingWorld, alice: Client, bob: Client) -> str:
    room_id = await world.room(alice.user_id, preset="public_chat")
    await world.membership.join(bob.user_id, room_id)
    return room_id


async def relate(client: Client, room_id: str, rel_type: str, target: str, body: str) -> str:
    content: dict[str, Any] = {"m.relates_to": {"rel_type": rel_type, "event_id": target}}
    if rel_type == "m.replace":
        content["m.new_content"] = {"msgtype": "m.text", "body": body}
    return (await client.say(room_id, body, **content)).event.event_id


async def relations_of(client: Client, room_id: str, event_id: str) -> JsonObject:
    """What a single event's ``m.relations`` says."""
    event = decoded(await client.world.reading.timeline.event(requester(client), room_id, event_id))
    found: JsonObject = event["unsigned"].get("m.relations", {})
    return found


async def test_the_last_edit_of_the_same_sender_is_bundled(
    alice: Client, bob: Client, room_id: str
) -> None:
    original = (await alice.say(room_id, "helo")).event.event_id
    await relate(alice, room_id, "m.replace", original, "hello")
    last = await relate(alice, room_id, "m.replace", original, "hello!")
    await relate(bob, room_id, "m.replace", original, "not his to edit")

    found = await relations_of(bob, room_id, original)

    assert found["m.replace"]["event_id"] == last
    assert found["m.replace"]["content"]["m.new_content"]["body"] == "hello!"


async def test_a_redacted_edit_does_not_count(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    original = (await alice.say(room_id, "helo")).event.event_id
    edit = await relate(alice, room_id, "m.replace", original, "hello")
    await world.rooms.send(room_id, Draft(alice.user_id, "m.room.redaction", {"redacts": edit}))

    assert await relations_of(bob, room_id, original) == {}


async def test_a_thread_says_its_length_its_last_reply_and_who_takes_part(
    alice: Client, bob: Client, room_id: str
) -> None:
    root = (await alice.say(room_id, "root")).event.event_id
    await relate(alice, room_id, "m.thread", root, "one")
    last = await relate(alice, room_id, "m.thread", root, "two")
    edit = await relate(alice, room_id, "m.replace", last, "second")

    alices = (await relations_of(alice, room_id, root))["m.thread"]
    bobs = (await relations_of(bob, room_id, root))["m.thread"]

    assert bobs["count"] == 2
    assert bobs["latest_event"]["event_id"] == last
    latest = bobs["latest_event"]["unsigned"]["m.relations"]
    assert latest["m.replace"]["event_id"] == edit
    assert (alices["current_user_participated"], bobs["current_user_participated"]) == (True, False)


async def test_ignored_senders_do_not_count(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    root = (await bob.say(room_id, "root")).event.event_id
    await relate(alice, room_id, "m.thread", root, "from alice")
    await relate(alice, room_id, "m.reference", root, "from alice")
    await world.account_data.put(
        bob.user_id, "m.ignored_user_list", {"ignored_users": {str(alice.user_id): {}}}
    )

    assert await relations_of(bob, room_id, root) == {}
    assert set(await relations_of(alice, room_id, root)) == {"m.thread", "m.reference"}


async def test_history_and_limited_syncs_bundle(alice: Client, bob: Client, room_id: str) -> None:
    original = (await alice.say(room_id, "helo")).event.event_id
    edit = await relate(alice, room_id, "m.replace", original, "hello")
    bob.filter = SyncFilter.parse({"room": {"timeline": {"limit": 2}}})

    page = await messages(bob, room_id, limit=2)
    synced = (await bob.joined(room_id))["timeline"]

    assert synced["limited"] is True
    for event in (page["chunk"][1], synced["events"][0]):
        assert event["unsigned"]["m.relations"]["m.replace"]["event_id"] == edit


async def test_children_come_page_by_page_filtered_and_over_hops(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    root = (await alice.say(room_id, "root")).event.event_id
    replies = [await relate(alice, room_id, "m.thread", root, str(n)) for n in range(3)]
    edit = await relate(alice, room_id, "m.replace", replies[0], "edited")
    reference = await relate(bob, room_id, "m.reference", root, "see there")
    read = world.reading.relations.children

    async def children(**wanted: Any) -> tuple[list[str], JsonObject]:
        answer = decoded(await read(requester(bob), room_id, root, ChildrenRequest(**wanted)))
        return [event["event_id"] for event in answer["chunk"]], answer

    assert (await children())[0] == [reference, *replies[::-1]]
    assert (await children(relation_type="m.thread", backwards=False))[0] == replies
    assert (await children(relation_type="m.thread", event_type="m.sticker"))[0] == []
    assert (await children(recurse=True))[0] == [reference, edit, *replies[::-1]]
    first, answer = await children(limit=3)
    rest, last = await children(limit=3, start=parse_timeline_token(answer["next_batch"]))
    assert first + rest == [reference, *replies[::-1]]
    assert "next_batch" not in last
    with pytest.raises(NotFound):
        await read(requester(bob), room_id, "$nothing", ChildrenRequest())


async def test_threads_are_listed_by_their_last_reply(
    world: ReadingWorld, alice: Client, bob: Client, room_id: str
) -> None:
    roots = [(await alice.say(room_id, f"root {n}")).event.event_id for n in range(3)]
    for root in (*roots, roots[0]):
        await relate(alice, room_id, "m.thread", root, "reply")
    await relate(bob, room_id, "m.thread", roots[1], "his reply")
    read = world.reading.relations.threads

    async def threads(**wanted: Any) -> tuple[list[str], JsonObject]:
        full: dict[str, Any] = {"start": None, "only_participated": False, "limit": 10, **wanted}
        answer = decoded(await read(requester(bob), room_id, **full))
        return [event["event_id"] for event in answer["chunk"]], answer

    assert (await threads())[0] == [roots[1], roots[0], roots[2]]
    assert (await threads(only_participated=True))[0] == [roots[1]]
    first, answer = await threads(limit=2)
    rest, _ = await threads(limit=2, start=parse_timeline_token(answer["next_batch"]))
    assert first + rest == [roots[1], roots[0], roots[2]]
    assert answer["chunk"][1]["unsigned"]["m.relations"]["m.thread"]["count"] == 2
