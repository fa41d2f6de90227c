"""Messages that end by themselves, with a clock that the test moves."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.errors import MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.services.caretaker import Caretaker
from homeserver.services.message_ends import MessageEnds
from homeserver.services.rooms import Draft, Sent
from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.services.deleting import Deleting
from tests.services.reading_world import Client, ReadingWorld, bodies
from tests.services.room_world import RoomWorld
from tests.services.test_sync_remote import carry, enter

MINUTE = 60_000


class Ends:
    """A world's schedule and its clock, which stands still unless it is moved."""

    def __init__(self, world: RoomWorld) -> None:
        self.world = world
        self.now = time.time_ns() // 1_000_000
        deletion = Deleting(world, lambda: self.now).deletion
        self.caretaker = Caretaker(clock_ms=lambda: self.now)
        self.caretaker.add(
            MessageEnds(
                server_name=world.server_name,
                database=world.database,
                store=world.store,
                rooms=world.rooms,
                deletion=deletion,
                clock_ms=lambda: self.now,
            )
        )

    async def pass_time(self, ms: int) -> None:
        """Move the clock, and let what is due happen."""
        self.now += ms
        await self.caretaker.work_off()

    async def pdu(self, event_id: str) -> bytes:
        """What lies in the database of an event."""
        found: bytes = await self.world.database.fetchval(
            "SELECT pdu FROM events WHERE event_id = $1", event_id
        )
        return found


@pytest.fixture
async def theirs(postgres: TestPostgres) -> AsyncIterator[RoomWorld]:
    database = await Database.connect(await postgres.create_database(), min_size=1, max_size=4)
    world = RoomWorld(database, "two.example")
    await world.start()
    yield world
    await world.close()
    await database.close()


@pytest.fixture
async def ours(database: Database) -> AsyncIterator[ReadingWorld]:
    world = ReadingWorld(database)
    await world.start()
    yield world
    await world.close()


def lasting(ms: int, start: str = "sent") -> JsonObject:
    return {"dev.comity.expires": {"after_ms": ms, "from": start}}


async def say(world: RoomWorld, room_id: str, sender: Any, text: str, **content: Any) -> Sent:
    full = {"msgtype": "m.text", "body": text, **content}
    return await world.rooms.send(room_id, Draft(sender, "m.room.message", full))


async def shared_room(ours: Any, theirs: RoomWorld) -> tuple[Client, str]:
    """Bob of ours in a room of Alice's of theirs."""
    room_id = await theirs.room(theirs.user("alice"), preset="public_chat")
    bob = await ours.client("bob")
    await enter(ours, theirs, bob, room_id)
    await bob.sync()
    return bob, room_id


async def test_a_message_ends_when_its_time_is_up_and_not_before(ours: ReadingWorld) -> None:
    alice = await ours.client("alice")
    room_id = await ours.room(alice.user_id)
    ends = Ends(ours)
    sent = await alice.say(room_id, "a secret", **lasting(5 * MINUTE))

    await ends.pass_time(4 * MINUTE)
    before = await ends.pdu(sent.event.event_id)
    await ends.pass_time(2 * MINUTE)

    assert b"a secret" in before
    assert b"a secret" not in await ends.pdu(sent.event.event_id)
    assert b'"hashes"' in await ends.pdu(sent.event.event_id)


async def test_the_receiving_instance_ends_its_copy_by_itself_and_says_so(
    ours: ReadingWorld, theirs: RoomWorld
) -> None:
    bob, room_id = await shared_room(ours, theirs)
    sent = await say(theirs, room_id, theirs.user("alice"), "a secret", **lasting(MINUTE))
    await carry(theirs, ours, room_id)
    assert bodies(await bob.joined(room_id)) == ["a secret"]
    ends = Ends(ours)

    await ends.pass_time(MINUTE)

    assert b"a secret" not in await ends.pdu(sent.event.event_id)
    part = await bob.joined(room_id)
    (ended,) = part["ephemeral"]["events"]
    assert ended == {
        "type": "dev.comity.ended",
        "content": {"event_ids": [sent.event.event_id]},
    }
    (shown,) = [e for e in await initial(ours, room_id) if e["event_id"] == sent.event.event_id]
    assert shown["content"] == {}
    assert shown["unsigned"]["redacted_because"]["content"]["reason"] == "expired"


