"""Drafts over HTTP, and as account data."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.conversations.conftest import ApiUser


async def put(user: ApiUser, room_id: str, draft: Any, *, status: int = 200) -> Any:
    return await user.call("PUT", f"/conversations/{room_id}/draft", draft, status=status)


def account_data(user: ApiUser, room_id: str) -> str:
    return f"/user/{quote(user.user_id)}/rooms/{room_id}/account_data/dev.comity.draft"


async def test_a_draft_is_kept_for_all_devices(alice: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token)
    since = (await alice.matrix("GET", "/sync"))["next_batch"]

    kept = await put(alice, room_id, {"text": "Dear all", "reply_to": "$x"})

    assert await alice.get(f"/conversations/{room_id}/draft") == kept
    assert kept.pop("updated_at")
    assert kept == {"conversation_id": room_id, "text": "Dear all", "reply_to": "$x"}
    synced = await alice.matrix("GET", f"/sync?since={since}")
    (event,) = synced["rooms"]["join"][room_id]["account_data"]["events"]
    assert event["type"] == "dev.comity.draft"
    assert event["content"]["text"] == "Dear all"


async def test_a_draft_takes_the_place_of_the_one_before(alice: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token)
    await put(alice, room_id, {"text": "Dear all", "reply_to": "$x"})

    await put(alice, room_id, {"text": "Hi"})

    draft = await alice.get(f"/conversations/{room_id}/draft")
    assert draft["text"] == "Hi"
    assert "reply_to" not in draft


async def test_a_deleted_draft_is_gone(alice: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token)
    await put(alice, room_id, {"text": "Dear all"})

    for _ in range(2):
        await alice.call("DELETE", f"/conversations/{room_id}/draft")

    await alice.get(f"/conversations/{room_id}/draft", status=404)
    assert (await alice.get("/drafts"))["items"] == []


async def test_all_drafts_are_listed_the_last_changed_first(alice: ApiUser) -> None:
    rooms = [await alice.instance.room(alice.token) for _ in range(4)]
    for room_id in rooms:
        await put(alice, room_id, {"text": room_id})
    await alice.call("DELETE", f"/conversations/{rooms[3]}/draft")
    await put(alice, rooms[0], {"text": "again"})

    first = await alice.get("/drafts?limit=2")
    second = await alice.get(f"/drafts?limit=2&cursor={first['next']}")

    listed = [item["conversation_id"] for item in first["items"] + second["items"]]
    assert listed == [rooms[0], rooms[2], rooms[1]]
    assert second["next"] is None


async def test_what_other_clients_write_there_does_no_harm(alice: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token)
    path = account_data(alice, room_id)

    for content in ({"text": 7}, {"body": "x"}, {"text": "x", "updated_at": "soon"}):
        await alice.matrix("PUT", path, content)
        listed = (await alice.get("/drafts"))["items"]
        expected = 1 if content.get("text") == "x" else 0
        assert len(listed) == expected


async def test_there_are_no_drafts_elsewhere(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token)

    await put(bob, room_id, {"text": "x"}, status=404)
    await put(bob, "!nowhere:one.test", {"text": "x"}, status=404)


@pytest.mark.parametrize(
    ("draft", "status"),
    [
        ({}, 422),
        ({"text": ""}, 422),
        ({"txet": "x"}, 422),
        ({"text": "x" * 40_001}, 422),
        ({"custom": {"x": "y" * 9_000}}, 413),
    ],
)
async def test_what_makes_no_sense_is_refused(alice: ApiUser, draft: Any, status: int) -> None:
    room_id = await alice.instance.room(alice.token)

    await put(alice, room_id, draft, status=status)
