"""A page of messages costs as many statements, however long it is and whatever was said of it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser
from tests.conversations.test_messages import POLL, a_group, say

MOST = 25


@asynccontextmanager
async def counted(alice: ApiUser, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """The statements that run meanwhile."""
    statements: list[str] = []
    database = alice.instance.wiring.database
    with monkeypatch.context() as patch:
        for name in ("fetch", "fetchrow", "fetchval", "execute"):
            original = getattr(Database, name)

            async def counting(
                self: Database, query: str, *args: Any, _original: Any = original
            ) -> Any:
                if self is database:
                    statements.append(query)
                return await _original(self, query, *args)

            patch.setattr(Database, name, counting)
        yield statements


async def everything_said(alice: ApiUser, bob: ApiUser, room_id: str) -> None:
    """A message with an edit, reactions and a reply; a poll with votes; an event; a deletion."""
    path = f"/conversations/{room_id}/messages"
    message_id = await say(alice, room_id, "hello")
    await alice.call("PATCH", f"{path}/{message_id}", {"text": "hello!"})
    await bob.call("PUT", f"{path}/{message_id}/reactions/x")
    await say(bob, room_id, "reply", thread=message_id)
    poll = await alice.post(path, POLL, status=201)
    await bob.call("PUT", f"{path}/{poll['message']['id']}/vote", {"choices": ["a"]})
    event = {"title": "Tea", "starts_at": "2026-12-01T12:00:00Z"}
    sent = await alice.post(path, {"kind": "event", "event": event}, status=201)
    await bob.call("PUT", f"{path}/{sent['message']['id']}/answer", {"answer": "yes"})
    gone = await say(alice, room_id, "oops")
    await alice.call("DELETE", f"{path}/{gone}")
    name = {"name": secrets.token_hex(4)}
    await alice.matrix("PUT", f"/rooms/{room_id}/state/m.room.name", name)
    await bob.matrix("PUT", f"/profile/{bob.user_id}/displayname", {"displayname": name["name"]})


async def statements_of(
    alice: ApiUser, path: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, int]:
    """How many statements a page costs once caches of events are cold, and its length."""
    alice.instance.wiring.store._cache.clear()
    async with counted(alice, monkeypatch) as statements:
        page = await alice.get(path)
    return len(statements), len(page["items"])


async def test_a_longer_page_costs_no_more_statements(
    alice: ApiUser, bob: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await a_group(alice, bob)
    path = f"/conversations/{room_id}/messages?limit=100"
    await everything_said(alice, bob, room_id)
    await statements_of(alice, path, monkeypatch)  # who may see the room is known afterwards

    few, short = await statements_of(alice, path, monkeypatch)
    for _ in range(9):
        await everything_said(alice, bob, room_id)
    many, long = await statements_of(alice, path, monkeypatch)

    assert long > 5 * short
    assert many == few <= MOST


async def test_a_send_costs_no_statement_more_than_through_matrix(
    alice: ApiUser, bob: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"to": bob.address, "text": "x"}
    room_id = (await alice.post("/messages", body, status=201))["conversation"]["id"]
    await bob.post("/messages", {"to": alice.address, "text": "x"}, status=201)
    path = f"/rooms/{room_id}/send/m.room.message"
    text = {"msgtype": "m.text", "body": "x"}
    await alice.matrix("PUT", f"{path}/warm", text)
    await alice.post("/messages", body, status=201)

    async with counted(alice, monkeypatch) as by_matrix:
        await alice.matrix("PUT", f"{path}/again", text)
    async with counted(alice, monkeypatch) as by_person:
        await alice.post("/messages", body, status=201, headers={"Idempotency-Key": "a"})
    async with counted(alice, monkeypatch) as by_conversation:
        await alice.post(f"/conversations/{room_id}/messages", {"text": "x"}, status=201)

    assert len(by_person) <= len(by_matrix)
    assert len(by_conversation) <= len(by_matrix)
