"""Files of before go into the bucket, and are sealed anew there."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.config import ConfigError
from homeserver.services.media_files import MediaFiles, StoredFile
from homeserver.services.media_stores import StorageUnavailable
from homeserver.services.media_strays import MediaStrays
from homeserver.services.object_storage.bucket import Bucket, BucketSettings
from homeserver.services.object_storage.cache import FileCache
from homeserver.services.object_storage.moving import Moving
from homeserver.services.object_storage.rotation import BucketResealing, count_by_key
from homeserver.services.object_storage.store import BucketStore
from homeserver.services.sealing.keys import KeyFile
from homeserver.storage import media as storage
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRow
from homeserver.wiring.media_files import media_files
from tests.services.sealing.test_first_start import config

from .servers import ObjectStorage

CONTENTS = [random.Random(n).randbytes(size) for n, size in enumerate((0, 10, 70_000, 3_000_000))]


class World:
    """Files on this machine, and an empty bucket."""

    def __init__(self, directory: Path, database: Database, settings: BucketSettings) -> None:
        self.keys = KeyFile(directory / "media.keys")
        self.keys.prepare()
        self.root = directory / "media"
        self.database = database
        self.local = MediaFiles(self.root, self.keys, seal=True)
        self.store = BucketStore(
            self.root, Bucket(settings), "m/", FileCache(directory / "cache", 10**6)
        )
        self.files = MediaFiles(self.root, self.keys, seal=True, store=self.store)
        self.files.prepare()
        self.strays = MediaStrays(
            database=database, files=self.files, wake=lambda: None, clock_ms=lambda: 1
        )

    async def put(self, content: bytes, files: MediaFiles, *, known: bool = True) -> StoredFile:
        """A file, of a medium if it is ``known``."""

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        stored = await files.receive(chunks(), 10**7)
        row = MediaRow(
            "one.test", stored.sha256.hex(), None, "a/b", None, len(content), stored.sha256, 1
        )
        if known:
            await storage.insert_media(self.database, row)
        return stored

    async def move(self) -> Moving:
        """Do it."""
        moving = Moving(store=self.store, database=self.database, strays=self.strays)
        await moving.run()
        return moving

    async def reseal(self) -> BucketResealing:
        """Do that."""
        resealing = BucketResealing(self.files, self.store, self.strays, self.database)
        await resealing.run()
        return resealing

    def here(self) -> list[Path]:
        """The files that lie on this machine."""
        return [path for path in self.root.rglob("*") if path.is_file()]


@pytest.fixture
def world(database: Database, tmp_path: Path, settings: BucketSettings) -> World:
    return World(tmp_path, database, settings)


async def test_files_can_be_read_before_and_after_they_are_moved(world: World) -> None:
    stored = [await world.put(content, world.local) for content in CONTENTS]
    blobs = [world.files.blob(each.sha256) for each in stored]
    assert [blob.read() for blob in blobs] == CONTENTS

    moving = await world.move()

    assert moving.moved == len(CONTENTS)
    assert world.here() == []
    assert [blob.read() for blob in blobs] == CONTENTS
    assert (await world.move()).moved == 0


async def test_a_move_that_was_interrupted_goes_on(world: World, storage: ObjectStorage) -> None:
    stored = [await world.put(content, world.local) for content in CONTENTS]
    first = world.here()[0]
    world.store.bucket.put(world.store.key(first), first)  # and then the power went

    moving = await world.move()

    assert moving.moved == len(CONTENTS)
    assert len(storage.objects(world.store.bucket.name)) == len(CONTENTS)
    blobs = [world.files.blob(each.sha256) for each in stored]
    assert [blob.read() for blob in blobs] == CONTENTS


async def test_a_file_stays_here_unless_all_of_it_is_in_the_bucket(
    world: World, settings: BucketSettings
) -> None:
    stored = await world.put(CONTENTS[2], world.local)

    for lost in (CuttingBucket, ForgettingBucket):
        world.store.bucket = lost(settings)
        with pytest.raises(StorageUnavailable):
            await world.move()

    assert len(world.here()) == 1
    assert world.local.blob(stored.sha256).read() == CONTENTS[2]


class CuttingBucket(Bucket):
    """Keeps a part of what it is given."""

    def put(self, key: str, source: Path | bytes) -> None:
        """Says that all is well."""
        super().put(key, source[:10] if isinstance(source, bytes) else source.read_bytes()[:10])


class ForgettingBucket(Bucket):
    """Keeps nothing."""

    def put(self, key: str, source: Path | bytes) -> None:
        """Says that all is well."""
        self.delete([key])


async def test_what_no_medium_has_stays_where_it_is(world: World, storage: ObjectStorage) -> None:
    await world.put(b"nobody's", world.local, known=False)
    (world.root / "README").write_text("not ours")
    before = world.here()

    moving = await world.move()

    assert sorted(moving.left) == sorted(before) == sorted(world.here())
    assert storage.objects(world.store.bucket.name) == {}


async def test_thumbnails_move_with_their_image(world: World) -> None:
    stored = await world.put(b"an image", world.local)
    thumbnail = world.local.thumbnail(stored.sha256, "32x32-crop.png")
    world.local.write(thumbnail, b"small")

    moving = await world.move()

    assert (moving.moved, world.here()) == (2, [])
    base = world.files.thumbnail(stored.sha256, "32x32-crop")
    found = world.files.find_thumbnail(base, [".jpeg", ".png"])
    assert found is not None
    assert found.read() == b"small"
    world.files.delete(stored.sha256)
    assert world.files.find_thumbnail(base, [".jpeg", ".png"]) is None


async def test_a_deleted_content_goes_from_this_machine_and_from_the_bucket(
    world: World, storage: ObjectStorage
) -> None:
    stored = await world.put(b"content", world.local)
    await world.move()
    await world.put(b"content", world.local)

    world.files.delete(stored.sha256)

    assert world.here() == []
    assert storage.objects(world.store.bucket.name) == {}


async def test_files_in_the_bucket_are_sealed_with_the_newest_key(world: World) -> None:
    old = world.keys.newest()
    stored = [await world.put(content, world.files) for content in CONTENTS]
    world.files.seal = False
    stored.append(await world.put(b"plain", world.files))
    world.files.seal = True
    new = world.keys.add()
    assert count_by_key(world.store).keys() == {old.key_id, None}

    resealing = await world.reseal()

    assert (resealing.done, resealing.damaged) == (len(CONTENTS) + 1, [])
    assert count_by_key(world.store).keys() == {new.key_id}
    world.keys.drop(old.key_id)
    blobs = [world.files.blob(each.sha256) for each in stored]
    assert [blob.read() for blob in blobs] == [*CONTENTS, b"plain"]


async def test_no_new_key_is_made_beside_files_that_need_an_old_one(
    world: World, tmp_path: Path, settings: BucketSettings
) -> None:
    s3 = {
        "endpoint": settings.endpoint,
        "bucket": settings.bucket,
        "prefix": "m",
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
    }
    media_files(config(tmp_path / "new", storage="s3", s3={**s3, "prefix": "empty"}))
    assert (tmp_path / "new" / "media.keys").exists()
    await world.put(b"content", world.files)

    with pytest.raises(ConfigError, match="there is media that is encrypted"):
        media_files(config(tmp_path / "lost", storage="s3", s3=s3))
    with pytest.raises(ConfigError, match="there is no such bucket"):
        media_files(config(tmp_path / "lost", storage="s3", s3={**s3, "bucket": "nonesuch"}))

    assert not (tmp_path / "lost" / "media.keys").exists()


async def test_a_damaged_file_in_the_bucket_is_named_and_left(world: World) -> None:
    stored = await world.put(CONTENTS[3], world.files)
    key = world.store.key(world.files.blob(stored.sha256).sealed_path)
    content = bytearray(world.store.bucket.get(key, 0, 10**7).content)
    content[1_000_000] ^= 1
    world.store.bucket.put(key, bytes(content))
    world.keys.add()

    resealing = await world.reseal()

    assert (resealing.done, resealing.damaged) == (0, [stored.sha256.hex()])
    assert world.store.bucket.get(key, 0, 10**7).content == content


async def test_what_vanished_from_the_bucket_is_stored_when_it_is_sent_again(
    world: World, storage: ObjectStorage
) -> None:
    stored = await world.put(CONTENTS[3], world.files)
    key = world.store.key(world.files.blob(stored.sha256).sealed_path)
    storage.client.delete_object(Bucket=world.store.bucket.name, Key=key)

    await world.put(CONTENTS[3], world.files, known=False)

    assert list(storage.objects(world.store.bucket.name)) == [key]


async def test_sealing_anew_deletes_nothing_that_no_medium_has(world: World) -> None:
    stored = await world.put(b"of another instance", world.files, known=False)
    world.keys.add()

    assert (await world.reseal()).done == 0
    assert world.files.blob(stored.sha256).read() == b"of another instance"
