"""What readers do not want, or may not see, they are not told: neither live nor again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from homeserver.storage.database import Database

from .test_feed import kinds, texts
from .world import Person, World, new_world

API = "/_comity/client/v1"


async def invite_directly(who: Person, whom: Person) -> str:
    body = {"is_direct": True, "invite": [whom.user_id], "preset": "trusted_private_chat"}
    room_id: str = (await who.call("POST", "/createRoom", body))["room_id"]
    return room_id


async def set_consent(who: Person, scope: str, **answers: str) -> None:
    await who.call("PUT", f"{API}/consent/{scope}", {"answers": answers})


async def test_a_strangers_invite_comes_as_a_request(
    world: World, alice: Person, bob: Person
) -> None:
    await set_consent(bob, "message", known_server="ask", stranger="ask")
    ear, _ = await bob.listen()
    start = world.position

    room_id = await invite_directly(alice, bob)

    await world.settled(lambda: "request.created" in kinds(ear.told))
    (created,) = [u for u in ear.told if u["type"] == "conversation.created"]
    assert created["conversation"] == {"id": room_id, "state": "requested"}
    (request,) = [u["request"] for u in ear.told if u["type"] == "request.created"]
    assert (request["person"], request["state"]) == (alice.address, "pending")
    again = [u for u in await bob.told_since(start) if u["type"].startswith("conversation")]
    assert again == [created]


async def test_of_who_may_not_write_nothing_is_heard(
    world: World, alice: Person, bob: Person
) -> None:
    await set_consent(bob, "message", known_server="block", stranger="block")
    ear, _ = await bob.listen()
    start = world.position

    body = {"is_direct": True, "invite": [bob.user_id], "preset": "trusted_private_chat"}
    await alice.call("POST", "/createRoom", body, status=403)

    await world.settled()
    assert ear.told == []
    assert await bob.told_since(start) == []


async def test_nothing_from_before_a_join_comes_though_members_may_see_it(
    world: World, alice: Person, bob: Person
) -> None:
    """What was said before is read over REST; the feed tells what happens."""
    room_id = await alice.room()
    start = world.position
    await alice.say(room_id, "before")
    await bob.join(room_id)
    await alice.say(room_id, "after")

    assert texts(await bob.told_since(start)) == ["after"]


async def test_between_two_stays_nothing_is_told(world: World, alice: Person, bob: Person) -> None:
    room_id = await alice.room(bob)
    ear, _ = await bob.listen()
    start = world.position
    await alice.say(room_id, "one")
    await bob.leave(room_id)
    await alice.say(room_id, "two")
    await bob.join(room_id)
    await alice.say(room_id, "three")

    await world.settled()
    assert texts(ear.told) == ["one", "three"]
    assert await bob.told_since(start) == ear.durable


async def test_a_hidden_message_is_not_told_again(world: World, alice: Person, bob: Person) -> None:
    room_id = await alice.room(bob)
    start = world.position
    hidden = await alice.say(room_id, "hidden")
    await alice.say(room_id, "shown")
    ear, _ = await bob.listen()
    body = {"event_ids": [hidden]}
    await bob.call("POST", f"{API}/rooms/{room_id}/hide", body)

    await alice.edit(room_id, hidden, "hidden, edited")
    await alice.say(room_id, "last")

    await world.settled(lambda: texts(ear.told) == ["last"])
    assert texts(await bob.told_since(start)) == ["shown", "last"]
    assert texts(await alice.told_since(start)) == ["hidden", "shown", "hidden, edited", "last"]


async def test_who_does_not_show_that_they_type_or_read_is_not_told_of(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room(bob)
    event_id = await alice.say(room_id, "hello")
    start = world.position
    for scope in ("typing", "receipts", "presence"):
        await set_consent(bob, scope, shared_room="block", contact="block", stranger="block")
    hers, _ = await alice.listen()
    his, _ = await bob.listen()

    await bob.call("PUT", f"/rooms/{room_id}/typing/{bob.user_id}", {"typing": True})
    await bob.call("POST", f"/rooms/{room_id}/receipt/m.read/{event_id}")
    await bob.call("PUT", f"/presence/{bob.user_id}/status", {"presence": "unavailable"})
    await alice.say(room_id, "last")
    await asyncio.sleep(0.7)

    await world.settled(lambda: "message.created" in kinds(hers.told))
    assert kinds(hers.told) == ["message.created"]
    assert {"receipt.read", "message.created"} <= set(kinds(his.told))
    assert "receipt.read" not in kinds(await alice.told_since(start))


async def test_the_blocked_neither_type_nor_read_nor_are_here(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room(bob)
    event_id = await alice.say(room_id, "hello")
    await alice.ignore(bob)
    ear, _ = await alice.listen()

    await bob.call("PUT", f"/rooms/{room_id}/typing/{bob.user_id}", {"typing": True})
    await bob.call("POST", f"/rooms/{room_id}/receipt/m.read/{event_id}")
    await bob.call("PUT", f"/presence/{bob.user_id}/status", {"presence": "unavailable"})
    await bob.say(room_id, "unheard")
    await asyncio.sleep(0.7)

    await world.settled()
    assert ear.told == []


async def test_who_unblocks_somebody_hears_them_again(
    world: World, alice: Person, bob: Person
) -> None:
    room_id = await alice.room(bob)
    await alice.ignore(bob)
    ear, _ = await alice.listen()

    await bob.say(room_id, "unheard")
    await alice.ignore()
    await bob.say(room_id, "heard")

    await world.settled(lambda: texts(ear.told) == ["heard"])


async def test_a_message_that_was_held_is_told_at_its_release(
    database: Database, tmp_path: Path
) -> None:
    rules = {"rules": [{"name": "hold", "match": {"keywords": ["holdme"]}, "action": "hold"}]}
    async with new_world(database, tmp_path, policy=rules) as world:
        alice, bob = await world.person("alice"), await world.person("bob")
        admin = await world.person("admin")
        await database.execute("UPDATE accounts SET admin = true WHERE user_id = $1", admin.user_id)
        room_id = await alice.room(bob)
        ear, _ = await bob.listen()
        start = world.position
        await alice.say(room_id, "holdme")
        await alice.say(room_id, "between")
        items = await world.instance.call(
            "GET", "/_comity/admin/v1/moderation/queue", token=await log_in(admin)
        )
        (item,) = items["items"]
        await world.instance.call(
            "POST",
            f"/_comity/admin/v1/moderation/queue/{item['item_id']}/release",
            {},
            token=await log_in(admin),
        )

        await world.settled(lambda: len(texts(ear.told)) == 2)
        assert texts(ear.told) == ["between", "holdme"]
        assert await bob.told_since(start) == ear.durable


async def log_in(who: Person) -> str:
    login = {"type": "m.login.password", "user": who.name, "password": "sesame"}
    token: str = (await who.world.instance.call("POST", "/login", login))["access_token"]
    return token


async def test_what_ends_by_itself_is_told(world: World, alice: Person, bob: Person) -> None:
    room_id = await alice.room(bob)
    start = world.position
    ear, _ = await bob.listen()
    ends: dict[str, Any] = {"dev.comity.expires": {"after_ms": 1_000, "from": "sent"}}

    event_id = await alice.say(room_id, "soon gone", **ends)

    for _ in range(300):
        await asyncio.sleep(0.1)
        if len(ear.told) > 1:
            break
    assert kinds(ear.told)[0] == "message.created"
    gone = [u for u in ear.told[1:] if event_id in (u.get("message_id"), *u.get("message_ids", ()))]
    assert gone
    again = await bob.told_since(start)
    assert "soon gone" not in str(again)
    assert again[1:] == ear.durable[1:]
