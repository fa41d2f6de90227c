"""Files that nobody may have, on a whole instance, by every way in which files are given out."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from homeserver.errors import NotFound
from homeserver.storage.database import Database
from tests.integration.media_world import DOWNLOAD, MediaWorld, media_world, picture
from tests.services.remote_media import RemoteFile

ALICE, BOB = "@alice:one.test", "@bob:one.test"
CAT = "two.test/cat"
WAITS_FOR_LOCK = """
SELECT EXISTS (SELECT FROM pg_locks
    WHERE NOT granted AND relation = 'quarantined_content'::regclass)
"""


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[MediaWorld]:
    async with media_world(database, tmp_path) as world:
        yield world


async def statuses(world: MediaWorld, path: str, *links: str) -> dict[str, int]:
    """What each way of getting a file answers."""
    ours = f"/api/v1/media/{path.replace('/', '~')}"
    ways = {**world.ways(path), **world.thumbnails(path), "told": ours}
    if not path.startswith("one.test/"):
        ways = {name: url for name, url in ways.items() if "old" not in name or name == "told"}
    for number, link in enumerate(links):
        ways[f"link {number}"] = link
        ways[f"linked thumbnail {number}"] = f"{link}/thumbnail?width=32&height=32"
    found = {name: (await world.ask("GET", url)).status for name, url in ways.items()}
    if path.startswith("one.test/"):
        for name, url in world.federation(path).items():
            found[name] = (await world.signed(url)).status
    return found


async def got(world: MediaWorld, path: str) -> int:
    """What a download answers."""
    return (await world.ask("GET", f"{DOWNLOAD}/{path}")).status


async def test_a_quarantined_file_is_not_found_by_any_way_until_it_is_released(
    world: MediaWorld,
) -> None:
    path = await world.upload(picture())
    link = await world.link(path)
    before = await statuses(world, path, link)

    answer = await world.admin.call("PUT", f"/media/{path}/quarantine")
    meanwhile = await statuses(world, path, link)
    cached = await world.ask("GET", f"{DOWNLOAD}/{path}", {"If-None-Match": "*"})
    await world.admin.call("DELETE", f"/media/{path}", status=400)
    await world.admin.call("DELETE", f"/media/{path}/quarantine")
    after = await statuses(world, path, link)

    assert answer["quarantined"] is True
    assert (set(before.values()), set(meanwhile.values())) == ({200}, {404}), (before, meanwhile)
    assert cached.status == 404
    assert set(after.values()) == {200}


async def test_a_file_that_nobody_has_fetched_is_never_fetched(world: MediaWorld) -> None:
    world.others.files[CAT] = RemoteFile(picture())

    answer = await world.admin.call("PUT", f"/media/{CAT}/quarantine")
    refused = await statuses(world, CAT)
    listed = await world.admin.call("GET", "/quarantined_uris")
    asked = list(world.others.asked)
    await world.admin.call("DELETE", f"/media/{CAT}/quarantine")
    after = await statuses(world, CAT)

    assert answer == {"quarantined": True, "file": None}
    assert set(refused.values()) == {404}
    assert [uri["media_id"] for uri in listed["items"]] == ["cat"]
    assert asked == []
    assert (set(after.values()), world.others.asked) == ({200}, [CAT])
    await world.admin.call("PUT", "/media/one.test/none/quarantine", status=404)


async def test_a_file_that_comes_while_it_is_quarantined_is_quarantined(world: MediaWorld) -> None:
    database = world.one.wiring.database
    world.others.files[CAT] = RemoteFile(picture())

    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE quarantined_content IN SHARE MODE")
        order = asyncio.create_task(world.admin.call("PUT", f"/media/{CAT}/quarantine"))
        while not await database.fetchval(WAITS_FOR_LOCK):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await got(world, CAT)
    await order

    assert await got(world, CAT) == 404


async def test_a_file_quarantined_again_is_so_with_its_content(world: MediaWorld) -> None:
    database = world.one.wiring.database
    before, again = await world.upload(b"the same"), await world.upload(b"the same")
    await database.execute(  # as files were quarantined before contents were
        "UPDATE media SET quarantined_by = '@admin:one.test' WHERE media_id = $1",
        before.rpartition("/")[2],
    )

    await world.admin.call("PUT", f"/media/{before}/quarantine")

    assert await got(world, again) == 404


async def test_the_same_bytes_are_quarantined_wherever_they_come_from(world: MediaWorld) -> None:
    bad = picture((50, 50), (200, 0, 0))
    before = await world.upload(bad)

    await world.admin.call("PUT", f"/media/{before}/quarantine")
    again = await world.upload(bad)
    world.others.files[CAT] = RemoteFile(bad)
    found = [await got(world, path) for path in (before, again, CAT)]
    fetched_twice = [await got(world, CAT), world.others.asked]
    await world.admin.call("DELETE", f"/media/{again}/quarantine")
    after = [await got(world, path) for path in (again, CAT)]

    assert found == [404, 404, 404]
    assert fetched_twice == [404, [CAT]]
    assert after == [200, 200]


async def test_content_is_quarantined_before_anybody_has_sent_it(world: MediaWorld) -> None:
    bad = picture((60, 60), (0, 200, 0))
    digest = hashlib.sha256(bad).hexdigest()

    await world.admin.call("PUT", f"/quarantined_content/{digest}")
    path = await world.upload(bad)
    found = await statuses(world, path)
    listed = await world.admin.call("GET", "/quarantined_content")
    having = await world.admin.call("GET", f"/quarantined_content/{digest}")
    await world.admin.call("DELETE", f"/quarantined_content/{digest}")
    after = await got(world, path)

    assert set(found.values()) == {404}
    assert [(c["sha256"], c["files"]) for c in listed["items"]] == [(digest, 1)]
    assert [file["media_id"] for file in having["files"]] == [path.rpartition("/")[2]]
    assert having["files"][0]["quarantined_by"] is not None
    assert after == 200
    await world.admin.call("DELETE", f"/quarantined_content/{digest}", status=404)
    await world.admin.call("PUT", "/quarantined_content/xyz", status=400)


@pytest.mark.parametrize("of", ["file", "user", "room"])
async def test_content_quarantined_by_its_hash_is_released_by_its_hash_alone(
    world: MediaWorld, of: str
) -> None:
    path, other = await world.upload(b"bad"), await world.upload(b"other")
    room_id = await world.one.room(world.alice)
    for each in (path, other):
        await world.one.say(world.alice, room_id, "file", msgtype="m.file", url=f"mxc://{each}")
    content = f"/quarantined_content/{hashlib.sha256(b'bad').hexdigest()}"
    wheres = {"file": f"/media/{path}", "user": f"/users/{ALICE}/media"}
    where = wheres.get(of, f"/rooms/{quote(room_id)}/media") + "/quarantine"

    await world.admin.call("PUT", where)
    await world.admin.call("PUT", content)
    released = await world.admin.call("DELETE", where)
    found = [await got(world, each) for each in (path, other)]
    await world.admin.call("DELETE", content)

    assert released.get("quarantined", True) is True
    assert released.get("files", 1) == 1  # the other one
    assert found == [404, 200]
    assert await got(world, path) == 200


async def test_all_files_of_a_room_are_quarantined_be_they_here_or_not(
    world: MediaWorld,
) -> None:
    here, other = await world.upload(b"here"), await world.upload(b"other")
    world.others.files = {CAT: RemoteFile(b"cat"), "two.test/dog": RemoteFile(b"dog")}
    room_id = await world.one.room(world.alice)
    for path in (here, CAT, "two.test/dog"):
        url = f"mxc://{path}"
        await world.one.say(world.alice, room_id, "file", msgtype="m.file", url=url)
    await got(world, CAT)
    room = f"/rooms/{quote(room_id)}/media/quarantine"

    marked = await world.admin.call("PUT", room)
    found = [await got(world, path) for path in (here, CAT, "two.test/dog", other)]
    released = await world.admin.call("DELETE", room)
    after = [await got(world, path) for path in (here, CAT, "two.test/dog")]

    assert (marked, released) == ({"files": 3}, {"files": 3})
    assert found == [404, 404, 404, 200]
    assert after == [200, 200, 200]


async def test_what_is_protected_is_spared_by_a_quarantine_of_many(world: MediaWorld) -> None:
    emoji, bad = await world.upload(b"emoji"), await world.upload(b"bad")
    same = await world.upload(b"emoji")
    digest = hashlib.sha256(b"emoji").hexdigest()

    protected = await world.admin.call("PUT", f"/media/{emoji}/protection")
    marked = await world.admin.call("PUT", f"/users/{ALICE}/media/quarantine")
    found = [await got(world, path) for path in (emoji, bad, same)]
    await world.admin.call("PUT", f"/media/{emoji}/quarantine", status=400)
    await world.admin.call("PUT", f"/quarantined_content/{digest}", status=400)
    await world.admin.call("PUT", f"/media/{bad}/protection", status=400)
    await world.admin.call("DELETE", f"/media/{emoji}/protection")
    await world.admin.call("PUT", f"/media/{emoji}/quarantine")

    assert protected["protected_by"] is not None
    assert marked == {"files": 2}
    assert found == [200, 404, 404]
    assert await got(world, emoji) == 404


async def test_exports_do_not_find_what_is_quarantined(world: MediaWorld) -> None:
    path = await world.upload(picture())
    origin, media_id = path.split("/")
    await world.admin.call("PUT", f"/media/{path}/quarantine")

    with pytest.raises(NotFound):  # this is how exports look
        await world.one.wiring.device_parts.media.find(origin, media_id, allow_remote=False)


async def test_every_step_is_in_the_audit_trail(world: MediaWorld) -> None:
    path = await world.upload(b"x")
    await world.admin.call("PUT", f"/media/{path}/quarantine")
    await world.admin.call("DELETE", f"/media/{path}/quarantine")
    await world.admin.call("PUT", f"/media/{path}/protection")

    rows = await world.one.wiring.database.fetch(
        "SELECT action, target FROM admin_audit ORDER BY audit_id DESC LIMIT 3"
    )

    assert [row["action"] for row in rows] == [
        "protect_media",
        "release_media",
        "quarantine_media",
    ]