async def initial(ours: ReadingWorld, room_id: str) -> list[JsonObject]:
    """What a new device of Bob's is told of a room."""
    device = await ours.client("bob", "TABLET")
    events: list[JsonObject] = (await device.joined(room_id))["timeline"]["events"]
    return events


async def test_the_redaction_that_comes_later_is_no_second_end(
    ours: ReadingWorld, theirs: RoomWorld
) -> None:
    bob, room_id = await shared_room(ours, theirs)
    sent = await say(theirs, room_id, theirs.user("alice"), "a secret", **lasting(MINUTE))
    await carry(theirs, ours, room_id)
    await Ends(ours).pass_time(MINUTE)
    await bob.sync()

    await Ends(theirs).pass_time(MINUTE)
    await carry(theirs, ours, room_id)

    part = await bob.joined(room_id)
    (redaction,) = part["timeline"]["events"]
    assert (redaction["type"], redaction["redacts"]) == ("m.room.redaction", sent.event.event_id)
    assert part["ephemeral"]["events"] == []
    (shown,) = [e for e in await initial(ours, room_id) if e["event_id"] == sent.event.event_id]
    assert shown["unsigned"]["redacted_because"]["event_id"] == redaction["event_id"]


async def test_a_message_from_the_future_does_not_live_longer(
    ours: ReadingWorld, theirs: RoomWorld
) -> None:
    _, room_id = await shared_room(ours, theirs)
    content = {"msgtype": "m.text", "body": "a secret", **lasting(MINUTE)}
    future = time.time_ns() // 1_000_000 + 1000 * MINUTE
    draft = Draft(theirs.user("alice"), "m.room.message", content, origin_server_ts=future)
    sent = await theirs.rooms.send(room_id, draft)
    await carry(theirs, ours, room_id)
    ends = Ends(ours)

    await ends.pass_time(2 * MINUTE)

    assert b"a secret" not in await ends.pdu(sent.event.event_id)


async def test_a_redaction_that_cannot_be_sent_yet_follows_later(ours: ReadingWorld) -> None:
    alice = await ours.client("alice")
    room_id = await ours.room(alice.user_id)
    sent = await alice.say(room_id, "a secret", **lasting(MINUTE))
    ends = Ends(ours)
    send = ours.rooms.send

    async def busy(*_: Any, **__: Any) -> Sent:
        raise MatrixError("busy", status=503)

    ours.rooms.send = busy  # type: ignore[method-assign]
    await ends.pass_time(MINUTE)
    assert b"a secret" not in await ends.pdu(sent.event.event_id)
    ours.rooms.send = send  # type: ignore[method-assign]
    await ends.pass_time(2 * MINUTE)

    stored = await ours.store.get(sent.event.event_id)
    assert stored is not None
    assert stored.redacted_by is not None
    assert await ours.database.fetchval("SELECT count(*) FROM message_ends") == 0


async def test_what_cannot_be_redacted_any_more_is_deleted_all_the_same(
    ours: ReadingWorld,
) -> None:
    alice, carol = await ours.client("alice"), await ours.client("carol")
    room_id = await ours.room(alice.user_id, preset="public_chat")
    await ours.membership.join(carol.user_id, room_id)
    sent = await carol.say(room_id, "a secret", **lasting(MINUTE))
    await ours.membership.leave(carol.user_id, room_id)
    ends = Ends(ours)

    await ends.pass_time(MINUTE)

    assert b"a secret" not in await ends.pdu(sent.event.event_id)
    assert await ours.database.fetchval("SELECT count(*) FROM message_ends") == 0
