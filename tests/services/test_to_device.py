"""To-device messages: each arrives once, here and elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from homeserver.errors import BadJson, InvalidParam, TooLarge
from homeserver.services.to_device import (
    MAX_EDU_BYTES,
    MESSAGES_PER_SYNC,
    ToDeviceService,
    split_edus,
)
from homeserver.storage import to_device as storage
from homeserver.storage.log import Log
from homeserver.storage.to_device import SELECT_MESSAGES, delete_overdue
from tests.services.doubles import ALICE, BOB, CAROL, PEER, SERVER, Clock, Edus, add_device

ALL = 10**9


@dataclass
class Stage:
    """The service, and what stands around it."""

    service: ToDeviceService
    edus: Edus
    log: Log

    async def send(self, messages: Any, txn_id: str = "t1") -> None:
        """Alice sends messages from her laptop."""
        await self.service.send(ALICE, "LAPTOP", "m.test", txn_id, messages)

    async def bodies(self, device_id: str, after: int = 0) -> list[Any]:
        """What waits for a device of Bob's."""
        batch = await self.service.messages_for(BOB, device_id, after, ALL)
        return [event["content"]["n"] for event in batch.events]


@pytest.fixture
async def stage(database):
    log = Log(database)
    await log.start()
    edus = Edus()
    service = ToDeviceService(
        server_name=SERVER, database=database, log=log, edus=edus, clock_ms=Clock()
    )
    await add_device(database, ALICE, "LAPTOP")
    await add_device(database, BOB, "PHONE")
    await add_device(database, BOB, "TABLET")
    yield Stage(service, edus, log)
    await log.close()


async def test_a_message_waits_until_a_sync_says_that_it_arrived(stage):
    await stage.send({BOB: {"PHONE": {"n": 1}}})

    batch = await stage.service.messages_for(BOB, "PHONE", 0, stage.log.position)
    again = await stage.service.messages_for(BOB, "PHONE", 0, stage.log.position)
    await stage.service.delete_upto(BOB, "PHONE", batch.position)

    assert batch.events == [{"sender": ALICE, "type": "m.test", "content": {"n": 1}}]
    assert again == batch
    assert await stage.bodies("PHONE") == []
    assert await stage.bodies("TABLET") == []


async def test_a_star_reaches_every_device_and_a_devices_own_message_goes_before_it(stage):
    await stage.send({BOB: {"*": {"n": 1}, "PHONE": {"n": 2}}})

    assert await stage.bodies("PHONE") == [2]
    assert await stage.bodies("TABLET") == [1]


async def test_what_goes_to_no_device_is_dropped(stage):
    await stage.send({BOB: {"NONE": {"n": 1}}})

    assert await stage.bodies("NONE") == []


async def test_the_same_transaction_again_sends_nothing(stage):
    messages = {BOB: {"PHONE": {"n": 1}}, CAROL: {"DESK": {"n": 2}}}

    await asyncio.gather(*(stage.send(messages) for _ in range(5)))
    await stage.send(messages)
    await stage.send(messages, "t2")

    assert await stage.bodies("PHONE") == [1, 1]
    assert len(stage.edus.durable) == 2


async def test_messages_for_another_instance_go_as_one_edu(stage):
    await stage.send({CAROL: {"DESK": {"n": 1}, "*": {"n": 2}}, BOB: {"PHONE": {"n": 3}}})

    ((to, kind, content),) = stage.edus.durable
    assert (to, kind) == (PEER, "m.direct_to_device")
    assert content["messages"] == {CAROL: {"DESK": {"n": 1}, "*": {"n": 2}}}
    assert content["sender"] == ALICE and 0 < len(content["message_id"]) <= 32


def test_many_messages_are_split_into_edus_of_bounded_size():
    messages = {CAROL: {f"D{n}": {"body": "x" * 10_000} for n in range(20)}}

    edus = list(split_edus(ALICE, "m.test", messages))

    carried = {device for edu in edus for device in edu["messages"][CAROL]}
    assert carried == set(messages[CAROL])
    assert len({edu["message_id"] for edu in edus}) == len(edus) > 1
    assert all(len(str(edu["messages"])) < MAX_EDU_BYTES * 1.1 for edu in edus)


async def test_a_peers_message_is_delivered_once_however_often_it_comes(stage):
    content = {
        "sender": CAROL,
        "type": "m.test",
        "message_id": "m1",
        "messages": {BOB: {"PHONE": {"n": 1}}},
    }

    for _ in range(3):
        await stage.service.receive(PEER, content)
    await stage.service.receive(PEER, {**content, "message_id": "m2"})

    assert await stage.bodies("PHONE") == [1, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"sender": BOB},
        {"sender": 1},
        {"message_id": ""},
        {"messages": []},
        {"messages": {BOB: []}},
        {"messages": {BOB: {"PHONE": "text"}}},
        {"type": None},
    ],
)
async def test_a_forged_or_malformed_message_is_dropped(stage, change):
    content = {
        "sender": CAROL,
        "type": "m.test",
        "message_id": "m1",
        "messages": {BOB: {"PHONE": {"n": 1}}},
    }

    await stage.service.receive(PEER, {**content, **change})

    assert await stage.bodies("PHONE") == []


