"""The outbox: what a peer does not take, and peers that are blocked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from homeserver.services.server_blocks import ServerBlocks
from tests.federation.outbox_world import Inbox


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
