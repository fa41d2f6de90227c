"""The outbox: nothing is lost, nothing waits for a peer that is down, order is kept."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from federation import destination_queue, health
from federation import outbox as outbox_module
from federation.outbox import Outbox
from homeserver.protocol.events import Event, redacted_copy
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.services.server_blocks import ServerBlocks
from homeserver.storage import outbox as storage
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log
from tests.federation.network import Clock, Net, Node, Peer
from tests.harness.client import eventually

ROOM = "!room:us.test"
VERSION = ROOM_VERSIONS["11"]


class RunningClock(Clock):
    """The wall clock, and what it was advanced by."""

    def __call__(self) -> int:
        return self.now_ms + round(time.monotonic() * 1000)


class Inbox:
    """What a peer got by /send, and how it answers."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.transactions: list[dict[str, Any]] = []
        self.txn_ids: list[str] = []
        self.refuse: Callable[[dict[str, Any]], int | None] = lambda body: None
        self.results: dict[str, Any] = {}
        self.pause = 0.0
        self.answers = asyncio.Event()  # cleared, it lets those wait who send
        self.answers.set()
        self.at_once = 0
        self.most_at_once = 0
        peer.answers["/_matrix/federation/v1/send/"] = self._receive

    async def _receive(self, request: web.Request) -> web.Response:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            body = self.peer.bodies[-1]
            await asyncio.sleep(self.pause)
            await self.answers.wait()
            status = self.refuse(body)
            if status is not None:
                return web.json_response({"errcode": "M_UNKNOWN", "error": "No"}, status=status)
            self.txn_ids.append(request.path.rpartition("/")[2])
            self.transactions.append(body)
            return web.json_response({"pdus": self.results})
        finally:
            self.at_once -= 1

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events that arrived, in their order."""
        return [pdu["content"]["n"] for body in self.transactions for pdu in body["pdus"]]

    @property
    def edus(self) -> list[tuple[str, Any]]:
        """The EDUs that arrived."""
        return [(e["edu_type"], e["content"]) for body in self.transactions for e in body["edus"]]

    async def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for something."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.numbers[-10:], len(self.numbers), self.edus)
            await asyncio.sleep(0.01)

    async def has(self, numbers: list[int]) -> None:
        """Wait until these have arrived, each once, in this order, and nothing else has."""
        await self.until(lambda: len(self.numbers) >= len(numbers))
        assert self.numbers == numbers


class Us:
    """Our side: a log, and an outbox that can be restarted."""

    def __init__(self, net: Net, node: Node) -> None:
        self.net, self.node, self.database = net, node, node.database
        self.count = 0

    async def start(self) -> None:
        """As the process starts."""
        self.log = Log(self.database)
        self.health = health.DestinationHealth(database=self.database, clock_ms=self.net.clock)
        self.node.client._health = self.health
        self.outbox = Outbox(
            server_name="us.test",
            database=self.database,
            client=self.node.client,
            health=self.health,
            rules=self.node.rules,
            log=self.log,
            clock_ms=self.net.clock,
        )
        await self.log.start()
        await self.health.start()
        await self.outbox.start()

    async def stop(self) -> None:
        """As it stops."""
        await self.outbox.close()
        await self.health.close()
        await self.log.close()

    async def kill(self) -> None:
        """As it is killed: what is under way is gone."""
        for task in list(self.outbox._tasks):
            task.cancel()
        self.outbox._acks.clear()
        await self.stop()

    async def restart(self) -> None:
        """Stop and start."""
        await self.stop()
        await self.start()

    async def knows_all_taken(self, inbox: Inbox) -> None:
        """Wait until it is noted that a peer has taken the newest event, and all before it."""

        async def noted() -> bool:
            acked = await storage.get_acked_position(self.database, inbox.peer.server_name)
            return acked == self.log.position

        await eventually(noted, "the newest event is noted as taken")

    async def send(self, *peers: Peer | Inbox, times: int = 1) -> list[int]:
        """Commit events for some peers; their numbers."""
        names = {p.peer.server_name if isinstance(p, Inbox) else p.server_name for p in peers}
        set_id = await self.outbox.id_for(frozenset({*names, "us.test"}))
        records = []
        for _ in range(times):
            records.append(EventRecord(make_event(self.count), destination_set=set_id))
            self.count += 1
        await self.log.append(*records)
        return list(range(self.count - times, self.count))


def make_event(number: int) -> Event:
    """An event that is a number."""
    pdu = {
        "type": "m.room.message",
        "room_id": ROOM,
        "sender": "@alice:us.test",
        "content": {"n": number, "body": "ü"},
        "depth": number + 1,
        "origin_server_ts": number,
        "auth_events": [],
        "prev_events": [],
        "hashes": {"sha256": "x"},
        "signatures": {},
        "unsigned": {"secret": True},
    }
    return Event(pdu, f"$event{number}", VERSION)


@pytest.fixture
async def us(net: Net, database, monkeypatch):
    monkeypatch.setattr(health, "FIRST_INTERVAL_MS", 50)
    net.clock = RunningClock()
    await database.execute(
        "INSERT INTO rooms (room_id, room_version, created_at) VALUES ($1, '11', 0)", ROOM
    )
    us = Us(net, await net.node(database))
    await us.start()
    yield us
    await us.stop()


@pytest.fixture
async def inbox(net: Net) -> Inbox:
    return Inbox(await net.peer())


# ---------------------------------------------------------------- events


async def test_events_reach_all_to_whom_they_are_addressed_in_order(net, us, inbox):
    other = Inbox(await net.peer("other.test"))
    for _ in range(20):
        await us.send(inbox, other)
    await us.send(other)

    await inbox.has(list(range(20)))
    await other.has(list(range(21)))
    pdu = inbox.transactions[0]["pdus"][0]
    assert pdu["content"]["body"] == "ü"
    assert "unsigned" not in pdu
    assert inbox.transactions[0]["origin"] == "us.test"


async def test_what_comes_while_a_transaction_is_under_way_goes_together_in_the_next(us, inbox):
    inbox.answers.clear()
    await us.send(inbox)
    await inbox.until(lambda: inbox.at_once == 1)
    for _ in range(119):
        await us.send(inbox)
    inbox.answers.set()

    await inbox.has(list(range(120)))
    assert inbox.most_at_once == 1
    assert [len(body["pdus"]) for body in inbox.transactions] == [1, 50, 50, 19]


async def test_a_peer_that_was_down_gets_everything_once_it_is_heard_from(net, us, inbox):
    await us.send(inbox)
    await inbox.has([0])
    await inbox.peer.close()
    await us.send(inbox, times=30)
    await us.send(inbox, times=200)
    name = inbox.peer.server_name
    await inbox.until(lambda: us.health.wait_seconds(name) > 3)
    await net.restart(inbox.peer)

    us.health.heard_from(name)

    await inbox.has(list(range(231)))


async def test_what_was_erased_before_a_peer_had_it_goes_out_redacted(net, us, inbox):
    await us.send(inbox)
    await inbox.has([0])
    await inbox.peer.close()
    await us.send(inbox, times=2)
    name = inbox.peer.server_name
    await inbox.until(lambda: us.health.is_failing(name))
    gone = redacted_copy(make_event(1))
    await us.log.append(ErasureRecord(ROOM, [gone], "expired", 0))
    await net.restart(inbox.peer)

    us.health.heard_from(name)

    await inbox.until(lambda: len(inbox.transactions) > 1)
    first, second = inbox.transactions[-1]["pdus"]
    assert (first["content"], second["content"]["n"]) == ({}, 2)


async def test_what_a_peer_does_not_take_is_remembered_with_its_reason(us, inbox):
    inbox.results = {
        "$event0": {},
        "$event1": {"error": "You are banned \0" + "x" * 500},
        "$event2": {"error": None},
        "$never": {"error": "sent"},
    }
    arrived: list[int] = []
    us.outbox.arrivals = lambda _server, position: arrived.append(position)

    await inbox.has(await us.send(inbox, times=3))

    await inbox.until(lambda: bool(arrived))
    rows = await us.database.fetch("SELECT * FROM delivery_refusals ORDER BY event_id")
    assert [row["event_id"] for row in rows] == ["$event1", "$event2"]
    assert rows[0]["server_name"] == inbox.peer.server_name
    assert rows[0]["reason"].startswith("You are banned")
    assert len(rows[0]["reason"]) == 200


async def test_who_wants_a_peer_tried_now_does_not_wait(monkeypatch, net, us, inbox):
    monkeypatch.setattr(health, "FIRST_INTERVAL_MS", 3_600_000)
    await inbox.peer.close()
    numbers = await us.send(inbox)
    name = inbox.peer.server_name
    await inbox.until(lambda: us.outbox.failing_since(name) is not None)
    await net.restart(inbox.peer)

    us.outbox.try_now(name)

    await inbox.has(numbers)


async def test_it_is_told_how_far_a_peer_has_got(us, inbox):
    told: list[tuple[str, int]] = []
    us.outbox.arrivals = lambda server, position: told.append((server, position))

    await inbox.has(await us.send(inbox))

    await inbox.until(lambda: bool(told))
    assert told == [(inbox.peer.server_name, us.log.position)]


async def test_a_peer_that_comes_back_in_silence_gets_everything_in_the_end(net, us, inbox):
    await inbox.peer.close()
    numbers = await us.send(inbox, times=10)
    await asyncio.sleep(0.3)
    await net.restart(inbox.peer)

    await inbox.has(numbers)
    await inbox.until(lambda: not us.health.is_failing(inbox.peer.server_name))


async def test_a_restart_of_ours_loses_nothing(net, us, inbox):
    await inbox.peer.close()
    numbers = await us.send(inbox, times=130)
    await us.restart()
    numbers += await us.send(inbox, times=5)
    await us.restart()
    await net.restart(inbox.peer)

    await inbox.has(numbers)
    assert [len(body["pdus"]) for body in inbox.transactions][:2] == [50, 50]


async def test_a_restart_repeats_nothing_that_was_acknowledged(us, inbox):
    numbers = await us.send(inbox, times=60)
    await us.knows_all_taken(inbox)
    await us.restart()
    numbers += await us.send(inbox)
    await us.knows_all_taken(inbox)
    await us.restart()

    await inbox.has(numbers)


async def test_the_same_events_after_a_crash_are_the_same_transaction(us, inbox):
    numbers = await us.send(inbox, times=3)
    await inbox.has(numbers)
    await us.stop()
    await us.database.execute("UPDATE destinations SET acked_position = 0")
    await us.start()

    await inbox.has(numbers * 2)
    assert inbox.txn_ids[0] == inbox.txn_ids[1]


async def test_more_than_memory_holds_is_read_from_the_database(monkeypatch, us, inbox):
    monkeypatch.setattr(destination_queue, "MAX_IN_MEMORY", 60)
    monkeypatch.setattr(destination_queue, "PAGE", 70)
    inbox.pause = 0.005
    for _ in range(60):
        await us.send(inbox, times=20)

    await inbox.has(list(range(1200)))


async def test_a_peer_that_is_down_holds_nobody_up(net, us, inbox):
    dead = await net.peer("dead.test")
    await dead.close()
    hanging = Inbox(await net.peer("hanging.test"))
    hanging.pause = 60
    started = time.monotonic()
    for _ in range(10):
        await us.send(inbox, dead, hanging)

    await inbox.has(list(range(10)))
    assert time.monotonic() - started < 30


async def test_a_peer_that_is_met_for_the_first_time_gets_what_is_for_it_alone(net, us, inbox):
    late = Inbox(await net.peer("late.test"))
    await us.send(inbox, times=40)

    numbers = await us.send(inbox, late, times=2)

    await late.has(numbers)


async def test_events_do_not_overtake_one_whose_receivers_must_be_read_first(us, inbox):
    other = Inbox(await us.net.peer("other.test"))
    await us.send(inbox)
    await us.send(inbox, other)
    for number in range(10):
        await us.send(inbox)
        us.outbox._sets._servers.clear()
        if number % 2:
            await us.send(inbox, other)

    await inbox.has(list(range(17)))


async def test_sets_of_receivers_may_be_large(us, inbox):
    names = frozenset({f"server-number-{number}.test:1" for number in range(2000)})

    set_id = await us.outbox.id_for(names)

    assert await us.outbox.id_for(frozenset(names)) == set_id
    assert await storage.DestinationSets(us.database).servers_of(set_id) == tuple(sorted(names))


async def test_an_event_redacted_meanwhile_goes_out_redacted(net, us, inbox):
    await inbox.peer.close()
    await us.send(inbox, times=2)
    await us.database.execute("UPDATE events SET redacted_by = '$r' WHERE event_id = '$event0'")
    await us.restart()
    await net.restart(inbox.peer)

    await inbox.until(lambda: bool(inbox.transactions))
    contents = [pdu["content"] for pdu in inbox.transactions[0]["pdus"]]
    assert contents == [{}, {"n": 1, "body": "ü"}]


@pytest.mark.parametrize("seed", range(4))
async def test_through_crashes_and_outages_all_arrive_in_order(monkeypatch, net, us, inbox, seed):
    monkeypatch.setattr(destination_queue, "MAX_IN_MEMORY", 20)
    monkeypatch.setattr(destination_queue, "PAGE", 15)
    choose = random.Random(seed)
    inbox.refuse = lambda body: 500 if choose.random() < 0.2 else None
    for _ in range(25):
        match choose.randrange(8):
            case 0:
                await us.kill()
                await us.start()
            case 1:
                await inbox.peer.close()
                await asyncio.sleep(choose.random() * 0.1)
                await net.restart(inbox.peer)
                us.health.heard_from(inbox.peer.server_name)
            case _:
                await us.send(inbox, times=choose.randrange(1, 30))
        await asyncio.sleep(choose.random() * 0.03)
    inbox.refuse = lambda body: None

    await inbox.until(lambda: len(set(inbox.numbers)) == us.count, 60)
    first_arrivals = list(dict.fromkeys(inbox.numbers))
    assert first_arrivals == list(range(us.count))


# ---------------------------------------------------------------- refusals


async def test_an_event_that_the_peer_cannot_take_does_not_hold_up_the_others(us, inbox):
    def refuse(body: dict[str, Any]) -> int | None:
        return 400 if any(pdu["content"]["n"] == 37 for pdu in body["pdus"]) else None

    inbox.refuse = refuse
    await us.send(inbox, times=80)

    await inbox.has([number for number in range(80) if number != 37])
    await us.restart()
    numbers = await us.send(inbox)
    await inbox.until(lambda: inbox.numbers[-1] == numbers[0])


async def test_an_edu_that_the_peer_cannot_take_does_not_hold_up_the_others(us, inbox):
    def refuse(body: dict[str, Any]) -> int | None:
        return 413 if any(edu["content"] == {"n": 3} for edu in body["edus"]) else None

    inbox.refuse = refuse
    for number in range(6):
        await us.outbox.queue_edu([inbox.peer.server_name], "m.x", {"n": number})
    numbers = await us.send(inbox, times=3)

    await inbox.until(lambda: len(inbox.edus) == 5)
    await inbox.has(numbers)
    assert [content["n"] for _, content in inbox.edus] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
async def test_a_peer_that_refuses_everything_gets_everything_once_it_does_not(us, inbox, status):
    inbox.refuse = lambda body: status
    numbers = await us.send(inbox, times=5)
    await asyncio.sleep(0.6)
    inbox.refuse = lambda body: None
    us.health.heard_from(inbox.peer.server_name)

    await inbox.has(numbers)


async def test_a_denied_server_is_sent_nothing(us, inbox, monkeypatch):
    monkeypatch.setattr(us.node.rules, "allows", lambda name: False)

    await us.send(inbox)
    await us.outbox.queue_edu([inbox.peer.server_name], "m.x", {})
    us.outbox.queue_ephemeral([inbox.peer.server_name], "m.typing", {}, "k")
    await asyncio.sleep(0.2)

    assert inbox.peer.requests == []
    assert await us.database.fetchval("SELECT count(*) FROM outbox_edus") == 0


# ---------------------------------------------------------------- EDUs


async def test_an_edu_survives_a_restart_and_is_deleted_once_it_has_arrived(net, us, inbox):
    await inbox.peer.close()
    await us.outbox.queue_edu([inbox.peer.server_name], "m.direct_to_device", {"a": "ü"})
    await us.restart()
    await net.restart(inbox.peer)

    await inbox.until(lambda: inbox.edus == [("m.direct_to_device", {"a": "ü"})])
    await us.restart()
    assert await us.database.fetchval("SELECT count(*) FROM outbox_edus") == 0
    assert len(inbox.edus) == 1


async def test_a_later_edu_of_the_same_key_replaces_an_earlier_one(net, us, inbox):
    await inbox.peer.close()
    for number in range(5):
        name = inbox.peer.server_name
        await us.outbox.queue_edu([name], "m.receipt", {"n": number}, coalesce_key="k")
    await net.restart(inbox.peer)

    await inbox.until(lambda: inbox.edus[-1:] == [("m.receipt", {"n": 4})])
    assert len(inbox.edus) <= 2  # one of them may have been under way


async def test_an_edu_replaced_while_it_is_under_way_arrives_as_well(us, inbox):
    inbox.answers.clear()
    name = inbox.peer.server_name
    await us.outbox.queue_edu([name], "m.receipt", {"n": 1}, coalesce_key="k")
    await inbox.until(lambda: inbox.at_once == 1)
    await us.outbox.queue_edu([name], "m.receipt", {"n": 2}, coalesce_key="k")
    inbox.answers.set()

    await inbox.until(lambda: len(inbox.edus) == 2)
    assert [content["n"] for _, content in inbox.edus] == [1, 2]


async def test_no_transaction_holds_more_than_a_hundred_edus(us, inbox):
    inbox.pause = 0.05
    name = inbox.peer.server_name
    for number in range(250):
        await us.outbox.queue_edu([name], "m.x", {"n": number})

    await inbox.until(lambda: len(inbox.edus) == 250)
    assert max(len(body["edus"]) for body in inbox.transactions) <= 100
    assert [content["n"] for _, content in inbox.edus] == list(range(250))


async def test_an_edu_queued_in_a_transaction_goes_out_with_its_commit(us, inbox, monkeypatch):
    monkeypatch.setattr(outbox_module, "LATE_COMMIT_SECONDS", 0.3)
    name = inbox.peer.server_name
    with pytest.raises(RuntimeError):
        async with us.database.transaction() as connection:
            await us.outbox.queue_edu([name], "m.x", {"n": 0}, connection=connection)
            raise RuntimeError
    async with us.database.transaction() as connection:
        await us.outbox.queue_edu([name], "m.x", {"n": 1}, connection=connection)
        await asyncio.sleep(0.1)
        assert inbox.edus == []

    await inbox.until(lambda: inbox.edus == [("m.x", {"n": 1})])


async def test_ephemeral_edus_go_once_and_the_latest_of_a_key_counts(net, us, inbox):
    inbox.answers.clear()
    name = inbox.peer.server_name
    for number in range(20):
        us.outbox.queue_ephemeral([name], "m.typing", {"n": number}, "room alice")
    await inbox.until(lambda: inbox.at_once == 1)
    for number in range(20, 40):
        us.outbox.queue_ephemeral([name], "m.typing", {"n": number}, "room alice")
        await asyncio.sleep(0)
    inbox.answers.set()

    await inbox.until(lambda: len(inbox.edus) == 2)
    assert [content["n"] for _, content in inbox.edus] == [19, 39]
    assert len(set(inbox.txn_ids)) == len(inbox.txn_ids)


async def test_ephemeral_edus_do_not_wait_for_a_peer_that_is_down(net, us, inbox):
    name = inbox.peer.server_name
    us.health.failed(name, "down")

    us.outbox.queue_ephemeral([name], "m.typing", {}, "k")
    await asyncio.sleep(0.3)

    assert inbox.peer.requests == []


# ---------------------------------------------------------------- coming back


async def test_after_an_outage_of_ours_known_peers_are_told_that_we_are_back(net, us, inbox):
    stranger = Inbox(await net.peer("stranger.test"))
    await us.send(inbox)
    await inbox.has([0])
    await us.stop()
    net.clock.advance(60)
    await us.start()

    await inbox.until(lambda: len(inbox.transactions) == 2)
    assert inbox.transactions[1]["pdus"] == inbox.transactions[1]["edus"] == []
    assert inbox.peer.requests[-1].headers["Authorization"].startswith("X-Matrix")
    assert stranger.peer.requests == []


async def test_a_short_restart_is_not_announced(us, inbox):
    await us.send(inbox)
    await inbox.has([0])

    await us.restart()
    await asyncio.sleep(0.3)

    assert len(inbox.transactions) == 1


async def test_the_greeting_is_repeated_until_it_is_taken(net, us, inbox):
    await us.send(inbox)
    await inbox.has([0])
    await us.stop()
    await inbox.peer.close()
    net.clock.advance(60)
    await us.start()
    await asyncio.sleep(0.3)
    await net.restart(inbox.peer)

    await inbox.until(lambda: len(inbox.transactions) == 2)
    await asyncio.sleep(0.3)
    assert len(inbox.transactions) == 2


# ---------------------------------------------------------------- blocked instances


@pytest.fixture
async def blocks(us) -> ServerBlocks:
    blocks = us.node.blocks
    blocks.backlog = us.outbox
    return blocks


async def test_what_is_meant_for_a_blocked_instance_waits_until_it_is_lifted(
    net, us, inbox, blocks
):
    other = Inbox(await net.peer("other.test"))
    await us.send(inbox, other)
    await inbox.has([0])
    await us.knows_all_taken(inbox)
    await blocks.block("peer.*", reason="spam", source="admin")

    await us.send(inbox, other, times=3)
    await other.has([0, 1, 2, 3])
    await us.outbox.queue_edu(["peer.test"], "m.receipt", {"n": 1}, "key")
    assert inbox.numbers == [0]
    assert not us.health.is_failing("peer.test")
    await blocks.unblock("peer.*")

    await inbox.has([0, 1, 2, 3])
    assert inbox.edus == []


async def test_what_waited_behind_a_long_block_is_dropped(net, us, inbox, blocks):
    await us.send(inbox)
    await inbox.has([0])
    await us.knows_all_taken(inbox)
    await blocks.block("peer.test", reason="spam", source="admin")
    await us.send(inbox, times=3)

    net.clock.advance(8 * 86_400)
    await blocks.unblock("peer.test")
    (after,) = await us.send(inbox)

    await inbox.has([0, after])


async def test_a_block_outlives_a_restart_and_sends_nothing(net, us, inbox, blocks):
    await us.send(inbox)
    await inbox.has([0])
    await us.knows_all_taken(inbox)
    await blocks.block("peer.test", reason="spam", source="admin")
    await us.send(inbox)

    await us.restart()
    blocks.backlog = us.outbox
    await asyncio.sleep(0.2)
    assert inbox.numbers == [0]
    await blocks.unblock("peer.test")

    await inbox.has([0, 1])
