"""The one path by which an event enters a room, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.live_room import SHORTEST_CHAIN
from homeserver.services.redaction_rules import may_redact
from homeserver.services.rooms import Draft
from homeserver.storage import events as events_storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import ClientTransaction
from tests.services.room_world import RoomWorld


@pytest.fixture
async def world(database: Database) -> AsyncIterator[RoomWorld]:
    world = RoomWorld(database)
    await world.start()
    yield world
    await world.close()


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_room_of_every_version_takes_messages(world: RoomWorld, version: str) -> None:
    alice = world.user("alice")

    room_id = await world.room(alice, version=version, preset="public_chat", name="Tea")
    sent = await world.say(room_id, alice, "hello")

    stored = await events_storage.get_events(world.database, [sent.event.event_id])
    assert stored[sent.event.event_id].event.content["body"] == "hello"


async def test_the_order_of_positions_is_the_order_of_the_room(world: RoomWorld) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    room_id = await world.room(alice, preset="public_chat")
    await world.membership.join(bob, room_id)

    sent = await asyncio.gather(
        *(world.say(room_id, alice if n % 2 else bob, str(n)) for n in range(100))
    )

    positions = [s.position for s in sent]
    depths = [s.event.depth for s in sorted(sent, key=lambda s: s.position)]
    assert len(set(positions)) == 100
    assert depths == list(range(depths[0], depths[0] + 100))


async def test_the_same_transaction_makes_one_event(world: RoomWorld) -> None:
    alice = world.user("alice")
    room_id = await world.room(alice)
    transaction = ClientTransaction(alice, "DEVICE", "send", "txn1", 0)
    draft = Draft(alice, "m.room.message", {"msgtype": "m.text", "body": "once"})

    first, again = await asyncio.gather(
        world.rooms.send(room_id, draft, transaction=transaction),
        world.rooms.send(room_id, draft, transaction=transaction),
    )
    later = await world.rooms.send(room_id, draft, transaction=transaction)

    assert first.event.event_id == again.event.event_id == later.event.event_id


async def test_a_room_read_again_is_as_it_was(world: RoomWorld) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    room_id = await world.room(alice, preset="public_chat")
    await world.membership.join(bob, room_id)
    for n in range(SHORTEST_CHAIN + 5):
        await world.rooms.send(room_id, Draft(alice, "m.room.topic", {"topic": str(n)}, ""))
    before = await world.rooms.get(room_id)

    world.live_rooms.drop(room_id)
    after = await world.rooms.get(room_id)

    assert after is not before
    assert after.state == before.state
    assert after.memberships == before.memberships
    assert after.extremities.keys() == before.extremities.keys()
    assert after.revision == before.revision
    await world.say(room_id, bob, "still here")


async def test_a_room_that_another_process_moved_is_built_again(world: RoomWorld) -> None:
    alice = world.user("alice")
    room_id = await world.room(alice)
    await world.database.execute(
        "UPDATE rooms SET revision = revision + 1 WHERE room_id = $1", room_id
    )

    sent = await world.say(room_id, alice, "after the other process")

    assert sent.position > 0


async def test_a_send_that_fails_before_it_is_written_leaves_the_room_as_it_was(
    world: RoomWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, guest = world.user("alice"), "@guest:two.test"
    room_id = await world.room(alice)
    ban = Draft(alice, "m.room.member", {"membership": "ban"}, guest)

    async def lost(servers: frozenset[str]) -> int:
        raise OSError("the database is gone")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="gone"):
        broken.setattr(world.destination_sets, "id_for", lost)
        await world.rooms.send(room_id, ban)
    sent = await world.say(room_id, alice, "it is back")
    world.live_rooms.drop(room_id)

    room = await world.rooms.get(room_id)
    stored = await events_storage.get_events(world.database, sent.event.prev_event_ids)
    assert room.membership(guest) == "leave"
    assert stored.keys() == set(sent.event.prev_event_ids)


async def test_a_stranger_may_not_send(world: RoomWorld) -> None:
    room_id = await world.room(world.user("alice"))

    with pytest.raises(Forbidden):
        await world.say(room_id, world.user("mallory"), "let me in")


async def test_others_messages_may_be_redacted_only_by_those_who_may(world: RoomWorld) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    room_id = await world.room(alice, preset="public_chat")
    await world.membership.join(bob, room_id)
    by_alice = (await world.say(room_id, alice, "mine")).event.event_id
    by_bob = (await world.say(room_id, bob, "his")).event.event_id

    with pytest.raises(Forbidden):
        await world.rooms.send(room_id, Draft(bob, "m.room.redaction", {}, redacts=by_alice))
    await world.rooms.send(room_id, Draft(bob, "m.room.redaction", {}, redacts=by_bob))
    by_bob = (await world.say(room_id, bob, "again")).event.event_id
    await world.rooms.send(room_id, Draft(alice, "m.room.redaction", {}, redacts=by_bob))

    kept = await world.store.get(by_alice)
    assert kept is not None and kept.redacted_by is None


async def test_a_banned_user_cannot_come_back(world: RoomWorld) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    room_id = await world.room(alice, preset="public_chat")
    await world.membership.join(bob, room_id)

    await world.membership.set_membership(alice, room_id, bob, "ban")

    with pytest.raises(MatrixError):
        await world.membership.join(bob, room_id)


async def test_an_event_over_the_size_limit_is_too_large(world: RoomWorld) -> None:
    alice = world.user("alice")
    room_id = await world.room(alice)

    with pytest.raises(MatrixError) as refusal:
        await world.say(room_id, alice, "x" * 70_000)

    assert refusal.value.errcode == "M_TOO_LARGE"


async def test_rooms_made_alike_in_the_same_moment_are_different_rooms(world: RoomWorld) -> None:
    alice = world.user("alice")

    rooms = await asyncio.gather(*(world.room(alice, name="Tea") for _ in range(40)))

    assert len(set(rooms)) == 40
    for room_id in rooms:
        await world.say(room_id, alice, "hello")


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_no_redaction_reaches_into_another_room(world: RoomWorld, version: str) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    theirs = await world.room(alice, version=version, preset="public_chat")
    mine = await world.room(bob, version=version, preset="public_chat")
    target = (await world.say(theirs, alice, "not for Bob to delete")).event
    own = (await world.say(mine, bob, "his room")).event
    there = (await world.say(mine, bob, "his message")).event

    def by_bob(event_id: str) -> Event:
        """He may do anything in his room; other instances' events are not checked when sent."""
        fields = {"type": "m.room.redaction", "redacts": event_id}
        pdu = {**own.pdu, **fields, "content": {"redacts": event_id}}
        return Event(pdu, own.event_id, own.room_version)

    room = await world.rooms.get(mine)

    assert may_redact(room, by_bob(there.event_id), there)
    assert not may_redact(room, by_bob(target.event_id), target)
