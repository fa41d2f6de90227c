"""Conversations read over HTTP: in pages, around a message, by thread."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.services.conversations.shapes.pages import make_cursor
from homeserver.storage import messages as storage
from tests.conversations.conftest import ApiUser
from tests.conversations.messages import a_group, say, texts


async def test_a_conversation_is_read_in_pages_both_ways(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    for number in range(7):
        await say(alice, room_id, str(number))
    path = f"/conversations/{room_id}/messages?system=false&limit=3"

    first = await bob.get(path)
    second = await bob.get(f"{path}&cursor={first['next']}")
    third = await bob.get(f"{path}&cursor={second['next']}")
    back = await bob.get(f"{path}&cursor={third['previous']}")
    await say(alice, room_id, "new")
    news = await bob.get(f"{path}&cursor={first['previous']}")
    nothing = await bob.get(f"{path}&cursor={news['previous']}")

    assert [m["text"] for m in first["items"]] == ["6", "5", "4"]
    assert [m["text"] for m in second["items"]] == ["3", "2", "1"]
    assert [m["text"] for m in third["items"]] == ["0"]
    assert third["next"] is None
    assert [m["text"] for m in back["items"]] == ["3", "2", "1"]
    assert [m["text"] for m in news["items"]] == ["new"]
    assert nothing["items"] == []


async def test_many_reactions_do_not_hide_what_is_before_them(
    alice: ApiUser, bob: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MOST_SCANNED", 4)
    room_id = await a_group(alice, bob)
    first = await say(alice, room_id, "first")
    for number in range(7):
        await bob.call("PUT", f"/conversations/{room_id}/messages/{first}/reactions/{number}")
    path = f"/conversations/{room_id}/messages?system=false&limit=5"

    found: list[Any] = []
    page = await alice.get(path)
    while page["next"] is not None:
        found += page["items"]
        page = await alice.get(f"{path}&cursor={page['next']}")
    forwards = await alice.get(f"{path}&cursor={make_cursor('f', 0)}")

    assert [message["id"] for message in found + page["items"]] == [first]
    assert [message["id"] for message in forwards["items"]] == [first]


async def test_a_conversation_is_read_around_a_message(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    ids = [await say(alice, room_id, str(number)) for number in range(9)]
    path = f"/conversations/{room_id}/messages?system=false&limit=5"

    page = await bob.get(f"{path}&around={ids[4]}")
    older = await bob.get(f"{path}&cursor={page['next']}")
    newer = await bob.get(f"{path}&cursor={page['previous']}")

    assert [m["text"] for m in page["items"]] == ["6", "5", "4", "3", "2"]
    assert [m["text"] for m in older["items"]] == ["1", "0"]
    assert [m["text"] for m in newer["items"]] == ["8", "7"]


async def test_a_thread_is_read_alone(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    root = await say(alice, room_id, "root")
    first = await say(bob, room_id, "one", thread=root)
    await say(alice, room_id, "aside")
    last = await say(bob, room_id, "two", thread=first)

    message = await alice.get(f"/conversations/{room_id}/messages/{root}")

    path = f"/conversations/{room_id}/messages?thread={root}"
    assert await texts(alice, path) == ["two", "one"]
    assert message["replies"]["replies"] == 2
    assert message["replies"]["last_reply_id"] == last


async def test_what_happened_to_the_conversation_is_told(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice)
    await alice.matrix("PUT", f"/rooms/{room_id}/state/m.room.name", {"name": "Tea"})
    await bob.matrix("POST", f"/join/{room_id}")
    await bob.matrix("PUT", f"/profile/{bob.user_id}/displayname", {"displayname": "Bob!"})
    await alice.matrix("POST", f"/rooms/{room_id}/kick", {"user_id": bob.user_id, "reason": "why"})

    page = await alice.get(f"/conversations/{room_id}/messages")

    told = [
        (m["system"]["what"], m["system"].get("person"), m["system"].get("value"))
        for m in reversed(page["items"])
    ]
    assert told == [
        ("created", alice.address, None),
        ("joined", alice.address, None),
        ("renamed", None, "Tea"),
        ("joined", bob.address, None),
        ("name_changed", bob.address, "Bob!"),
        ("removed", bob.address, None),
    ]


async def test_who_is_not_in_a_conversation_reads_nothing(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await alice.instance.room(alice.token, preset="private_chat")
    message_id = await say(alice, room_id, "secret")

    await bob.get(f"/conversations/{room_id}/messages", status=404)
    await bob.get(f"/conversations/{room_id}/messages/{message_id}", status=404)
    await bob.get(f"/conversations/{room_id}/messages/{message_id}/edits", status=404)
    await bob.get(f"/conversations/{room_id}/messages/{message_id}/reactions", status=404)


async def test_who_joined_later_sees_only_what_they_may(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await alice.instance.room(
        alice.token,
        initial_state=[
            {
                "type": "m.room.history_visibility",
                "state_key": "",
                "content": {"history_visibility": "joined"},
            }
        ],
    )
    before = await say(alice, room_id, "before")
    await bob.matrix("POST", f"/join/{room_id}")
    await say(alice, room_id, "after")

    path = f"/conversations/{room_id}/messages"

    assert await texts(bob, path + "?system=false") == ["after"]
    await bob.get(f"{path}/{before}", status=404)
    await bob.get(f"{path}?around={before}", status=404)


async def test_ignored_people_are_not_heard(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await a_group(alice, bob)
    target = await say(alice, room_id, "mine")
    hidden = await say(bob, room_id, "noise")
    await bob.call("PUT", f"/conversations/{room_id}/messages/{target}/reactions/x")
    ignored = {"ignored_users": {bob.user_id: {}}}
    await alice.matrix("PUT", f"/user/{alice.user_id}/account_data/m.ignored_user_list", ignored)

    path = f"/conversations/{room_id}/messages"
    message = await alice.get(f"{path}/{target}")
    reactors = await alice.get(f"{path}/{target}/reactions")

    assert await texts(alice, path + "?system=false") == ["mine"]
    await alice.get(f"{path}/{hidden}", status=404)
    assert "reactions" not in message
    assert reactors["items"] == []


async def test_a_message_has_an_etag(alice: ApiUser) -> None:
    room_id = await a_group(alice)
    path = f"/conversations/{room_id}/messages/{await say(alice, room_id, 'x')}"
    _, headers = await alice.call_with_headers("GET", path)

    await alice.get(path, status=304, headers={"If-None-Match": headers["ETag"]})
