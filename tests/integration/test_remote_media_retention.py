"""Copies of other servers' files go when nobody uses them, or there is no room, and come again."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from homeserver.services.remote_media_retention import RemoteMediaRetention
from homeserver.storage.database import Database
from homeserver.storage.media_facts import MediaVerdict, decide, put_verdict
from homeserver.storage.remote_media import SELECT_LEAST_USED
from tests.integration.media_world import (
    DOWNLOAD,
    SIZE,
    THUMBNAIL,
    MediaWorld,
    media_world,
    picture,
)
from tests.services.doubles import Clock
from tests.services.remote_media import RemoteFile

DAY_MS = 24 * 3_600_000


async def fetch(world: MediaWorld, *names: str) -> list[int]:
    """Bob downloads files of another server."""
    return [(await world.ask("GET", f"{DOWNLOAD}/two.test/{name}")).status for name in names]


async def age(world: MediaWorld, days: float, *names: str) -> None:
    """Nobody has used files for so long."""
    await world.one.wiring.database.execute(
        "UPDATE media SET last_access_at = $1 WHERE media_id = ANY($2::text[])",
        int(time.time() * 1000 - days * DAY_MS),
        list(names),
    )


async def work(world: MediaWorld) -> None:
    """The hour is over."""
    retention = world.one.wiring.conversations.media_parts.retention
    while await retention.delete_some():
        pass


async def here(world: MediaWorld) -> set[str]:
    """The files of which there is a copy."""
    rows = await world.one.wiring.database.fetch("SELECT media_id FROM media")
    return {row["media_id"] for row in rows}


async def test_copies_that_nobody_uses_go_and_are_fetched_again(
    database: Database, tmp_path: Path
) -> None:
    async with media_world(database, tmp_path, media={"remote": {"keep": "30d"}}) as world:
        names = [f"file{number}" for number in range(45)]
        world.others.files = {f"two.test/{n}": RemoteFile(picture() + n.encode()) for n in names}
        await fetch(world, *names, "file0")
        thumbnail = f"{THUMBNAIL}/two.test/file1?{SIZE}"
        assert (await world.ask("GET", thumbnail)).status == 200
        local = (await world.upload(b"local")).rpartition("/")[2]
        await age(world, 31, *names, local)
        await world.admin.call("PUT", "/media/two.test/file2/quarantine")
        await age(world, 29, "file3")

        await fetch(world, "file0")  # uses it
        await work(world)
        left = await here(world)
        files = world.one.wiring.device_parts.media_files.root
        kept = [path for path in files.rglob("*") if path.is_file() and "incoming" not in str(path)]
        asked = len(world.others.asked)
        again = await fetch(world, "file1")

        assert left == {local, "file0", "file2", "file3"}
        assert len(kept) == 4
        assert not any("thumbnails" in str(path) for path in kept)
        assert (again, len(world.others.asked)) == ([200], asked + 1)


async def test_where_there_is_no_room_the_least_recently_used_go_first(
    database: Database, tmp_path: Path
) -> None:
    media = {"remote": {"keep": None, "max_bytes": 2_500}}
    async with media_world(database, tmp_path, media=media) as world:
        await world.one.wiring.ends.close()
        names = ["a", "b", "c", "d"]
        world.others.files = {
            f"two.test/{name}": RemoteFile(name.encode() * 1_000) for name in names
        }
        await fetch(world, *names)
        for days, name in enumerate(("c", "a", "d", "b")):
            await age(world, days + 1, name)
        await world.upload(b"x" * 5_000)

        await work(world)

        assert await here(world) & {*names} == {"c", "a"}


async def test_admins_purge_copies_and_no_pictures_of_previews(
    database: Database, tmp_path: Path
) -> None:
    async with media_world(database, tmp_path) as world:
        world.others.files["two.test/cat"] = RemoteFile(b"cat")
        await fetch(world, "cat")
        media = world.one.wiring.device_parts.media
        row = await media.receive(None, RemoteFile(picture()).chunks, "image/png", None)
        await media.keep(row)
        await age(world, 90, "cat", row.media_id)

        await world.admin.call(
            "POST", "/media/purge_cache", {"unused_since": int(time.time() * 1000)}
        )
        await world.one.wiring.ends.work_off()

        assert await here(world) == {row.media_id}


async def test_what_waits_for_a_moderator_stays_and_their_word_outlives_the_copy(
    database: Database, tmp_path: Path
) -> None:
    media = {"remote": {"keep": "30d"}}
    async with media_world(database, tmp_path, media=media) as world:
        names = ["held", "stripped", "released", "accepted"]
        world.others.files = {f"two.test/{name}": RemoteFile(name.encode()) for name in names}
        await fetch(world, *names)
        actions = ["hold", "strip", "hold", "accept"]
        for name, action in zip(names, actions, strict=True):
            await put_verdict(database, verdict(name, action))
        await decide(database, "two.test", "released", "accept", "@mod:one.test")
        await age(world, 31, *names)

        await work(world)

        known = await database.fetch("SELECT media_id FROM media_verdicts")
        assert await here(world) == {"held", "stripped"}
        assert {row["media_id"] for row in known} == {"held", "stripped", "released"}


def verdict(media_id: str, action: str) -> MediaVerdict:
    """What was decided about another server's file."""
    sha256 = hashlib.sha256(media_id.encode()).digest()
    return MediaVerdict("two.test", media_id, sha256, "rules", action, "rule", "", None, 1)