async def test_a_long_queue_comes_in_parts_and_none_is_lost(stage):
    for number in range(7):
        await stage.send({BOB: {"PHONE": {"n": number}}}, f"t{number}")

    seen: list[Any] = []
    position = 0
    for _ in range(3):
        batch = await stage.service.messages_for(BOB, "PHONE", position, ALL, limit=3)
        seen += [event["content"]["n"] for event in batch.events]
        position = batch.position
        await stage.service.delete_upto(BOB, "PHONE", min(position, stage.log.position))

    assert seen == list(range(7))
    assert position == ALL


INSERT_QUEUE = """
INSERT INTO to_device_messages (position, user_id, device_id, sender, type, content)
SELECT n, $1, $2, '@alice:one.example', 'm.test', json_build_object('n', n)
FROM generate_series(1, $3::int) n
"""


async def test_a_hundred_thousand_messages_come_in_bounded_parts(stage, database):
    await database.execute(INSERT_QUEUE, BOB, "PHONE", 100_000)
    await database.execute("ANALYZE to_device_messages")

    first = await stage.service.messages_for(BOB, "PHONE", 0, ALL)
    await stage.service.delete_upto(BOB, "PHONE", first.position)
    second = await stage.service.messages_for(BOB, "PHONE", first.position, ALL)

    assert len(first.events) == len(second.events) == MESSAGES_PER_SYNC
    assert (first.position, second.position) == (MESSAGES_PER_SYNC, 2 * MESSAGES_PER_SYNC)
    assert second.events[0]["content"] == {"n": MESSAGES_PER_SYNC + 1}
    assert await database.fetchval("SELECT count(*) FROM to_device_messages") == 99_900
    plan = str(await database.fetch("EXPLAIN " + SELECT_MESSAGES, BOB, "PHONE", 500, ALL, 100))
    assert "Index Scan" in plan
    assert "Sort" not in plan


async def test_what_waits_for_a_device_long_unused_is_forgotten(stage, database):
    for device_id, last_seen_at in (("PHONE", 1_000), ("TABLET", 3_000), ("DRY", 1_000)):
        if device_id == "DRY":
            await add_device(database, BOB, device_id)
            await database.execute(INSERT_DEHYDRATED, BOB, device_id)
        await database.execute(INSERT_QUEUE, BOB, device_id, 2)
        await database.execute(SET_SEEN, device_id, last_seen_at)

    await delete_overdue(database, 2_000)

    waiting = await database.fetch("SELECT DISTINCT device_id FROM to_device_messages ORDER BY 1")
    assert [row["device_id"] for row in waiting] == ["DRY", "TABLET"]


async def test_of_too_many_messages_the_oldest_are_forgotten(stage, database, monkeypatch):
    monkeypatch.setattr(storage, "MOST_WAITING", 5)
    await database.execute(INSERT_QUEUE, BOB, "PHONE", 8)
    await database.execute(INSERT_QUEUE, BOB, "TABLET", 5)

    await delete_overdue(database, 0)

    assert await stage.bodies("PHONE") == [4, 5, 6, 7, 8]
    assert await stage.bodies("TABLET") == [1, 2, 3, 4, 5]


INSERT_DEHYDRATED = """
INSERT INTO dehydrated_devices (user_id, device_id, device_data, created_at)
VALUES ($1, $2, '{}'::text::json, 1)
"""
SET_SEEN = "UPDATE devices SET last_seen_at = $2 WHERE device_id = $1"


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ({"bob": {"PHONE": {}}}, BadJson),
        ({BOB: {"PHONE": 1}}, BadJson),
        ({BOB: {"": {}}}, BadJson),
        ({BOB: {"PHONE": {"body": "x" * 70_000}}}, TooLarge),
    ],
)
async def test_malformed_and_oversized_messages_are_refused(stage, messages, error):
    with pytest.raises(error):
        await stage.send(messages)


async def test_an_endless_transaction_id_is_refused(stage):
    with pytest.raises(InvalidParam):
        await stage.send({}, "x" * 300)


async def test_content_with_a_nul_arrives_as_it_was_sent(stage):
    await stage.send({BOB: {"PHONE": {"n": "a\0b"}}})

    assert await stage.bodies("PHONE") == ["a\0b"]
