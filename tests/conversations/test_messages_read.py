"""What is forwarded, read, viewed once and typed, over HTTP."""

from __future__ import annotations

import asyncio

from tests.conversations.conftest import ApiUser
from tests.conversations.messages import a_group, say, texts


async def test_a_message_is_forwarded_with_its_origin(alice: ApiUser, bob: ApiUser) -> None:
    room_id, other = await a_group(alice, bob), await a_group(bob)
    message_id = await say(alice, room_id, "old", custom={"n": 1})
    await alice.call("PATCH", f"/conversations/{room_id}/messages/{message_id}", {"text": "new"})
    body = {"conversation_ids": [other, "!nowhere:one.test"], "to": [alice.address]}
    path = f"/conversations/{room_id}/messages/{message_id}/forward"
    key = {"Idempotency-Key": "f"}

    result = await bob.post(path, body, headers=key)
    again = await bob.post(path, body, headers=key)

    first, second, third = result["items"]
    assert first["sent"]["message"]["text"] == "new"
    assert first["sent"]["message"]["custom"] == {"n": 1}
    assert first["sent"]["message"]["forwarded"]["from"] == alice.address
    assert second["problem"]["code"] == "not_found"
    assert third["sent"]["conversation"]["kind"] == "direct"
    assert again["items"][0]["sent"]["message"]["id"] == first["sent"]["message"]["id"]
    assert await texts(bob, f"/conversations/{other}/messages?system=false") == ["new"]


async def test_what_is_viewed_once_is_not_forwarded(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await say(alice, room_id, "x", view_once=True)

    await bob.post(
        f"/conversations/{room_id}/messages/{message_id}/forward",
        {"to": [alice.address]},
        status=422,
    )


async def test_reading_moves_the_receipt(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    first = await say(alice, room_id, "one")
    second = await say(alice, room_id, "two")

    part = await bob.post(f"/conversations/{room_id}/read", {"message_id": first})
    whole = await bob.post(f"/conversations/{room_id}/read", {})

    assert (part["message_id"], whole["message_id"]) == (first, second)
    sync = await alice.matrix("GET", "/sync")
    ephemeral = sync["rooms"]["join"][room_id]["ephemeral"]["events"]
    receipts = next(e["content"] for e in ephemeral if e["type"] == "m.receipt")
    assert bob.user_id in receipts[second]["m.read"]


async def test_a_conversation_marked_unread_is_so_until_it_is_read(alice: ApiUser) -> None:
    room_id = await a_group(alice)
    path = f"/user/{alice.user_id}/rooms/{room_id}/account_data/m.marked_unread"

    await alice.post(f"/conversations/{room_id}/unread")
    marked = await alice.matrix("GET", path)
    await alice.post(f"/conversations/{room_id}/read")
    after = await alice.matrix("GET", path)

    assert (marked, after) == ({"unread": True}, {"unread": False})


async def test_a_message_viewed_once_is_gone_once_it_was_read(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    message_id = await say(alice, room_id, "psst", view_once=True)
    path = f"/conversations/{room_id}/messages/{message_id}"

    before = await bob.get(path)
    await bob.post(f"/conversations/{room_id}/read", {"message_id": message_id})
    await until_gone(bob, path)

    assert (before["text"], before["view_once"]) == ("psst", True)


async def until_gone(user: ApiUser, path: str) -> None:
    """Wait until a message is not shown any more, or shown as deleted."""
    for _ in range(600):
        async with user.instance.client.get(
            f"/api/v1{path}", headers={"Authorization": f"Bearer {user.token}"}
        ) as response:
            if response.status == 404 or "deleted" in await response.json():
                return
        await asyncio.sleep(0.05)
    raise AssertionError("it is still there")


async def test_typing_is_seen_by_matrix_clients(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)

    await alice.call("PUT", f"/conversations/{room_id}/typing", {"typing": True})

    ephemeral = (await bob.matrix("GET", "/sync"))["rooms"]["join"][room_id]["ephemeral"]["events"]
    (typing,) = [event["content"] for event in ephemeral if event["type"] == "m.typing"]
    assert typing == {"user_ids": [alice.user_id]}
