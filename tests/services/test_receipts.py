"""Receipts: forward only, private ones unseen, threads as the spec has them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.services.receipts import ReceiptService
from homeserver.storage.account_data import get_account_data
from homeserver.storage.log import Log
from tests.services.doubles import (
    ALICE,
    BOB,
    CAROL,
    PEER,
    ROOM,
    Clock,
    Edus,
    Members,
    add_event,
)


@dataclass
class Stage:
    """The service, and what stands around it."""

    database: Any
    service: ReceiptService
    edus: Edus
    clock: Clock

    async def seen_by(self, reader: str, since: int = 0) -> Any:
        """The room's receipts that a reader's sync shows."""
        found = await self.service.receipts_since([ROOM], since, 10**9, reader)
        return found.get(ROOM, {})


@pytest.fixture
async def stage(database):
    log = Log(database)
    await log.start()
    edus, members, clock = Edus(), Members(), Clock()
    members.joined[ROOM] = {ALICE, BOB, CAROL}
    service = ReceiptService(database=database, log=log, rooms=members, edus=edus, clock_ms=clock)
    for event_id in ("$1", "$2", "$3"):
        await add_event(database, event_id)
    await add_event(database, "$reply", relates_to="$1", relation_type="m.thread")
    await add_event(database, "$reaction", relates_to="$reply", relation_type="m.annotation")
    await add_event(database, "$elsewhere", room_id="!other:one.example")
    log.position = await database.fetchval("SELECT last_value FROM log_position")
    yield Stage(database, service, edus, clock)
    await log.close()


async def test_a_receipt_moves_forward_and_never_back(stage):
    await stage.service.send(ROOM, BOB, "m.read", "$2")
    await stage.service.send(ROOM, BOB, "m.read", "$1")

    assert await stage.seen_by(ALICE) == {"$2": {"m.read": {BOB: {"ts": stage.clock.now}}}}


async def test_receipts_sent_at_once_end_at_the_furthest(stage):
    await asyncio.gather(
        *(stage.service.send(ROOM, BOB, "m.read", event) for event in ("$3", "$1", "$2"))
    )

    assert list(await stage.seen_by(ALICE)) == ["$3"]


async def test_a_private_receipt_is_seen_by_its_reader_alone_and_stays_here(stage):
    await stage.service.send(ROOM, BOB, "m.read.private", "$2")

    assert await stage.seen_by(ALICE) == {}
    assert list((await stage.seen_by(BOB))["$2"]) == ["m.read.private"]
    assert stage.edus.durable == []


async def test_a_public_receipt_goes_to_the_other_instances_of_the_room(stage):
    await stage.service.send(ROOM, BOB, "m.read", "$1", "main")

    ((to, kind, content),) = stage.edus.durable
    data = {"ts": stage.clock.now, "thread_id": "main"}
    assert (to, kind) == (PEER, "m.receipt")
    assert content == {ROOM: {"m.read": {BOB: {"event_ids": ["$1"], "data": data}}}}


async def test_each_thread_has_its_receipt(stage):
    await stage.service.send(ROOM, BOB, "m.read", "$1", "main")
    await stage.service.send(ROOM, BOB, "m.read", "$reply", "$1")
    await stage.service.send(ROOM, BOB, "m.read", "$2")

    latest = await stage.service.latest_read(BOB, [ROOM])

    assert latest == {ROOM: {"main": 1, "$1": 4, "": 2}}


async def test_an_event_three_hops_from_a_thread_is_of_it(stage):
    for event_id, target in (("$x", "$reaction"), ("$y", "$x")):
        await add_event(stage.database, event_id, relates_to=target, relation_type="m.reference")

    await stage.service.send(ROOM, BOB, "m.read", "$y", "$1")

    assert (await stage.seen_by(ALICE))["$y"]["m.read"][BOB]["thread_id"] == "$1"
    with pytest.raises(InvalidParam):
        await stage.service.send(ROOM, BOB, "m.read", "$y", "main")


@pytest.mark.parametrize(
    ("event_id", "thread_id"),
    [("$1", "main"), ("$1", "$1"), ("$reply", "$1"), ("$reaction", "$1"), ("$3", "main")],
)
async def test_events_of_a_thread_are_taken_for_it(stage, event_id, thread_id):
    await stage.service.send(ROOM, BOB, "m.read", event_id, thread_id)

    assert (await stage.seen_by(ALICE))[event_id]["m.read"][BOB]["thread_id"] == thread_id


@pytest.mark.parametrize(
    ("receipt_type", "event_id", "thread_id", "error"),
    [
        ("m.read", "$reply", "main", InvalidParam),
        ("m.read", "$2", "$1", InvalidParam),
        ("m.read", "$1", "", InvalidParam),
        ("m.fully_read", "$1", "main", InvalidParam),
        ("m.other", "$1", None, InvalidParam),
        ("m.read", "$elsewhere", None, NotFound),
        ("m.read", "$unknown", None, NotFound),
        ("m.read", "$\0", None, NotFound),
    ],
)
async def test_impossible_receipts_are_refused(stage, receipt_type, event_id, thread_id, error):
    with pytest.raises(error):
        await stage.service.send(ROOM, BOB, receipt_type, event_id, thread_id)


async def test_who_is_not_in_the_room_sends_no_receipts(stage):
    with pytest.raises(Forbidden):
        await stage.service.send(ROOM, "@dora:one.example", "m.read", "$1")


async def test_the_fully_read_marker_is_account_data(stage):
    await stage.service.set_markers(ROOM, BOB, {"m.fully_read": "$1", "m.read": "$2"})

    content = await get_account_data(stage.database, BOB, ROOM, "m.fully_read")
    assert content == {"event_id": "$1"}
    assert list(await stage.seen_by(ALICE)) == ["$2"]


def entry(event_id: str, **more: Any) -> Any:
    """One reader's part of an ``m.receipt`` EDU."""
    return {"event_ids": [event_id], "data": {"ts": 5, **more}}


async def test_a_peers_receipts_are_taken_for_its_own_users(stage):
    receipts = {CAROL: entry("$2"), BOB: entry("$3"), "@eve:two.example": entry("$1")}

    await stage.service.receive(PEER, ROOM, {"m.read": receipts, "m.read.private": receipts})

    assert await stage.seen_by(ALICE) == {"$2": {"m.read": {CAROL: {"ts": 5}}}}


async def test_a_receipt_may_come_before_its_event(stage):
    await stage.service.receive(PEER, ROOM, {"m.read": {CAROL: entry("$later")}})
    await stage.service.receive(PEER, ROOM, {"m.read": {CAROL: entry("$3")}})

    assert list(await stage.seen_by(ALICE)) == ["$3"]


@pytest.mark.parametrize(
    "receipts",
    [
        {},
        {"m.read": []},
        {"m.read": {CAROL: 1}},
        {"m.read": {CAROL: {"event_ids": [], "data": {"ts": 1}}}},
        {"m.read": {CAROL: {"event_ids": ["$1"], "data": {"ts": 2**70}}}},
        {"m.read": {CAROL: entry("$1", thread_id=4)}},
        {"m.read": {"@\0:two.example": entry("$1")}},
    ],
)
async def test_malformed_receipts_of_a_peer_are_dropped(stage, receipts):
    await stage.service.receive(PEER, ROOM, receipts)

    assert await stage.seen_by(ALICE) == {}
