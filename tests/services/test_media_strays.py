"""The same bytes are stored once, and go with the last that has them, even if both come at once."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from homeserver.errors import NotFound
from homeserver.protocol.media_uris import MediaUri
from homeserver.services import media_strays
from homeserver.services.media import MediaService
from homeserver.services.media_deletion import MediaDeletion
from homeserver.services.media_files import MediaFiles
from homeserver.services.media_stores import LocalStore
from homeserver.services.media_strays import AGAIN_MS, CLAIMED_MS, RESERVED_MS, MediaStrays
from homeserver.services.thumbnails import Thumbnails
from homeserver.storage.database import Database

ALICE, BOB = "@alice:one.example", "@bob:one.example"
CONTENT = b"the same bytes"


class SlowStore(LocalStore):
    """A directory in which a deletion takes as long as the test wants."""

    def __init__(self) -> None:
        self.deleting = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def delete(self, places: Iterable[Path]) -> None:
        self.deleting.set()
        assert self.go_on.wait(30)
        super().delete(places)


class World:
    """Media with nothing else."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self.now = 1_000_000
        self.store = SlowStore()
        self.files = MediaFiles(root, store=self.store)
        self.strays = MediaStrays(
            database=database, files=self.files, wake=lambda: None, clock_ms=lambda: self.now
        )
        unused: Any = None
        self.media = MediaService(
            server_name="one.example",
            database=database,
            files=self.files,
            strays=self.strays,
            thumbnails=Thumbnails(self.files),
            remote=unused,
            max_upload_bytes=1000,
            unauthenticated_downloads=False,
            clock_ms=lambda: self.now,
        )
        self.deletion = MediaDeletion(
            server_name="one.example",
            database=database,
            strays=self.strays,
            wake=lambda: None,
        )

    async def upload(self, user: str, content: bytes = CONTENT) -> MediaUri:
        """A medium."""
        return MediaUri("one.example", await self.media.upload(user, _chunks(content), None, None))

    async def delete(self, uri: MediaUri, user: str) -> None:
        """Its uploader deletes it."""
        assert await self.deletion.delete_own(uri, user)

    async def read(self, uri: MediaUri) -> bytes:
        """What is downloaded."""
        return (await self.media.find(*uri)).blob.read()

    def stored(self) -> int:
        """How many files there are."""
        return sum(path.is_file() for path in self.files.root.rglob("*"))

    async def notes(self) -> int:
        """How many notes are left of what may be without a medium."""
        number: int = await self.database.fetchval("SELECT count(*) FROM media_strays")
        return number


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    world = World(database, tmp_path / "media")
    await world.media.start()
    yield world
    await world.media.close()


async def test_the_same_bytes_are_stored_once(world: World) -> None:
    first, second = await world.upload(ALICE), await world.upload(BOB)

    assert (world.stored(), await world.notes()) == (1, 0)
    assert await world.read(first) == await world.read(second) == CONTENT


async def test_bytes_go_with_the_last_medium_that_has_them(world: World) -> None:
    first, second = await world.upload(ALICE), await world.upload(BOB)

    await world.delete(first, ALICE)
    assert await world.read(second) == CONTENT
    await world.delete(second, BOB)

    assert (world.stored(), await world.notes()) == (0, 0)
    with pytest.raises(NotFound):
        await world.media.find(*second)


async def test_the_last_two_that_are_deleted_together_leave_nothing(world: World) -> None:
    first, second = await world.upload(ALICE), await world.upload(BOB)

    await asyncio.gather(world.delete(first, ALICE), world.delete(second, BOB))

    assert (world.stored(), await world.notes()) == (0, 0)


async def test_an_upload_while_the_same_bytes_are_being_deleted_has_them(world: World) -> None:
    first = await world.upload(ALICE)
    world.store.go_on.clear()
    deleting = asyncio.create_task(world.delete(first, ALICE))
    await asyncio.to_thread(world.store.deleting.wait, 30)

    uploading = asyncio.create_task(world.upload(BOB))
    done, _ = await asyncio.wait({uploading}, timeout=0.2)
    assert not done  # nothing is acknowledged that may go at once
    world.store.go_on.set()
    await deleting

    assert await world.read(await uploading) == CONTENT


async def test_a_deletion_that_is_cut_off_takes_nothing_that_is_stored_again(world: World) -> None:
    uri = await world.upload(ALICE)
    world.store.go_on.clear()
    deletion = asyncio.create_task(world.delete(uri, ALICE))
    await asyncio.to_thread(world.store.deleting.wait)

    deletion.cancel()
    upload = asyncio.create_task(world.upload(BOB))
    await asyncio.wait({upload}, timeout=0.5)
    world.store.go_on.set()
    again = await upload
    await asyncio.wait({deletion})

    assert await world.read(again) == CONTENT


