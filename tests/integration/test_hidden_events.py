"""Messages deleted for one reader alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.integration.single import Instance, running


async def two_in_a_room(one: Instance) -> tuple[str, str, str]:
    alice, bob = await one.register("alice"), await one.register("bob")
    room_id = await one.room(alice)
    await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
    return alice, bob, room_id


async def hide(
    one: Instance, token: str, room_id: str, *event_ids: str, what: str = "hide", status: int = 200
) -> dict[str, Any]:
    path = f"/_comity/client/v1/rooms/{room_id}/{what}"
    return await one.call("POST", path, {"event_ids": event_ids}, token=token, status=status)


async def ways_of_reading(
    one: Instance, token: str, room_id: str, root: str, around: str
) -> dict[str, str]:
    """All that a client is told of a room, by the way that it asks."""
    v1 = f"/_matrix/client/v1/rooms/{room_id}"
    paths = {
        "sync": "/sync",
        "messages": f"/rooms/{room_id}/messages?dir=b&limit=100",
        "forwards": f"/rooms/{room_id}/messages?dir=f&limit=100",
        "context": f"/rooms/{room_id}/context/{around}?limit=100",
        "relations": f"{v1}/relations/{root}",
        "threads": f"{v1}/threads",
    }
    return {name: str(await one.call("GET", path, token=token)) for name, path in paths.items()}


async def test_what_bob_hides_is_gone_for_bob_alone(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, room_id = await two_in_a_room(one)
        root = (await one.say(alice, room_id, "a root"))["event_id"]
        around = (await one.say(alice, room_id, "around"))["event_id"]
        thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        await one.say(alice, room_id, "first reply", **thread)
        since = (await one.call("GET", "/sync", token=bob))["next_batch"]
        secret = (await one.say(alice, room_id, "embarrassing", **thread))["event_id"]

        await hide(one, bob, room_id, secret)

        for way, answer in (await ways_of_reading(one, bob, room_id, root, around)).items():
            assert "embarrassing" not in answer, way
            assert "a root" in answer or way == "relations", way
        for way, answer in (await ways_of_reading(one, alice, room_id, root, around)).items():
            assert "embarrassing" in answer, way
        path = f"/rooms/{room_id}/event/{secret}"
        await one.call("GET", path, token=bob, status=404)
        await one.call("GET", path, token=alice)
        room = (await one.call("GET", f"/sync?since={since}", token=bob))["rooms"]["join"][room_id]
        assert "embarrassing" not in str(room["timeline"])
        assert room["account_data"]["events"] == [
            {"type": "dev.comity.hidden", "content": {"event_ids": [secret]}}
        ]
        threads = await one.call("GET", f"/_matrix/client/v1/rooms/{room_id}/threads", token=bob)
        summary = threads["chunk"][0]["unsigned"]["m.relations"]["m.thread"]
        assert (summary["count"], summary["latest_event"]["content"]["body"]) == (1, "first reply")


async def test_it_does_not_count_as_unread(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, room_id = await two_in_a_room(one)
        secret = (await one.say(alice, room_id, "embarrassing"))["event_id"]
        await one.say(alice, room_id, "harmless")
        answer = await one.call("GET", "/sync", token=bob)
        unread = answer["rooms"]["join"][room_id]["unread_notifications"]
        assert unread["notification_count"] == 2

        await hide(one, bob, room_id, secret)

        answer = await one.call("GET", "/sync", token=bob)
        unread = answer["rooms"]["join"][room_id]["unread_notifications"]
        assert unread["notification_count"] == 1


async def test_it_outlives_a_restart_and_can_be_taken_back(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, room_id = await two_in_a_room(one)
        secret = (await one.say(alice, room_id, "embarrassing"))["event_id"]
        await hide(one, bob, room_id, secret)

    async with running(database, tmp_path) as one:
        assert await one.texts(bob, room_id) == []

        await hide(one, bob, room_id, secret, what="unhide")

        assert await one.texts(bob, room_id) == ["embarrassing"]
        data = f"/user/@bob:one.test/rooms/{room_id}/account_data/dev.comity.hidden"
        assert await one.call("GET", data, token=bob) == {"event_ids": []}


async def test_what_cannot_be_hidden_is_refused(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, room_id = await two_in_a_room(one)
        elsewhere = await one.room(alice, preset="private_chat")
        secret = (await one.say(alice, elsewhere, "not for Bob"))["event_id"]
        state = await one.call("GET", f"/rooms/{room_id}/state", token=alice)
        create = next(e for e in one_list(state) if e["type"] == "m.room.create")["event_id"]

        assert (await hide(one, bob, room_id, "$nothing", status=404))["errcode"] == "M_NOT_FOUND"
        await hide(one, bob, room_id, secret, status=404)
        await hide(one, bob, elsewhere, secret, status=403)
        await hide(one, bob, room_id, create, status=400)
        await hide(one, bob, room_id, status=400)
        await hide(one, bob, room_id, *map(str, range(101)), status=400)
        await hide(one, bob, room_id, "a\0b", status=400)
        await hide(one, "nobody", room_id, create, status=401)


def one_list(answer: Any) -> list[dict[str, Any]]:
    """The state of a room is answered as a list."""
    assert isinstance(answer, list)
    return answer


async def test_the_list_is_the_servers(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        _, bob, room_id = await two_in_a_room(one)

        path = f"/user/@bob:one.test/rooms/{room_id}/account_data/dev.comity.hidden"
        await one.call("PUT", path, {"event_ids": []}, token=bob, status=405)
