"""Pruning of notifications: nobody's counts change, and what is read goes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from homeserver.services.push import pruning
from homeserver.services.push.pruning import EVERY_MS, FIRST_AFTER_MS, NotificationPruning
from homeserver.storage.database import Database
from tests.services.reading_world import Client, ReadingWorld, clock_ms

HIGHLIGHT = {"set_tweak": "highlight"}


def later() -> int:
    """A clock by which all that was sent is old."""
    return clock_ms() + 60_000


async def pruned(database: Database, room_id: str) -> int:
    """How many rows are left when there is nothing more to prune."""
    job = NotificationPruning(database=database, kept_ms=0, clock_ms=later)
    while await job.prune(room_id):
        pass
    count: int = await database.fetchval("SELECT count(*) FROM notifications")
    return count


async def counts(world: ReadingWorld, clients: list[Client], room_id: str) -> list[Any]:
    """What everybody has not read, counted anew."""
    world.reading.unread_counts._counts.clear()
    upto = world.log.position
    return [
        (await world.reading.unread_counts.get(client.user_id, room_id, upto)).threads
        for client in clients
    ]


def shown(threads: list[dict[str, Any]]) -> list[dict[str, tuple[int, int]]]:
    """Counts without where they were counted."""
    return [
        {thread: (count.notifications, count.highlights) for thread, count in each.items()}
        for each in threads
    ]


@pytest.mark.parametrize("seed", range(6))
async def test_pruning_changes_nobodys_counts(
    world: ReadingWorld, database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    people = [await world.client(name) for name in ("alice", "bob", "carol")]
    alice, bob, _ = people
    room_id = await world.room(alice.user_id, preset="public_chat")
    rule = {"pattern": "tea", "actions": ["notify", HIGHLIGHT]}
    await world.push_rules.put(bob.user_id, "content", "tea", rule, before=None, after=None)
    present = [alice]
    sent: list[tuple[str, str]] = []
    for step in range(60):
        if step in (5, 20):
            await world.membership.join(people[len(present)].user_id, room_id)
            present.append(people[len(present)])
        who = chance.choice(present)
        if sent and chance.random() < 0.3:
            event_id, thread = chance.choice(sent)
            kind = chance.choice(["m.read", "m.read.private"])
            where = chance.choice([None, thread])
            await world.receipts.send(room_id, who.user_id, kind, event_id, where)
            continue
        thread, content = "main", dict[str, Any]()
        if sent and chance.random() < 0.4:
            event_id, of = chance.choice(sent)
            thread = event_id if of == "main" else of
            content["m.relates_to"] = {"rel_type": "m.thread", "event_id": thread}
        if chance.random() < 0.3:
            content["m.mentions"] = {"user_ids": [str(chance.choice(people).user_id)]}
        said = await who.say(room_id, chance.choice(["tea", "time"]), **content)
        sent.append((said.event.event_id, thread))
    before = shown(await counts(world, present, room_id))
    rows = await database.fetchval("SELECT count(*) FROM notifications")

    left = await pruned(database, room_id)

    assert shown(await counts(world, present, room_id)) == before
    assert left < rows


async def test_what_everybody_has_read_goes_and_what_somebody_has_not_stays(
    world: ReadingWorld, database: Database
) -> None:
    alice, bob, carol = [await world.client(name) for name in ("alice", "bob", "carol")]
    room_id = await world.room(alice.user_id, preset="public_chat")
    for client in (bob, carol):
        await world.membership.join(client.user_id, room_id)
    said = [(await alice.say(room_id, str(number))).event.event_id for number in range(3)]
    await world.receipts.send(room_id, bob.user_id, "m.read", said[2])
    await world.receipts.send(room_id, carol.user_id, "m.read", said[0], "main")

    await pruned(database, room_id)

    rows = await database.fetch("SELECT event_id FROM notifications WHERE audience = 'default'")
    assert {row["event_id"] for row in rows} == set(said[1:])


async def test_what_was_read_is_kept_for_a_while(world: ReadingWorld, database: Database) -> None:
    alice, bob = await world.client("alice"), await world.client("bob")
    room_id = await world.room(alice.user_id, preset="public_chat")
    await world.membership.join(bob.user_id, room_id)
    said = (await alice.say(room_id, "hello")).event.event_id
    await world.receipts.send(room_id, bob.user_id, "m.read", said)
    job = NotificationPruning(database=database, kept_ms=3_600_000, clock_ms=later)

    await job.prune(room_id)

    rows = await database.fetch("SELECT event_id FROM notifications WHERE audience = 'default'")
    assert [row["event_id"] for row in rows] == [said]


async def test_what_is_beyond_the_counted_goes(
    world: ReadingWorld, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "MOST_COUNTED", 2)
    alice, bob = await world.client("alice"), await world.client("bob")
    room_id = await world.room(alice.user_id, preset="public_chat")
    await world.membership.join(bob.user_id, room_id)
    said = [(await alice.say(room_id, str(number))).event.event_id for number in range(4)]

    await pruned(database, room_id)

    rows = await database.fetch("SELECT event_id FROM notifications WHERE audience = 'default'")
    assert {row["event_id"] for row in rows} == set(said[2:])


async def test_all_rooms_are_gone_through_once_a_day(
    world: ReadingWorld, database: Database
) -> None:
    now = [0]
    alice = await world.client("alice")
    rooms = [await world.room(alice.user_id, preset="public_chat") for _ in range(3)]
    for room_id in rooms:
        await alice.say(room_id, "hello")
        await alice.say(room_id, "again")
    job = NotificationPruning(database=database, kept_ms=0, clock_ms=lambda: now[0])

    idle = await job.step()
    now[0] = FIRST_AFTER_MS
    steps = 0
    while await job.step():
        steps += 1

    assert (idle, steps, await job.next_due()) == (False, 3, FIRST_AFTER_MS + EVERY_MS)
    assert (
        await database.fetchval("SELECT count(*) FROM notifications WHERE audience ~ '^sent'") == 3
    )