async def test_a_storage_that_hangs_keeps_no_connection_of_the_database(world: World) -> None:
    uri = await world.upload(ALICE)
    world.store.go_on.clear()
    deleting = asyncio.create_task(world.delete(uri, ALICE))
    await asyncio.to_thread(world.store.deleting.wait, 30)

    pool = world.database.pool
    idle, all_there_are = pool.get_idle_size(), pool.get_size()

    world.store.go_on.set()
    await deleting
    assert idle == all_there_are


async def test_a_deletion_that_takes_long_is_nobody_elses_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_strays, "RENEWED_SECONDS", 0.01)
    uri = await world.upload(ALICE)
    world.store.go_on.clear()
    deleting = asyncio.create_task(world.delete(uri, ALICE))
    await asyncio.to_thread(world.store.deleting.wait, 30)
    uploading = asyncio.create_task(world.upload(BOB))

    for _ in range(3):
        world.now += CLAIMED_MS - 1
        await asyncio.wait({uploading}, timeout=0.2)
        assert not await world.strays.step()  # it is claimed anew again and again
    assert not uploading.done()
    world.store.go_on.set()
    await deleting

    assert await world.read(await uploading) == CONTENT


async def test_who_lets_go_of_what_is_being_deleted_already_leaves_it_to_that(
    world: World,
) -> None:
    uri = await world.upload(ALICE)
    async with world.database.transaction() as connection:
        await connection.execute("DELETE FROM media WHERE media_id = $1", uri.media_id)
        sha256 = hashlib.sha256(CONTENT).digest()
        stray_id = await world.strays.note_deleted(connection, sha256)
    world.store.go_on.clear()
    deleting = asyncio.create_task(world.strays.step())
    await asyncio.to_thread(world.store.deleting.wait, 30)

    await world.strays.remove(stray_id)
    uploading = asyncio.create_task(world.upload(BOB))
    done, _ = await asyncio.wait({uploading}, timeout=0.2)
    world.store.go_on.set()
    await deleting

    assert not done
    assert await world.read(await uploading) == CONTENT


async def test_what_a_process_was_deleting_when_it_died_can_be_stored_after_a_while(
    world: World,
) -> None:
    sha256 = hashlib.sha256(CONTENT).digest()
    await world.database.execute(
        "INSERT INTO media_strays (sha256, due_at, deleting) VALUES ($1, $2, true)",
        sha256,
        world.now + CLAIMED_MS,
    )

    uploading = asyncio.create_task(world.upload(BOB))
    done, _ = await asyncio.wait({uploading}, timeout=0.2)
    world.now += CLAIMED_MS
    uri = await uploading
    await world.strays.step()

    assert not done
    assert (await world.read(uri), await world.notes()) == (CONTENT, 0)


async def test_bytes_that_were_received_and_not_kept_yet_outlive_a_deletion(world: World) -> None:
    first = await world.upload(ALICE)
    received = await world.media.receive(BOB, _chunks(CONTENT), None, None)

    await world.delete(first, ALICE)
    await world.media.keep(received)

    assert await world.read(MediaUri("one.example", received.media_id)) == CONTENT


async def test_bytes_that_were_received_and_discarded_go(world: World) -> None:
    first = await world.upload(ALICE)
    received = await world.media.receive(BOB, _chunks(CONTENT), None, None)

    await world.media.discard(received)
    assert await world.read(first) == CONTENT
    other = await world.media.receive(BOB, _chunks(b"others"), None, None)
    await world.media.discard(other)

    assert (world.stored(), await world.notes()) == (1, 0)


async def test_what_a_crash_left_goes_when_its_time_is_up(world: World) -> None:
    await world.media.receive(BOB, _chunks(CONTENT), None, None)  # and the process died

    assert not await world.strays.step()
    assert world.stored() == 1
    world.now += RESERVED_MS
    assert await world.strays.next_due() == world.now
    await world.strays.step()

    assert (world.stored(), await world.notes()) == (0, 0)


async def test_thumbnails_that_could_not_be_deleted_are_deleted_later(world: World) -> None:
    uri = await world.upload(ALICE)
    sha256 = (await world.media.find(*uri)).row.sha256
    in_the_way = world.files.thumbnail(sha256, "any").path.parent
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("no directory")

    await world.delete(uri, ALICE)
    before = await world.notes()
    in_the_way.unlink()
    world.now += AGAIN_MS
    await world.strays.step()

    assert (before, await world.notes()) == (1, 0)


async def test_uploads_and_deletions_of_the_same_bytes_lose_nothing(world: World) -> None:
    async def come_and_go(user: str) -> MediaUri:
        for _ in range(15):
            await world.delete(await world.upload(user), user)
        return await world.upload(user)

    users = [f"@{name}:one.example" for name in "abcdef"]
    last = await asyncio.gather(*map(come_and_go, users))

    assert [await world.read(uri) for uri in last] == [CONTENT] * len(users)
    assert (world.stored(), await world.notes()) == (1, 0)
    await asyncio.gather(*(world.delete(*each) for each in zip(last, users, strict=True)))
    assert (world.stored(), await world.notes()) == (0, 0)
