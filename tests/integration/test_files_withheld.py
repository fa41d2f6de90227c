"""Files that are withheld or gone, on every way of getting one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.reading_world import ONCE, World, begin, instance
from tests.integration.test_account_deletion import deactivate
from tests.integration.test_real_deletion import picture, upload

MEDIA = {"delete_redacted_after": "0s", "unauthenticated_downloads": True}


async def strip(world: World, uri: str) -> dict[str, int]:
    await show(world, uri, "stripme")
    return dict.fromkeys(FILE_WAYS, 403)


async def view(world: World, uri: str) -> dict[str, int]:
    event_id = await show(world, uri, "once", **ONCE)
    path = f"/rooms/{world.room_id}/receipt/m.read/{event_id}"
    await world.call("bob", "POST", path, {})
    await world.one.wiring.ends.work_off()
    await world.database.execute("UPDATE message_views SET seen_at = 0")
    # other instances' users have not seen it
    return dict.fromkeys(FILE_WAYS, 404) | {"federation": 200, "federation thumbnail": 200}


async def redact_it(world: World, uri: str) -> dict[str, int]:
    event_id = await show(world, uri, "gone soon")
    await world.call("alice", "PUT", f"/rooms/{world.room_id}/redact/{event_id}/1", {})
    await world.one.wiring.ends.work_off()
    return dict.fromkeys(FILE_WAYS, 404)


async def drop_it(world: World, uri: str) -> dict[str, int]:
    world.secrets.append(await show(world, uri, "holdme"))
    await world.decide("drop")
    await world.one.wiring.ends.work_off()
    return dict.fromkeys(FILE_WAYS, 404)


async def erase_owner(world: World, uri: str) -> dict[str, int]:
    await show(world, uri, "mine")
    await deactivate(world.one, world.tokens["alice"], "alice", erase=True)
    await world.one.wiring.ends.work_off()
    return dict.fromkeys(FILE_WAYS, 404)


async def show(world: World, uri: str, text: str, **content: Any) -> str:
    return await world.say("alice", text, msgtype="m.image", url=uri, **content)


FILE_WAYS = {
    "download": "/_matrix/client/v1/media/download/one.test/{id}",
    "download, named": "/_matrix/client/v1/media/download/one.test/{id}/a.png",
    "thumbnail": "/_matrix/client/v1/media/thumbnail/one.test/{id}?width=32&height=32",
    "legacy": "/_matrix/media/v3/download/one.test/{id}",
    "legacy, named": "/_matrix/media/r0/download/one.test/{id}/a.png",
    "legacy thumbnail": "/_matrix/media/v3/thumbnail/one.test/{id}?width=32&height=32",
    "federation": "/_matrix/federation/v1/media/download/{id}",
    "federation thumbnail": "/_matrix/federation/v1/media/thumbnail/{id}?width=32&height=32",
}


async def statuses(world: World, uri: str) -> dict[str, int]:
    """What Bob, nobody, and the other instance get, by the way that they ask."""
    media_id = uri.rpartition("/")[2]
    found = {}
    for way, path in FILE_WAYS.items():
        url = path.format(id=media_id)
        headers = {"Authorization": f"Bearer {world.tokens['bob']}"}
        if way.startswith("legacy"):
            headers = {}
        elif way.startswith("federation"):
            headers = {"Authorization": world.peer.signed("GET", url)}
        async with world.one.client.get(url, headers=headers) as response:
            await response.read()
            found[way] = response.status
    return found


@pytest.mark.parametrize("make", [strip, view, redact_it, drop_it, erase_owner])
async def test_a_file_that_is_withheld_or_gone_is_had_on_no_way(
    database: Database, tmp_path: Path, make: Callable[[World, str], Awaitable[dict[str, int]]]
) -> None:
    async with instance(database, tmp_path, media=MEDIA) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        uri = await upload(one, world.tokens["alice"], picture("red"))
        before = await statuses(world, uri)

        expected = await make(world, uri)

        assert before == dict.fromkeys(FILE_WAYS, 200)  # thumbnails are made
        assert await statuses(world, uri) == expected
    async with instance(database, tmp_path, media=MEDIA) as one:
        world.one = world.peer.one = one
        assert await statuses(world, uri) == expected
