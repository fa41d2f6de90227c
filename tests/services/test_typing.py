"""Typing: it lasts as long as it is said to, and no longer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from homeserver.errors import Forbidden
from homeserver.services import typing as typing_module
from homeserver.services.typing import TypingService
from tests.services.doubles import ALICE, BOB, CAROL, PEER, ROOM, Clock, Edus, Members


@dataclass
class Stage:
    """The service, and what stands around it."""

    service: TypingService
    edus: Edus
    clock: Clock
    changes: list[str] = field(default_factory=list)


@pytest.fixture
async def stage():
    edus, members, clock = Edus(), Members(), Clock()
    members.joined[ROOM] = {ALICE, BOB, CAROL}
    service = TypingService(rooms=members, edus=edus, clock_ms=clock)
    stage = Stage(service, edus, clock)
    service.on_change = stage.changes.append
    yield stage
    service.close()


async def test_alice_types_and_stops(stage):
    version = stage.service.version

    await stage.service.set_typing(ROOM, ALICE, True, 30_000)
    typing = stage.service.changed_since(version, [ROOM])
    await stage.service.set_typing(ROOM, ALICE, False)

    assert typing == {ROOM: [ALICE]}
    assert stage.service.typing_in(ROOM) == []
    assert [content["typing"] for _, _, content in stage.edus.ephemeral] == [True, False]
    assert stage.changes == [ROOM, ROOM]


async def test_typing_ends_by_itself_and_peers_are_told(stage):
    await stage.service.set_typing(ROOM, ALICE, True, 30)
    version = stage.service.version

    await asyncio.sleep(0.1)

    assert stage.service.changed_since(version, [ROOM]) == {ROOM: []}
    assert stage.edus.ephemeral[-1] == (
        PEER,
        "m.typing",
        {"room_id": ROOM, "user_id": ALICE, "typing": False},
    )


async def test_going_on_is_no_change_and_is_repeated_to_peers_now_and_then(stage):
    await stage.service.set_typing(ROOM, ALICE, True)
    await stage.service.set_typing(ROOM, ALICE, True)
    stage.clock.now += typing_module.REPEAT_TO_PEERS_MS
    await stage.service.set_typing(ROOM, ALICE, True)

    assert stage.changes == [ROOM]
    assert len(stage.edus.ephemeral) == 2


async def test_versions_grow_though_the_clock_stands_still(stage):
    versions = []
    for user_id in (ALICE, BOB):
        await stage.service.set_typing(ROOM, user_id, True)
        versions.append(stage.service.version)

    assert versions[0] < versions[1]
    assert stage.service.changed_since(versions[1], [ROOM]) == {}


async def test_who_is_not_in_the_room_cannot_type_there(stage):
    with pytest.raises(Forbidden):
        await stage.service.set_typing(ROOM, "@dora:one.example", True)


async def test_a_peers_users_type_too(stage):
    content = {"room_id": ROOM, "user_id": CAROL, "typing": True}

    await stage.service.receive(PEER, content)
    typing = stage.service.typing_in(ROOM)
    await stage.service.receive(PEER, {**content, "typing": False})

    assert typing == [CAROL]
    assert stage.service.typing_in(ROOM) == []
    assert stage.edus.ephemeral == []


@pytest.mark.parametrize(
    "content",
    [
        {"room_id": ROOM, "user_id": BOB, "typing": True},
        {"room_id": ROOM, "user_id": "@eve:two.example", "typing": True},
        {"room_id": 1, "user_id": CAROL, "typing": True},
        {"room_id": ROOM, "user_id": CAROL, "typing": "yes"},
        {},
    ],
)
async def test_forged_and_malformed_typing_is_dropped(stage, content):
    await stage.service.receive(PEER, content)

    assert stage.service.typing_in(ROOM) == []


async def test_a_room_has_a_bounded_number_of_typists(stage, monkeypatch):
    monkeypatch.setattr(typing_module, "MAX_TYPING_PER_ROOM", 2)

    for user_id in (ALICE, BOB):
        await stage.service.set_typing(ROOM, user_id, True)
    await stage.service.receive(PEER, {"room_id": ROOM, "user_id": CAROL, "typing": True})

    assert stage.service.typing_in(ROOM) == [ALICE, BOB]