async def test_much_that_comes_at_once_is_not_left_until_the_hour_is_over(
    database: Database, tmp_path: Path
) -> None:
    media = {"remote": {"max_bytes": 5_000}}
    async with media_world(database, tmp_path, media=media) as world:
        names = [f"file{number}" for number in range(12)]
        world.others.files = {f"two.test/{n}": RemoteFile(n.encode() * 200) for n in names}
        await world.one.wiring.ends.work_off()

        await fetch(world, *names)
        await world.one.wiring.ends.work_off()

        left = await database.fetchval("SELECT sum(size_bytes) FROM media")
        assert 3_000 < left <= 5_500  # a tenth comes unnoticed


async def test_users_have_only_so_much_fetched(database: Database, tmp_path: Path) -> None:
    async with media_world(
        database,
        tmp_path,
        rate_limits={"enabled": True, "registration": {"per_second": 9, "burst": 9}},
    ) as world:
        rates = world.one.wiring.rate_limits
        world.others.files = {f"two.test/{n}": RemoteFile(b"x") for n in "abc"}
        known = await fetch(world, "a")
        rates.reserve("media_fetch", "@bob:one.test", cost=999)

        answers = await fetch(world, "a", "b", "c")

        assert known == [200]
        assert answers == [200, 429, 429]


async def test_a_use_is_noted_at_most_once_a_day(database: Database, tmp_path: Path) -> None:
    async with media_world(database, tmp_path) as world:
        world.others.files["two.test/cat"] = RemoteFile(b"cat")
        await fetch(world, "cat")
        times = []

        for days in (0.9, 1.1):
            await age(world, days, "cat")
            before = await database.fetchval("SELECT last_access_at FROM media")
            await fetch(world, "cat")
            times.append(await database.fetchval("SELECT last_access_at FROM media") - before)

        assert times[0] == 0
        assert times[1] > DAY_MS


async def test_the_least_recently_used_are_found_by_an_index(database: Database) -> None:
    await database.execute(
        """
INSERT INTO media (origin, media_id, content_type, size_bytes, sha256, created_at, last_access_at)
SELECT 'two.test', n::text, 'a/b', 1, sha256(n::text::bytea), n, n FROM generate_series(1, 5000) n
"""
    )
    await database.execute("ANALYZE media")

    plan = await database.fetch("EXPLAIN " + SELECT_LEAST_USED, "one.test", 5_000, 20)

    assert "media_remote_use" in str(plan)


async def test_it_looks_once_an_hour_and_only_where_there_is_a_limit(database: Database) -> None:
    clock = Clock()

    def retention(keep_ms: int | None) -> RemoteMediaRetention:
        return RemoteMediaRetention(
            server_name="one.test",
            database=database,
            files=NoFiles(),
            keep_ms=keep_ms,
            max_bytes=None,
            wake=lambda: None,
            clock_ms=clock,
        )

    limited = retention(1000)
    first = await limited.next_due()
    busy = await limited.step()

    assert (first, busy) == (0, False)
    assert await limited.next_due() == clock.now + 3_600_000
    assert await retention(None).next_due() is None


class NoFiles:
    """Nothing to delete."""

    async def delete_whatever_needs_it(self, uri: object) -> bool:
        """There is none."""
        return False
