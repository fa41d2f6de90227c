"""A page of messages costs as many statements, however long it is and whatever was said of it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.messages import PageRequest
from homeserver.services.conversations.shapes.messages import NewMessage
from homeserver.services.requester import Requester
from homeserver.services.rooms import Draft
from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser
from tests.conversations.messages import POLL, a_group, say

MOST = 25


Counting = Callable[[Awaitable[Any]], Awaitable[tuple[int, Any]]]
counted: ContextVar[list[str] | None] = ContextVar("counted", default=None)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """Awaits something, and says how many statements it took; those of other tasks aside."""
    for name in ("fetch", "fetchrow", "fetchval", "execute"):
        original = getattr(Database, name)

        async def note(self: Database, query: str, *args: Any, _original: Any = original) -> Any:
            statements = counted.get()
            if statements is not None:
                statements.append(query)
            return await _original(self, query, *args)

        monkeypatch.setattr(Database, name, note)

    async def count(work: Awaitable[Any]) -> tuple[int, Any]:
        statements: list[str] = []
        token = counted.set(statements)
        try:
            answer = await work
        finally:
            counted.reset(token)
        return len(statements), answer

    return count


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


async def statements_of(alice: ApiUser, room_id: str, counting: Counting) -> tuple[int, int]:
    """How many statements a page costs once caches of events are cold, and its length."""
    wiring = alice.instance.wiring
    wiring.store._cache.clear()
    messages = wiring.conversations.message_parts.messages
    statements, page = await counting(messages.page(alice.user_id, room_id, PageRequest(limit=100)))
    return statements, len(page.items)


async def test_a_longer_page_costs_no_more_statements(
    alice: ApiUser, bob: ApiUser, counting: Counting
) -> None:
    room_id = await a_group(alice, bob)
    await everything_said(alice, bob, room_id)
    await statements_of(alice, room_id, counting)  # who may see the room is known afterwards

    few, short = await statements_of(alice, room_id, counting)
    for _ in range(9):
        await everything_said(alice, bob, room_id)
    many, long = await statements_of(alice, room_id, counting)

    assert long > 5 * short
    assert 5 < many == few <= MOST


async def test_a_send_costs_no_statement_more_than_through_matrix(
    alice: ApiUser, bob: ApiUser, counting: Counting
) -> None:
    body = {"to": bob.address, "text": "x"}
    room_id = (await alice.post("/messages", body, status=201))["conversation"]["id"]
    await bob.post("/messages", {"to": alice.address, "text": "x"}, status=201)
    wiring = alice.instance.wiring
    sending = wiring.conversations.message_parts.sending
    requester = Requester(UserId(alice.user_id), "DEVICE")
    to_bob = NewMessage(to=bob.address, text="x")
    draft = Draft(alice.user_id, "m.room.message", {"msgtype": "m.text", "body": "x"})
    await sending.send(requester, to_bob, "warm")

    by_matrix, _ = await counting(wiring.rooms.send(room_id, draft))
    by_person, sent = await counting(sending.send(requester, to_bob, "again"))
    answering, _ = await counting(sending.answer(requester, sent))

    assert (by_person, answering) == (by_matrix, 0)
