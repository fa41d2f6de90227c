"""The list of conversations, as Matrix clients make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser, new_user
from tests.conversations.matrix import account_data, make_room, read, say
from tests.integration.single import Instance, running


async def names(person: ApiUser, query: str = "") -> list[str]:
    return [item["name"] for item in (await person.get(f"/conversations{query}"))["items"]]


async def conversation(person: ApiUser, room_id: str) -> Any:
    return await person.get(f"/conversations/{quote(room_id)}")


async def test_a_group_shows_what_its_room_says(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob, name="Boats", topic="Sails and oars")
    await say(bob, room_id, "Ahoy")
    event_id = await say(bob, room_id, "alice@one.test: land!")

    shown = await conversation(alice, room_id)

    last = shown.pop("last_message")
    assert (last["id"], last["text"], last["sender"]) == (
        event_id,
        "alice@one.test: land!",
        bob.address,
    )
    assert shown.pop("last_activity_at") == last["sent_at"]
    assert shown.pop("created_at").endswith("Z")
    assert shown == {
        "id": room_id,
        "kind": "group",
        "state": "active",
        "name": "Boats",
        "description": "Sails and oars",
        "avatar": None,
        "peer": None,
        "member_count": 2,
        "my_role": "owner",
        "my_permissions": [
            "send",
            "invite",
            "remove",
            "change_settings",
            "delete_messages",
            "moderate",
            "administer",
        ],
        "unread": {"messages": 2, "mentions": 0},
        "muted": False,
        "pinned": False,
        "archived": False,
        "encrypted": False,
        "history": "all",
        "join": "invite",
        "permissions": {
            "send": "member",
            "invite": "member",
            "remove": "admin",
            "change_settings": "admin",
            "delete_messages": "admin",
            "moderate": "admin",
            "administer": "owner",
        },
        "invited_by": None,
    }
    await read(alice, room_id, event_id)
    assert (await conversation(alice, room_id))["unread"] == {"messages": 0, "mentions": 0}


async def test_the_last_active_comes_first_and_pages_follow_each_other(
    alice: ApiUser, bob: ApiUser
) -> None:
    rooms = [await make_room(alice, bob, name=f"Room {n}") for n in range(7)]
    for n in (3, 1, 5):
        await say(bob, rooms[n], "hello")

    first = await alice.get("/conversations?limit=3")
    second = await alice.get(f"/conversations?limit=3&cursor={first['next']}")
    third = await alice.get(f"/conversations?limit=3&cursor={second['next']}")

    listed = [item["name"] for page in (first, second, third) for item in page["items"]]
    assert listed[:3] == ["Room 5", "Room 1", "Room 3"]
    assert listed[3:] == ["Room 6", "Room 4", "Room 2", "Room 0"]
    assert third["next"] is None


async def test_an_edit_or_a_reaction_is_not_the_last_message(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob)
    event_id = await say(alice, room_id, "Helo")
    edit = {"m.new_content": {"msgtype": "m.text", "body": "Hello"}}
    relation = {"rel_type": "m.replace", "event_id": event_id}
    await say(alice, room_id, "* Hello", **edit, **{"m.relates_to": relation})
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": "x"}}
    await bob.matrix("PUT", f"/rooms/{room_id}/send/m.reaction/1", reaction)

    last = (await conversation(bob, room_id))["last_message"]

    assert (last["id"], last["text"]) == (event_id, "Hello")
    assert "edited_at" in last


async def test_a_deleted_message_is_shown_without_its_content(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob)
    event_id = await say(alice, room_id, "secret")
    await alice.matrix("PUT", f"/rooms/{room_id}/redact/{event_id}/1", {"reason": "oops"})

    last = (await conversation(bob, room_id))["last_message"]

    assert last["id"] == event_id
    assert "text" not in last
    assert (last["deleted"]["by"], last["deleted"]["reason"]) == (alice.address, "oops")


async def test_what_was_said_before_one_came_is_not_shown(alice: ApiUser, bob: ApiUser) -> None:
    since_joining = {
        "type": "m.room.history_visibility",
        "state_key": "",
        "content": {"history_visibility": "joined"},
    }
    room_id = await make_room(alice, initial_state=[since_joining])
    await say(alice, room_id, "before")
    await alice.matrix("POST", f"/rooms/{room_id}/invite", {"user_id": bob.user_id})
    await bob.matrix("POST", f"/rooms/{room_id}/join", {})

    shown = await conversation(bob, room_id)

    assert shown["last_message"] is None
    assert shown["history"] == "since_joining"


async def test_a_direct_conversation_bears_the_name_of_whom_it_is_with(
    alice: ApiUser, bob: ApiUser
) -> None:
    profile = f"/profile/{bob.user_id}/displayname"
    await bob.matrix("PUT", profile, {"displayname": "Bob the Builder"})
    room_id = await make_room(alice, bob, preset="trusted_private_chat", is_direct=True)
    path = f"/user/{alice.user_id}/account_data/m.direct"
    await alice.matrix("PUT", path, {bob.user_id: [room_id]})

    shown = await conversation(alice, room_id)

    assert (shown["kind"], shown["name"]) == ("direct", "Bob the Builder")
    assert shown["peer"] == {
        "address": "bob@one.test",
        "name": "Bob the Builder",
        "avatar": None,
        "is_local": True,
    }
    assert await names(alice, "?kind=direct") == ["Bob the Builder"]
    assert await names(alice, "?kind=group") == []


async def test_a_group_without_a_name_is_named_after_its_members(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(instance, "carol")
    await make_room(alice, bob, carol)

    assert await names(alice) == ["bob, carol"]


async def test_an_invitation_says_who_invites(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, name="Boats", invite=[bob.user_id])

    shown = await conversation(bob, room_id)

    assert (shown["state"], shown["name"], shown["kind"]) == ("invited", "Boats", "group")
    assert shown["invited_by"]["address"] == alice.address
    assert (shown["last_message"], shown["my_permissions"]) == (None, [])
    assert await names(bob, "?state=active") == []
    assert await names(bob, "?state=invited") == ["Boats"]


async def test_a_strangers_request_is_listed_when_asked_for_and_hides_what_they_chose(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, consent={"defaults": {"group": "ask"}}) as one:
        alice, bob = await new_user(one, "alice"), await new_user(one, "bob")
        await make_room(alice, name="WIN MONEY", topic="Click", invite=[bob.user_id])

        shown = await bob.get("/conversations?state=requested")

        assert await names(bob) == []
        (request,) = shown["items"]
        assert (request["state"], request["name"]) == ("requested", None)
        assert request["description"] is None
        assert request["invited_by"]["address"] == alice.address


async def test_what_one_has_left_is_shown_as_it_was(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob, name="Before")
    await say(alice, room_id, "seen")
    await bob.matrix("POST", f"/rooms/{room_id}/leave", {})
    await alice.matrix("PUT", f"/rooms/{room_id}/state/m.room.name/", {"name": "After"})
    await say(alice, room_id, "not seen")

    shown = await conversation(bob, room_id)

    assert (shown["state"], shown["name"]) == ("left", "Before")
    assert shown["last_message"]["text"] == "seen"
    assert await names(bob) == []
    assert await names(bob, "?state=left") == ["Before"]
    await bob.matrix("POST", f"/rooms/{room_id}/forget", {})
    await bob.get(f"/conversations/{quote(room_id)}", status=404)


async def test_others_conversations_are_not_found(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, name="Private")

    for path in (room_id, "!nowhere:one.test", "nonsense"):
        await bob.get(f"/conversations/{quote(path)}", status=404)


async def test_a_search_looks_at_names_and_people(alice: ApiUser, bob: ApiUser) -> None:
    await make_room(alice, bob, name="Große Segler")
    await make_room(alice, bob, name="Oars")

    assert await names(alice, "?query=GROSSE") == ["Große Segler"]
    assert await names(alice, "?query=nobody") == []


async def test_the_unread_are_found(alice: ApiUser, bob: ApiUser) -> None:
    rooms = [await make_room(alice, bob, name=name) for name in ("One", "Two")]
    await say(bob, rooms[1], "hello")

    assert await names(alice, "?unread=true") == ["Two"]
    assert await names(alice, "?unread=false") == ["One"]


async def test_what_is_muted_is_counted_though_it_notifies_nobody(
    alice: ApiUser, bob: ApiUser
) -> None:
    room_id = await make_room(alice, bob)
    await alice.call("PATCH", f"/conversations/{quote(room_id)}/settings", {"muted": True})
    first = await say(bob, room_id, "one")
    await say(bob, room_id, "two")

    assert (await conversation(alice, room_id))["unread"] == {"messages": 2, "mentions": 0}
    assert len(await names(alice, "?unread=true")) == 1
    await read(alice, room_id, first)
    assert (await conversation(alice, room_id))["unread"]["messages"] == 1
    await say(alice, room_id, "three")
    assert (await conversation(alice, room_id))["unread"]["messages"] == 0
    assert await names(alice, "?unread=true") == []


async def test_settings_are_what_matrix_clients_make_of_them(alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob, name="Boats")
    path = f"/conversations/{quote(room_id)}/settings"

    shown = await alice.call("PATCH", path, {"muted": True, "pinned": True, "archived": True})

    assert (shown["muted"], shown["pinned"], shown["archived"]) == (True, True, True)
    tags = await account_data(alice, "m.tag", room_id)
    assert set(tags["tags"]) == {"m.favourite", "m.lowpriority"}
    rule = await alice.matrix("GET", f"/pushrules/global/override/{room_id}")
    assert (rule["actions"], rule["enabled"]) == ([], True)
    assert await names(alice, "?archived=true") == ["Boats"]
    assert await names(alice, "?archived=false") == []
    assert await names(alice, "?pinned=true") == ["Boats"]

    await alice.matrix("DELETE", f"/pushrules/global/override/{room_id}")
    await alice.matrix("DELETE", f"/user/{alice.user_id}/rooms/{room_id}/tags/m.favourite")
    shown = await alice.call("PATCH", path, {"archived": False})
    assert (shown["muted"], shown["pinned"], shown["archived"]) == (False, False, False)


async def test_a_mute_ends_by_itself(instance: Instance, alice: ApiUser, bob: ApiUser) -> None:
    room_id = await make_room(alice, bob)
    path = f"/conversations/{quote(room_id)}/settings"
    settings = instance.wiring.conversations.conversation_parts.settings

    shown = await alice.call("PATCH", path, {"muted": "2999-01-01T00:00:00Z"})
    assert shown["muted"] == "2999-01-01T00:00:00.000Z"
    settings._clock_ms = lambda: 40_000_000_000_000
    await instance.wiring.ends.work_off()

    assert (await conversation(alice, room_id))["muted"] is False
    await alice.matrix("GET", f"/pushrules/global/override/{room_id}", status=404)
    await alice.call("PATCH", path, {"muted": "2001-01-01T00:00:00Z"}, status=400)
    await alice.call("PATCH", path, {"muted": "tomorrow"}, status=400)


async def test_a_page_takes_as_many_queries_whatever_is_on_it(
    instance: Instance, alice: ApiUser, bob: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything forgotten that memory has, as after a restart."""
    carol = await new_user(instance, "carol")

    async def fill(number: int) -> None:
        for n in range(number):
            room_id = await make_room(alice, bob, carol, name=f"Room {n}" if n % 2 else None)
            await say(bob, room_id, "hello")
            await make_room(bob, name="Invites", invite=[alice.user_id])

    await fill(2)
    few, listed = await least_queries(instance, alice, monkeypatch)
    assert listed == 4
    await fill(10)
    many, listed = await least_queries(instance, alice, monkeypatch)

    assert listed == 24
    assert many == few <= 25


async def least_queries(
    instance: Instance, person: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, int]:
    """Of some tries, for what the server does in the background at that moment counts as well."""
    return min([await count_queries(instance, person, monkeypatch) for _ in range(5)])


async def count_queries(
    instance: Instance, person: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, int]:
    """How many queries a list takes when nothing is in memory, and how many are listed."""
    wiring = instance.wiring
    parts = wiring.conversations.conversation_parts
    reading = wiring.reading
    for cache in (
        parts.cards._cards,
        parts.newest._rooms,
        parts.settings._tags,
        wiring.store._cache,
        wiring.live_rooms._rooms,
        reading.summaries._summaries,
        reading.unread_counts._counts,
        reading.visibility._readers,
        reading.visibility._histories,
        reading.rooms_of_users._users,
        wiring.account_data._cache,
    ):
        cache.clear()
    queries: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("fetch", "fetchrow", "fetchval", "execute"):
            original = getattr(wiring.database, name)

            async def counted(query: str, *args: Any, _original: Any = original) -> Any:
                queries.append(query)
                return await _original(query, *args)

            patch.setattr(wiring.database, name, counted)
        listed = (await person.get("/conversations?limit=100"))["items"]
    return len(queries), len(listed)
