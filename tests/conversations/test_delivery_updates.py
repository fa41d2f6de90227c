"""Senders who are online are told how far their messages have come."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from homeserver.services.conversations.feed.updates import Update
from tests.conversations.conftest import ApiUser, new_user
from tests.conversations.messages import a_group
from tests.conversations.sockets import connected
from tests.conversations.test_status import send, sync


class Ear:
    """A connection of somebody's, without a wire."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.came = asyncio.Event()

    def deliver(self, update: Update) -> None:
        self.heard.append(orjson.loads(update.json))
        self.came.set()

    def cut_off(self, reason: str) -> None:
        assert reason == "closing"

    async def ready(self) -> None:
        return None

    @property
    def statuses(self) -> list[dict[str, Any]]:
        return [update for update in self.heard if update["type"] == "message.status"]

    async def hears(self, count: int) -> list[dict[str, Any]]:
        """The updates of statuses, once there are so many."""
        async with asyncio.timeout(30):
            while len(self.statuses) < count:
                self.came.clear()
                await self.came.wait()
        return self.statuses


async def listen(user: ApiUser) -> Ear:
    ear = Ear()
    feed = user.instance.wiring.conversations.feed_parts.feed
    await feed.open(user.user_id, None, None, ear)
    return ear


async def test_a_sender_is_told_of_devices_and_readers(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    ear = await listen(alice)
    message_id = await send(alice, room_id)

    await sync(bob)
    await bob.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{message_id}", {})
    statuses = await ear.hears(2)

    assert [update["status"] for update in statuses] == ["delivered_to_device", "read"]
    for update in statuses:
        assert update["message_id"] == message_id
        assert update["recipient"] == bob.address
        assert update["conversation_id"] == room_id
        assert update["at"].endswith("Z")
        assert "position" not in update


async def test_a_receipt_covers_what_came_before_it(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    ear = await listen(alice)
    messages = [await send(alice, room_id) for _ in range(3)]

    await bob.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{messages[1]}", {})
    statuses = await ear.hears(2)

    assert [update["message_id"] for update in statuses] == messages[:2]
    assert {update["status"] for update in statuses} == {"read"}


async def test_nobody_else_is_told(alice: ApiUser, bob: ApiUser) -> None:
    carol = await new_user(alice.instance, "carol")
    room_id = await a_group(alice, bob, carol)
    ears = [await listen(alice), await listen(carol)]
    message_id = await send(alice, room_id)

    await bob.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{message_id}", {})
    await ears[0].hears(1)

    assert ears[1].statuses == []


async def test_who_does_not_show_receipts_is_not_told_of(alice: ApiUser, bob: ApiUser) -> None:
    carol = await new_user(alice.instance, "carol")
    room_id = await a_group(alice, bob, carol)
    await bob.matrix("PUT", "/_comity/client/v1/consent/receipts", {"preset": "closed"})
    ear = await listen(alice)
    message_id = await send(alice, room_id)

    await sync(bob)
    await bob.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{message_id}", {})
    await carol.matrix("POST", f"/rooms/{room_id}/receipt/m.read/{message_id}", {})
    await ear.hears(1)

    assert {update["recipient"] for update in ear.statuses} == {carol.address}


async def test_nothing_is_kept_for_senders_who_are_not_online(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    await send(alice, room_id)

    ear = await listen(alice)
    await sync(bob)
    message_id = await send(alice, room_id)
    await sync(bob)
    await ear.hears(1)

    assert [update["message_id"] for update in ear.statuses] == [message_id]


async def test_what_a_socket_acknowledges_is_told_over_another(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    async with connected(alice) as hers, connected(bob) as his:
        await hers.send(type="send", client_id="one", conversation_id=room_id, text="hello")
        came = await his.until("message.created")
        await his.send(type="ack", position=came["position"])

        told = await hers.until("message.status")

    assert (told["message_id"], told["recipient"]) == (came["message"]["id"], bob.address)
    assert told["status"] == "delivered_to_device"


async def test_a_socket_that_comes_back_has_what_is_up_to_its_position(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await a_group(alice, bob)
    async with connected(alice) as hers:
        await hers.send(type="send", client_id="one", conversation_id=room_id, text="hello")
        sent = await hers.until("ok")
        async with connected(bob, since=sent["position"] + 10**6):
            pass
        async with connected(bob, since=sent["position"]):
            told = await hers.until("message.status")

    assert (told["message_id"], told["status"]) == (sent["message_id"], "delivered_to_device")
