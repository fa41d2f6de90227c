"""The outbox: EDUs, lasting and ephemeral."""

from __future__ import annotations

import asyncio

import pytest

from federation import outbox as outbox_module


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
