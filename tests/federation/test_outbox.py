"""The outbox: nothing is lost, nothing waits for a peer that is down, order is kept."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from federation import destination_queue, health
from homeserver.protocol.events import redacted_copy
from homeserver.storage import outbox as storage
from homeserver.storage.erasures import ErasureRecord
from tests.federation.outbox_world import ROOM, Inbox, make_event

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
