"""Who is told what, live and again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import Any

import pytest

from homeserver.protocol.events import Event
from homeserver.services.conversations import rendering
from homeserver.services.conversations.feed import events
from homeserver.services.conversations.feed.feed import TooMuch
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.conversations.shapes.updates import MessageStatus

from .world import Ear, Person, World

# Of these the database has the last state alone.
LATEST_ONLY = ("receipt.read", "conversation.settings")


def kinds(told: list[dict[str, Any]]) -> list[str]:
    return [update["type"] for update in told]


def texts(told: list[dict[str, Any]]) -> list[str]:
    return [
        update["message"]["text"]
        for update in told
        if update["type"] in ("message.created", "message.updated") and "text" in update["message"]
    ]


async def test_members_are_told_of_a_message_once(world: World, alice: Person, bob: Person) -> None:
    room_id = await alice.room(bob)
    ear, _ = await bob.listen()

    event_id = await alice.say(room_id, "hello")

    await world.settled()
    (update,) = ear.told
    assert update["type"] == "message.created"
    assert update["position"] == world.position
    assert update["conversation_id"] == room_id
    assert update["message"]["id"] == event_id
    assert update["message"]["sender"] == "alice@one.test"
    assert update["message"]["text"] == "hello"


async def test_whoever_is_told_what_they_missed_is_told_afterwards_what_came_live(
    world: World, alice: Person, bob: Person
) -> None:
    """Else they would not hear how a message fares that they send at once."""
    room_id = await alice.room(bob)
    since = world.position
    await bob.say(room_id, "missed")
    ear, during = Ear(), []
    status = MessageStatus(
        conversation_id=room_id,
        message_id="$hers",
        recipient="bob@one.test",
        status="delivered_to_device",
        at="2026-01-01T00:00:00.000Z",
        reason=None,
    )

    async def ready() -> None:
        during.append(world.feed.awaits(alice.user_id))
        world.feed.send(Routed(Update(status), users=(alice.user_id,)))

    ear.ready = ready  # type: ignore[method-assign]
    before = world.feed.awaits(alice.user_id)
    subscription = await world.feed.open(alice.user_id, None, since, ear)
    after = world.feed.awaits(alice.user_id)
    world.feed.shut(subscription)

    assert (before, during, after) == (False, [True], True)
    assert not world.feed.awaits(alice.user_id)
    assert kinds(ear.told) == ["message.created", "message.status"]


async def test_others_are_told_nothing(world: World, alice: Person, bob: Person) -> None:
    room_id = await alice.room()
    ear, _ = await bob.listen()

    await alice.say(room_id, "hello")

    await world.settled()
    assert ear.told == []


async def test_who_joins_is_told_from_then_on_and_nothing_after_they_leave(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room()
    ear, _ = await bob.listen()
    start = world.position

    await alice.say(room_id, "before")
    await bob.join(room_id)
    await alice.say(room_id, "between")
    await bob.leave(room_id)
    await alice.say(room_id, "after")

    await world.settled()
    assert kinds(ear.told) == ["conversation.created", "message.created", "conversation.removed"]
    assert texts(ear.told) == ["between"]
    assert await bob.told_since(start) == ear.durable


async def test_an_invite_is_told_and_that_it_was_accepted(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room()
    ear, _ = await bob.listen()
    start = world.position

    await alice.invite(room_id, bob)
    await bob.join(room_id)

    await world.settled(lambda: "conversation.updated" in kinds(ear.told))
    places = [u["conversation"] for u in ear.told if "conversation" in u]
    assert [(place["id"], place["state"]) for place in places] == [
        (room_id, "invited"),
        (room_id, "active"),
    ]
    assert [u for u in await bob.told_since(start) if "conversation" in u] == [
        u for u in ear.durable if "conversation" in u
    ]


async def test_an_edit_a_reaction_and_a_deletion_are_told(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room(bob)
    ear, _ = await bob.listen()

    event_id = await alice.say(room_id, "helo")
    await alice.edit(room_id, event_id, "hello")
    reaction_id = await bob.react(room_id, event_id, "👍")
    await bob.redact(room_id, reaction_id)
    await alice.redact(room_id, event_id)

    await world.settled()
    created, updated, added, removed, deleted = ear.told
    assert (created["message"]["text"], updated["message"]["text"]) == ("helo", "hello")
    assert updated["message"]["id"] == event_id
    assert (added["type"], added["message_id"], added["key"]) == ("reaction.added", event_id, "👍")
    assert (removed["type"], removed["reaction_id"]) == ("reaction.removed", reaction_id)
    assert (removed["message_id"], removed["key"]) == (event_id, "👍")
    assert (deleted["type"], deleted["message_id"]) == ("message.deleted", event_id)
    assert (deleted["by"], deleted["reason"]) == (alice.address, "spam")


async def test_an_edit_taken_back_tells_what_the_message_says_now(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room(bob)
    event_id = await alice.say(room_id, "one")
    await alice.edit(room_id, event_id, "two")
    last = await alice.edit(room_id, event_id, "three")
    ear, _ = await bob.listen()
    start = world.position

    await alice.redact(room_id, last)

    await world.settled()
    assert texts(ear.told) == ["two"]
    assert await bob.told_since(start) == ear.durable


async def test_what_an_old_message_is_about_is_read_before_anything_after_it_is_told(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room(bob)
    event_id = await alice.say(room_id, "one")
    world.instance.wiring.store.forget(event_id)
    ear, _ = await bob.listen()

    await alice.edit(room_id, event_id, "two")
    await alice.say(room_id, "three")

    await world.settled()
    assert texts(ear.told) == ["two", "three"]
    assert [u["position"] for u in ear.told] == sorted(u["position"] for u in ear.told)


async def test_who_blocks_a_sender_is_not_told_what_they_say(
    world: World, alice: Person, bob: Person
) -> None:
    carol = await world.person("carol")
    room_id = await alice.room(bob, carol)
    ear, _ = await bob.listen()
    start = world.position

    await bob.ignore(carol)
    await carol.say(room_id, "unheard")
    await alice.say(room_id, "heard")

    await world.settled(lambda: texts(ear.told) == ["heard"])
    assert kinds(ear.told) == ["settings.updated", "message.created"]
    assert await bob.told_since(start) == ear.durable


async def test_a_blocked_inviter_is_not_heard(world: World, alice: Person, bob: Person) -> None:
    room_id = await alice.room()
    await bob.ignore(alice)
    ear, _ = await bob.listen()

    await alice.call("POST", f"/rooms/{room_id}/invite", {"user_id": bob.user_id})

    await world.settled()
    assert ear.told == []


async def test_receipts_are_told_to_the_room_and_private_ones_to_their_reader(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room(bob)
    event_id = await alice.say(room_id, "hello")
    hers, _ = await alice.listen()
    his, _ = await bob.listen()

    await bob.call("POST", f"/rooms/{room_id}/receipt/m.read.private/{event_id}")
    await bob.call("POST", f"/rooms/{room_id}/receipt/m.read/{event_id}")

    await world.settled(lambda: len(his.told) == 2)
    assert [(u["type"], u["person"], u["message_id"]) for u in hers.told] == [
        ("receipt.read", bob.address, event_id)
    ]
    assert [u.get("private", False) for u in his.told] == [True, False]


async def test_what_happens_to_a_conversation_is_told(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room()
    ear, _ = await alice.listen()
    start = world.position

    await bob.join(room_id)
    await bob.call("PUT", f"/rooms/{room_id}/state/m.room.member/{bob.user_id}", {
        "membership": "join", "displayname": "Bobby"
    })  # fmt: skip
    await alice.call("PUT", f"/rooms/{room_id}/state/m.room.name", {"name": "Verona"})
    await alice.call("PUT", f"/rooms/{room_id}/state/m.room.join_rules", {"join_rule": "invite"})
    await alice.call("POST", f"/rooms/{room_id}/kick", {"user_id": bob.user_id, "reason": "noise"})

    await world.settled(lambda: len(ear.told) >= 5)
    joined, renamed, name, join, removed = ear.told
    assert [u["member"]["state"] for u in (joined, renamed, removed)] == [
        "joined",
        "joined",
        "removed",
    ]
    assert joined["message"]["system"]["what"] == "joined"
    assert renamed["message"]["system"]["what"] == "name_changed"
    assert (renamed["member"]["name"], removed["member"]["reason"]) == ("Bobby", "noise")
    assert (removed["member"]["person"], removed["member"]["by"]) == (bob.address, alice.address)
    assert (name["changed"], name["message"]["system"]["value"]) == ("name", "Verona")
    assert (join["changed"], "message" in join) == ("join", False)
    assert await alice.told_since(start) == ear.durable


async def test_what_cannot_be_told_keeps_nothing_else_from_being_told(
    world: World, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(event: Event, *args: Any, **options: Any) -> Any:
        if event.content["body"] == "poison":
            raise RuntimeError("this event breaks what renders it")
        return rendering.render(event, *args, **options)

    monkeypatch.setattr(events, "render", broken)
    room_id = await alice.room(bob)
    ear, _ = await bob.listen()
    start = world.position

    for text in ("one", "poison", "two"):
        await alice.say(room_id, text)

    await world.settled()
    assert texts(ear.told) == ["one", "two"]
    assert ear.cut is None
    assert await bob.told_since(start) == ear.durable


async def test_a_token_is_told_only_what_its_scopes_cover(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room(bob)
    ear, all_ears = Ear(), (await bob.listen())[0]
    scopes = frozenset({"messages:read"})
    subscription = await world.feed.open(bob.user_id, None, None, ear, scopes=scopes)
    world.subscriptions.append(subscription)

    await alice.call("PUT", f"/presence/{alice.user_id}/status", {"presence": "online"})
    await alice.say(room_id, "hello")

    await world.settled(lambda: "presence" in kinds(all_ears.told))
    assert kinds(ear.told) == ["message.created"]


async def test_a_position_from_the_future_is_unknown(world: World, bob: Person) -> None:
    with pytest.raises(TooMuch, match="unknown_position"):
        await bob.listen(world.position + 1)


async def test_more_than_is_told_again_is_refused(world: World, alice: Person, bob: Person) -> None:
    room_id = await alice.room(bob)
    start = world.position
    world.feed._most_replayed = 5
    for number in range(6):
        await alice.say(room_id, str(number))

    with pytest.raises(TooMuch, match="too_much"):
        await bob.listen(start)
    assert len(await bob.told_since(start + 1)) == 5


@pytest.mark.parametrize("seed", range(3))
async def test_who_does_things_at_once_is_told_in_one_order(world: World, seed: int) -> None:
    """Commits carry many records then; comings and goings among them, and old messages."""
    rng = random.Random(seed)
    people = [await world.person(name) for name in ("alice", "bob", "carol", "dave")]
    rooms = [await people[0].room(*people[1:]), await people[1].room(people[2])]
    messages: list[tuple[Person, str, str]] = []
    for room_id in rooms:
        for number in range(5):
            event_id = await people[1].say(room_id, f"old {number}")
            messages.append((people[1], room_id, event_id))
            world.instance.wiring.store.forget(event_id)
    ears = [(person, (await person.listen())[0]) for person in people]
    start = world.position

    async def act(who: Person, chance: random.Random) -> None:
        for _ in range(12):
            with contextlib.suppress(AssertionError):  # what they may not do
                await _do_something(chance, [who], rooms, messages)

    await asyncio.gather(*(act(p, random.Random(rng.random())) for p in people for _ in range(4)))
    await world.settled()

    by_position: dict[tuple[str, int], Any] = {}
    for person, ear in ears:
        assert ear.cut is None
        positions = [u["position"] for u in ear.durable]
        assert positions == sorted(set(positions))
        for update in ear.durable:
            if update["type"].startswith("message."):
                key = (update["conversation_id"], update["position"])
                assert by_position.setdefault(key, update) == update
        told = [u for u in ear.durable if u["type"] not in LATEST_ONLY]
        for since in {start, *rng.sample(positions, min(3, len(positions)))}:
            again = [u for u in await person.told_since(since) if u["type"] not in LATEST_ONLY]
            assert again == [u for u in told if u["position"] > since]


async def test_what_was_deleted_meanwhile_is_told_again_as_deleted(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room(bob)
    start = world.position
    kept = await alice.say(room_id, "kept")
    gone = await alice.say(room_id, "gone")
    await alice.edit(room_id, gone, "gone, edited")
    reaction = await bob.react(room_id, kept, "+")
    await alice.redact(room_id, gone)
    await bob.redact(room_id, reaction)

    told = await bob.told_since(start)

    assert kinds(told) == [
        "message.created",
        "message.created",
        "message.deleted",
        "reaction.removed",
    ]
    assert told[1]["message"]["deleted"]["by"] == alice.address
    assert "text" not in told[1]["message"]
    assert told[2]["message_id"] == gone
    assert "gone" not in json.dumps([told[1], told[2]]).replace(gone, "")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("page_size", [3, 200])
async def test_what_is_told_again_is_what_was_told_live(
    world: World, seed: int, page_size: int
) -> None:
    """Whoever comes back with any position is told exactly what they were told after it."""
    rng = random.Random(seed)
    world.instance.wiring.conversations.feed_parts.replay._page_size = page_size
    people = [await world.person(name) for name in ("alice", "bob", "carol")]
    rooms = [await people[0].room(*people[1:]), await people[1].room()]
    ears = [(person, (await person.listen())[0]) for person in people]
    start = world.position
    messages: list[tuple[Person, str, str]] = []

    for _ in range(40):
        await _do_something(rng, people, rooms, messages)
    await world.settled()

    for person, ear in ears:
        assert ear.cut is None
        told = [u for u in ear.durable if u["type"] not in LATEST_ONLY]
        positions = [u["position"] for u in ear.durable]
        assert positions == sorted(set(positions))
        for since in {start, *rng.sample(positions, min(4, len(positions)))}:
            again = await person.told_since(since)
            kept = [u for u in again if u["type"] not in LATEST_ONLY]
            assert kept == [u for u in told if u["position"] > since]
            rest = [u for u in again if u["type"] in LATEST_ONLY]
            assert all(update in ear.durable for update in rest)


async def _do_something(
    rng: random.Random,
    people: list[Person],
    rooms: list[str],
    messages: list[tuple[Person, str, str]],
) -> None:
    """One thing that a user does, as far as they may."""
    who, room_id = rng.choice(people), rng.choice(rooms)
    joined = (await who.call("GET", "/joined_rooms"))["joined_rooms"]
    if room_id not in joined:
        await who.join(room_id)
        return
    roll = rng.random()
    theirs = [m for m in messages if m[1] == room_id]
    if roll < 0.5 or not theirs:
        messages.append((who, room_id, await who.say(room_id, f"message {len(messages)}")))
    elif roll < 0.65:
        await who.react(room_id, rng.choice(theirs)[2], "👍" + who.name + str(rng.random()))
    elif roll < 0.8:
        author, _, event_id = rng.choice(theirs)
        if author is who:
            await who.edit(room_id, event_id, f"edited {rng.random()}")
    elif roll < 0.85:
        if who.name == ("alice", "bob")[rooms.index(room_id)]:  # who made it
            topic = {"topic": str(rng.random())}
            await who.call("PUT", f"/rooms/{room_id}/state/m.room.topic", topic)
    elif roll < 0.9:
        event_id = rng.choice(theirs)[2]
        await who.call("POST", f"/rooms/{room_id}/receipt/m.read/{event_id}")
    elif roll < 0.95:
        await who.leave(room_id)
    else:
        path = f"/user/{who.user_id}/rooms/{room_id}/account_data/m.tag"
        await who.call("PUT", path, {"tags": {f"u.{rng.randrange(99)}": {}}})
