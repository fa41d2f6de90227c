"""Tags of rooms.  Spec: client-server API, room tagging."""

from __future__ import annotations

import asyncio
from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.single import running


async def test_tags_are_given_changed_and_taken_and_synced(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        path = f"/user/@alice:one.test/rooms/{room_id}/tags"

        assert await one.call("GET", path, token=alice) == {"tags": {}}
        await one.call("PUT", f"{path}/m.favourite", {"order": 0.1}, token=alice)
        await one.call("PUT", f"{path}/u.Work", {}, token=alice)
        await one.call("PUT", f"{path}/m.favourite", {"order": 0.5}, token=alice)
        await one.call("DELETE", f"{path}/u.Work", token=alice)
        await one.call("DELETE", f"{path}/u.Work", token=alice)

        tags = {"tags": {"m.favourite": {"order": 0.5}}}
        assert await one.call("GET", path, token=alice) == tags
        synced = await one.call("GET", "/sync", token=alice)
        (event,) = synced["rooms"]["join"][room_id]["account_data"]["events"]
        assert event == {"type": "m.tag", "content": tags}


async def test_tags_given_at_the_same_time_are_all_there(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        path = f"/user/@alice:one.test/rooms/{room_id}/tags"

        await asyncio.gather(
            *(one.call("PUT", f"{path}/u.{n}", {}, token=alice) for n in range(10))
        )

        answer = await one.call("GET", path, token=alice)
        assert set(answer["tags"]) == {f"u.{n}" for n in range(10)}


async def test_impossible_tags_and_others_rooms_are_refused(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        path = f"/user/@alice:one.test/rooms/{room_id}/tags"

        refused = await one.call("PUT", f"{path}/{'x' * 256}", {}, token=alice, status=400)
        await one.call("PUT", f"{path}/m.favourite", {}, token=bob, status=403)
        await one.call("GET", path, token=bob, status=403)

        assert refused["errcode"] == "M_INVALID_PARAM"


async def test_the_place_of_a_tag_is_a_number(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        path = f"/user/@alice:one.test/rooms/{room_id}/tags/u.x"

        for order in ("0.5", None, True, []):
            refused = await one.call("PUT", path, {"order": order}, token=alice, status=400)

            assert refused["errcode"] == "M_BAD_JSON"
