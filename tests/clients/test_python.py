"""The Python client against a running instance."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from comity.client import Client, ConnectionFailed, Problem, Reset, Update, Updates
from tests.integration.single import Instance


@pytest.fixture
async def alice(instance: Instance) -> AsyncIterator[Client]:
    async with Client(str(instance.client.make_url("/"))) as client:
        await client.sign_in("alice", "sesame")
        yield client


@pytest.fixture
async def bob(instance: Instance) -> AsyncIterator[Client]:
    async with Client(str(instance.client.make_url("/"))) as client:
        await client.sign_in("bob", "sesame")
        yield client


async def conversation(alice: Client, bob: Client) -> tuple[str, int]:
    """A conversation of the two, and a position in it."""
    sent = await alice.send("bob@one.test", "Hello")
    room_id = sent["conversation"]["id"]
    await bob.accept_invitation(room_id)
    return room_id, sent["message"]["position"]


async def first(updates: Updates, kind: str) -> Update:
    async with asyncio.timeout(30):
        async for update in updates:
            if update["type"] == kind:
                return update
    raise AssertionError("the updates ended")


async def test_a_message_arrives(alice: Client, bob: Client) -> None:
    room_id, position = await conversation(alice, bob)

    await alice.send(room_id, "Are you there?")

    update = await first(bob.updates(position), "message.created")
    assert update["message"]["text"] == "Are you there?"


async def test_every_operation_is_a_method(alice: Client, bob: Client) -> None:
    room_id, _ = await conversation(alice, bob)
    await alice.send(room_id, "One more")

    page = await bob.list_messages(room_id, limit=1)

    assert [m.get("text") for m in page["items"]] == ["One more"]
    assert page["next"] is not None


async def test_a_problem_is_raised(alice: Client) -> None:
    with pytest.raises(Problem) as raised:
        await alice.get_conversation("!none")

    assert (raised.value.code, raised.value.status) == ("not_found", 404)


async def test_the_same_key_sends_once(alice: Client, bob: Client) -> None:
    room_id, _ = await conversation(alice, bob)

    first_time = await alice.send(room_id, "once", key="k")
    again = await alice.send(room_id, "once", key="k")

    assert first_time["message"]["id"] == again["message"]["id"]


async def test_a_server_that_is_not_there_is_tried_and_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("comity.client.client.FIRST_PAUSE_SECONDS", 0.001)
    async with Client("http://127.0.0.1:9") as client:
        with pytest.raises(ConnectionFailed):
            await client.get_server()


async def test_what_is_sent_over_lost_sockets_comes_once_and_in_order(
    alice: Client, bob: Client
) -> None:
    room_id, position = await conversation(alice, bob)
    sending, receiving = alice.updates(), bob.updates(position)
    texts: list[str] = []

    async def drain() -> None:
        async for _ in sending:
            pass

    async def read() -> None:
        async for update in receiving:
            if update["type"] == "message.created":
                texts.append(update["message"]["text"])
                if len(texts) % 3 == 0:
                    await _lose(receiving)
                if texts[-1] == "9":
                    return

    tasks = [asyncio.create_task(drain()), asyncio.create_task(read())]
    for number in range(10):
        if number % 4 == 3:
            await _lose(sending)
        await sending.send("send", conversation_id=room_id, text=str(number))
    async with asyncio.timeout(60):
        await tasks[1]
    tasks[0].cancel()

    assert texts == [str(number) for number in range(10)]


async def _lose(updates: Updates) -> None:
    """Cut the connection, as a tunnel does."""
    updates_socket: aiohttp.ClientWebSocketResponse | None = updates._socket
    if updates_socket is not None:
        transport = updates_socket.get_extra_info("socket")
        assert transport is not None
        # uvloop lends its sockets to be looked at only
        with socket.socket(fileno=os.dup(transport.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)


async def test_a_position_that_never_was_is_a_reset(alice: Client) -> None:
    with pytest.raises(Reset):
        await first(alice.updates(10**12), "message.created")


async def test_a_revoked_token_ends_the_updates(alice: Client) -> None:
    alice.token = "cmt_nobodys"

    with pytest.raises(Problem) as raised:
        await first(alice.updates(), "message.created")

    assert raised.value.code == "unauthenticated"
