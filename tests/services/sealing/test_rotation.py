"""Sealing anew with a newer key, while the server runs."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from homeserver.cli import main
from homeserver.services.media_files import MediaFiles, StoredFile
from homeserver.services.media_strays import MediaStrays
from homeserver.services.sealing.keys import KeyFile
from homeserver.services.sealing.rotation import Resealing, count_by_key
from homeserver.storage import media as storage
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRow
from tests.conftest import TestPostgres


class WatchedFiles(MediaFiles):
    """Files that tell when one is to be written, or deleted."""

    before_writing: Callable[[], object] | None = None
    before_deleting: Callable[[], object] | None = None

    @contextmanager
    def staged(self) -> Iterator[Any]:
        """Says so first."""
        if self.before_writing is not None:
            self.before_writing()
        with super().staged() as writer:
            yield writer

    def delete(self, sha256: bytes) -> None:
        """Says so first."""
        if self.before_deleting is not None:
            self.before_deleting()
        super().delete(sha256)


class World:
    """Files, some of them media."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.keys = KeyFile(directory / "media.keys")
        self.keys.prepare()
        self.files = WatchedFiles(directory / "media", self.keys, seal=True)
        self.files.prepare()
        self.database = database
        self.strays = MediaStrays(
            database=database, files=self.files, wake=lambda: None, clock_ms=lambda: 1
        )

    async def store(self, content: bytes, *, seal: bool = True) -> StoredFile:
        """A medium."""

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        self.files.seal = seal
        stored = await self.files.receive(chunks(), 10**7)
        self.files.seal = True
        row = MediaRow(
            "one.test", stored.sha256.hex(), None, "a/b", None, len(content), stored.sha256, 1
        )
        await storage.insert_media(self.database, row)
        return stored

    async def delete(self, stored: StoredFile) -> None:
        """The medium is deleted, as by the server."""
        async with self.database.transaction() as connection:
            await connection.execute("DELETE FROM media WHERE sha256 = $1", stored.sha256)
            stray_id = await self.strays.note_deleted(connection, stored.sha256)
        await self.strays.remove(stray_id)

    async def reseal(self) -> Resealing:
        """Do it."""
        resealing = Resealing(self.files, self.strays, self.database)
        await resealing.run()
        return resealing


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(tmp_path, database)


async def test_plain_files_and_those_of_old_keys_are_sealed_anew(world: World) -> None:
    contents = [b"", b"plain", random.Random(1).randbytes(300_000), b"new"]
    stored = [await world.store(contents[0]), await world.store(contents[1], seal=False)]
    stored.append(await world.store(contents[2]))
    world.files.write(world.files.thumbnail(stored[2].sha256, "96x96-crop.png"), b"small")
    new = world.keys.add()
    stored.append(await world.store(contents[3]))

    done = await world.reseal()

    assert (done.done, done.damaged) == (3, [])
    assert count_by_key(world.files.root) == {new.key_id: 4}
    assert [world.files.blob(each.sha256).read() for each in stored] == contents
    assert (await world.reseal()).done == 0


async def test_a_damaged_file_is_left_as_it_is_and_named(world: World) -> None:
    stored = await world.store(b"content")
    path = world.files.blob(stored.sha256).sealed_path
    path.write_bytes(path.read_bytes()[:-1])
    before = path.read_bytes()
    world.keys.add()

    done = await world.reseal()

    assert (done.done, done.damaged) == (0, [stored.sha256.hex()])
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


async def test_what_a_stopped_run_left_is_cleared(world: World) -> None:
    stored = await world.store(b"content")
    left = world.files.blob(stored.sha256).path.with_name("x.resealing")
    left.write_bytes(b"half")

    await world.reseal()

    assert not left.exists()
    assert world.files.blob(stored.sha256).read() == b"content"


async def test_a_reader_goes_on_meanwhile(world: World) -> None:
    content = random.Random(2).randbytes(300_000)
    stored = await world.store(content)
    with world.files.blob(stored.sha256).open() as reader:
        start = reader.read(100_000)
        world.keys.add()

        await world.reseal()

        assert start + reader.read() == content


async def test_what_is_being_deleted_is_not_brought_back(world: World) -> None:
    stored = await world.store(b"content")
    world.keys.add()
    deleting, go_on = threading.Event(), threading.Event()
    writing, gone = threading.Event(), threading.Event()
    world.files.before_deleting = lambda: (deleting.set(), go_on.wait(30))
    world.files.before_writing = lambda: (writing.set(), gone.wait(30))
    deletion = asyncio.create_task(world.delete(stored))
    await asyncio.to_thread(deleting.wait, 30)

    resealing = asyncio.create_task(world.reseal())
    await asyncio.to_thread(writing.wait, 0.3)
    go_on.set()
    await deletion
    gone.set()
    done = await resealing

    assert (done.done, world.files.blob(stored.sha256).exists()) == (0, False)


async def test_what_is_deleted_while_it_is_sealed_anew_is_gone(world: World) -> None:
    stored = await world.store(b"content")
    world.keys.add()
    loop = asyncio.get_running_loop()

    def delete() -> None:
        world.files.before_writing = None
        asyncio.run_coroutine_threadsafe(world.delete(stored), loop).result(30)

    world.files.before_writing = delete

    await world.reseal()

    assert not world.files.blob(stored.sha256).exists()
    assert await world.database.fetchval("SELECT count(*) FROM media_strays") == 0


async def test_a_file_that_no_medium_has_is_sealed_anew_and_stays(world: World) -> None:
    stored = await world.store(b"content")
    await world.database.execute("DELETE FROM media")
    new = world.keys.add()

    done = await world.reseal()

    assert (done.done, count_by_key(world.files.root)) == (1, {new.key_id: 1})
    assert world.files.blob(stored.sha256).read() == b"content"


async def test_the_command_line_rotates_keys(postgres: TestPostgres, tmp_path: Path) -> None:
    dsn = await postgres.create_database()
    config = tmp_path / "comity.yaml"
    config.write_text(
        yaml.safe_dump({"server_name": "one.test", "data_dir": ".", "database": {"dsn": dsn}})
    )

    async def comity(*arguments: str, code: int = 0) -> str:
        result = await asyncio.to_thread(
            CliRunner().invoke, main, ["media", *arguments, "--config", str(config)]
        )
        assert result.exit_code == code, result.output
        return result.output

    await comity("reencrypt", code=1)
    await comity("new-key")
    database = await Database.connect(dsn, min_size=1, max_size=2)
    await comity("reencrypt")  # migrates the database
    world = World(tmp_path, database)
    stored = await world.store(b"content")
    old = world.keys.newest().key_id.hex()

    assert f"{old}  1 files  encrypts what comes in" in await comity("keys")
    await comity("drop-key", old, code=1)
    await comity("new-key")
    assert "1 files need it" in await comity("drop-key", old, code=1)
    assert "encrypted 1 files" in await comity("reencrypt")
    await comity("drop-key", old)

    assert old not in await comity("keys")
    assert world.files.blob(stored.sha256).read() == b"content"
    await database.close()
