"""What senders are told of other instances, which here are only talked about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.audience import EVERYBODY
from homeserver.services.conversations.delivery_updates import DeliveryUpdates
from homeserver.services.conversations.shapes.updates import MessageStatus
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Notice

ALICE, BOB, CAROL = "@alice:one.test", "@bob:two.test", "@carol:three.test"
ROOM = "!room:one.test"


class World:
    """Alice, online, in a room with people of other instances."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str | None]] = []
        self.online = {ALICE}
        members = {ALICE: "join", BOB: "join", CAROL: "join", "@dave:two.test": "invite"}
        room = SimpleNamespace(room_id=ROOM, memberships=members, joined_count=3)
        parts: Any = self
        rooms: Any = SimpleNamespace(cached=lambda _room_id: room)
        self.room = room
        self.updates = DeliveryUpdates(
            server_name="one.test",
            log=parts,
            live_rooms=rooms,
            audience=EVERYBODY,
            updates=parts,
            clock_ms=lambda: 1,
        )

    def awaits(self, user_id: str) -> bool:
        return user_id in self.online

    def subscribe(self, listener: Any) -> None:
        self._listener = listener

    def publish(self, user_id: str, update: MessageStatus) -> None:
        assert user_id == ALICE
        self.told.append((f"{update.message_id} {update.recipient}", update.status, update.reason))

    def say(self, position: int) -> None:
        pdu = {
            "type": "m.room.message", "room_id": ROOM, "sender": ALICE, "content": {},
            "origin_server_ts": 1, "depth": 1, "auth_events": [], "prev_events": [],
        }  # fmt: skip
        record = EventRecord(Event(pdu, f"${position}", ROOM_VERSIONS["11"]))
        self._listener(Notice(position, [(position, record)]))


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_told_when_an_instance_has_a_message_and_once(world: World) -> None:
    world.say(5)
    world.say(6)

    world.updates.instance_reached("two.test", 5)
    world.updates.instance_reached("two.test", 5)
    world.updates.instance_reached("four.test", 9)

    assert world.told == [("$5 bob@two.test", "delivered_to_instance", None)]


def test_it_is_told_that_an_instance_does_not_answer_and_that_it_does(world: World) -> None:
    world.say(5)

    world.updates.instance_failing("two.test")
    world.updates.instance_failing("two.test")
    world.updates.instance_reached("two.test", 5)

    assert world.told == [
        ("$5 bob@two.test", "pending", "unreachable"),
        ("$5 bob@two.test", "delivered_to_instance", None),
    ]


def test_what_an_instance_refused_goes_no_further(world: World) -> None:
    world.say(5)
    world.say(6)

    world.updates.instance_refused("two.test", {"$5": "banned"})
    world.updates.instance_reached("two.test", 6)
    world.updates.remote_reached(ROOM, BOB, 6)

    assert world.told == [
        ("$5 bob@two.test", "pending", "refused"),
        ("$6 bob@two.test", "delivered_to_instance", None),
        ("$6 bob@two.test", "delivered_to_device", None),
    ]


def test_a_device_elsewhere_is_told_of_for_its_user_alone(world: World) -> None:
    world.say(5)

    world.updates.remote_reached(ROOM, BOB, 4)
    world.updates.remote_reached(ROOM, BOB, 5)

    assert world.told == [("$5 bob@two.test", "delivered_to_device", None)]


def test_large_conversations_and_who_is_not_online_cost_nothing(world: World) -> None:
    world.room.joined_count = 21
    world.say(5)
    world.room.joined_count = 3
    world.online.clear()
    world.say(6)
    world.online.add(ALICE)

    world.updates.instance_reached("two.test", 9)

    assert world.told == []
