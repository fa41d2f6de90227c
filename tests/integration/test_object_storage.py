"""Media in a bucket: a whole instance, and object storage on a socket, which comes and goes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from homeserver.cli import main
from homeserver.protocol.signing import format_signing_key, generate_signing_key
from homeserver.services.object_storage.bucket import Bucket, BucketSettings
from homeserver.services.object_storage.store import BucketStore
from homeserver.storage import migrations
from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.harness.client import eventually
from tests.harness.ports import free_port
from tests.integration.media_world import media_world
from tests.integration.single import Instance, running
from tests.integration.test_exports import export
from tests.services.object_storage import servers
from tests.services.object_storage.servers import ObjectStorage
from tests.services.remote_media import RemoteFile

ALICE = "@alice:one.test"
LARGE = random.Random(3).randbytes(12_345_678)


@pytest.fixture(scope="module", params=servers.NAMES)
def storage(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    """One that runs."""
    with servers.running(request.param, tmp_path_factory.mktemp("buckets")) as found:
        yield found


def section(storage: ObjectStorage, **more: Any) -> dict[str, Any]:
    """``media`` of the configuration, for a new bucket."""
    settings = storage.new_bucket()
    s3 = {
        "endpoint": settings.endpoint,
        "bucket": settings.bucket,
        "prefix": "one/",
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
        "timeout": "10s",
        **more,
    }
    return {"storage": "s3", "s3": s3}


async def upload(one: Instance, token: str, content: bytes, status: int = 200) -> str:
    """A file's server name and media ID, as a path; or the error code."""
    async with one.client.post(
        "/_matrix/media/v3/upload",
        data=content,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "image/png"},
    ) as response:
        answer = await response.json()
        assert response.status == status, answer
        uri: str = answer["content_uri"] if status == 200 else answer["errcode"]
        return uri.removeprefix("mxc://")


async def get(one: Instance, token: str, path: str, **headers: str) -> tuple[int, bytes]:
    """What is downloaded."""
    async with one.client.get(
        f"/_matrix/client/v1/media/{path}",
        headers={"Authorization": f"Bearer {token}", **headers},
    ) as response:
        return response.status, await response.read()


async def delete(one: Instance, token: str, path: str) -> None:
    """Delete a file of one's own."""
    media_id = path.replace("/", "~")
    async with one.client.delete(
        f"/api/v1/media/{media_id}", headers={"Authorization": f"Bearer {token}"}
    ) as response:
        assert response.status in (200, 204), await response.text()


def on_this_machine(directory: Path) -> list[Path]:
    """The files of media that lie on this machine, other than copies."""
    return [path for path in (directory / "data" / "media").rglob("*") if path.is_file()]


def place(content: bytes) -> str:
    """What a sealed content is called in the bucket."""
    name = hashlib.sha256(content).hexdigest()
    return f"one/{name[:2]}/{name[2:4]}/{name}.sealed"


@asynccontextmanager
async def stored(
    database: Database, tmp_path: Path, storage: ObjectStorage, **more: Any
) -> AsyncIterator[tuple[Instance, str, str]]:
    """An instance, Alice's token, and the bucket's name."""
    media = section(storage)
    async with running(database, tmp_path, media=media) as one:
        yield one, await one.register("alice"), media["s3"]["bucket"]


async def test_a_file_is_sealed_in_the_bucket_and_comes_out_whole_and_in_parts(
    database: Database, tmp_path: Path, storage: ObjectStorage
) -> None:
    async with stored(database, tmp_path, storage) as (one, alice, bucket):
        uri = await upload(one, alice, LARGE)

        objects = storage.objects(bucket)
        assert list(objects) == [place(LARGE)]
        assert LARGE[:100] not in objects[place(LARGE)]
        assert on_this_machine(tmp_path) == []
        assert await get(one, alice, f"download/{uri}") == (200, LARGE)
        part = await get(one, alice, f"download/{uri}", Range="bytes=9000000-9000099")
        assert part == (206, LARGE[9_000_000:9_000_100])
        end = await get(one, alice, f"download/{uri}", Range="bytes=-5")
        assert end == (206, LARGE[-5:])


@pytest.mark.parametrize("size", [0, 1, 65_536, 262_144, 1_048_576 - 300, 1_048_577])
async def test_files_of_any_size_come_out_as_they_went_in(
    database: Database, tmp_path: Path, storage: ObjectStorage, size: int
) -> None:
    content = secrets.token_bytes(size)
    async with stored(database, tmp_path, storage, cache_bytes=0) as (one, alice, _):
        uri = await upload(one, alice, content)

        assert await get(one, alice, f"download/{uri}") == (200, content)


async def test_the_same_bytes_are_stored_once_and_go_with_the_last_who_has_them(
    database: Database, tmp_path: Path, storage: ObjectStorage
) -> None:
    async with stored(database, tmp_path, storage) as (one, alice, bucket):
        bob = await one.register("bob")
        hers, his = await upload(one, alice, LARGE), await upload(one, bob, LARGE)
        assert list(storage.objects(bucket)) == [place(LARGE)]

        await delete(one, alice, hers)
        assert (await get(one, bob, f"download/{hers}"))[0] == 404
        assert await get(one, bob, f"download/{his}") == (200, LARGE)
        await delete(one, bob, his)

        assert (await get(one, bob, f"download/{his}"))[0] == 404
        assert storage.objects(bucket) == {}


async def test_thumbnails_are_kept_in_the_bucket_and_go_with_their_image(
    database: Database, tmp_path: Path, storage: ObjectStorage
) -> None:
    output = io.BytesIO()
    Image.effect_noise((900, 700), 60).save(output, "PNG")
    async with stored(database, tmp_path, storage, cache_bytes=0) as (one, alice, bucket):
        uri = await upload(one, alice, output.getvalue())
        query = f"thumbnail/{uri}?width=96&height=96&method=scale"

        first, second = await get(one, alice, query), await get(one, alice, query)
        assert first == second
        assert first[0] == 200
        names = sorted(storage.objects(bucket))
        assert len(names) == 2
        assert names[1].startswith("one/thumbnails/")
        await delete(one, alice, uri)

        assert storage.objects(bucket) == {}


async def test_small_files_are_read_from_this_machine_while_they_are_wanted(
    database: Database, tmp_path: Path, storage: ObjectStorage
) -> None:
    content = secrets.token_bytes(5000)
    async with stored(database, tmp_path, storage) as (one, alice, bucket):
        uri = await upload(one, alice, content)
        storage.client.delete_object(Bucket=bucket, Key=place(content))

        assert await get(one, alice, f"download/{uri}") == (200, content)
        cached = list((tmp_path / "data" / "media_cache").rglob("*.sealed"))
        assert [path.name for path in cached] == [Path(place(content)).name]
        await delete(one, alice, uri)

        assert list((tmp_path / "data" / "media_cache").rglob("*.sealed")) == []


async def test_an_export_has_files_of_the_bucket(
    database: Database, tmp_path: Path, storage: ObjectStorage
) -> None:
    async with stored(database, tmp_path, storage, cache_bytes=0) as (one, alice, _):
        room_id = await one.room(alice)
        uri = await upload(one, alice, LARGE)
        await one.say(alice, room_id, "file", msgtype="m.file", url=f"mxc://{uri}")

        archive = await export(one, alice)

        names = [name for name in archive.zip.namelist() if uri.partition("/")[2] in name]
        assert [archive.zip.read(name) for name in names] == [LARGE]


async def test_a_copy_of_another_servers_file_shares_the_bytes_of_an_upload(
    database: Database, tmp_path: Path, storage: ObjectStorage
) -> None:
    media = section(storage, cache_bytes=0)
    async with media_world(database, tmp_path, media=media) as world:
        path = "other.test/theirs"
        world.others.files[path] = RemoteFile(LARGE)
        uri = await upload(world.one, world.alice, LARGE)

        assert await get(world.one, world.bob, f"download/{path}") == (200, LARGE)
        assert list(storage.objects(media["s3"]["bucket"])) == [place(LARGE)]
        await delete(world.one, world.alice, uri)

        assert await get(world.one, world.bob, f"download/{path}") == (200, LARGE)
        assert world.others.asked == [path]


async def test_a_resumable_upload_that_storage_did_not_take_is_taken_when_it_is_back(
    database: Database, tmp_path: Path, storage: ObjectStorage
) -> None:
    body = {"Content-Type": "application/offset+octet-stream", "Tus-Resumable": "1.0.0"}
    async with stored(database, tmp_path, storage, cache_bytes=0) as (one, alice, bucket):
        store = one.wiring.device_parts.media_files.store
        assert isinstance(store, BucketStore)
        headers = {"Authorization": f"Bearer {alice}", **body}
        good = vars(store)["bucket"]
        nowhere = f"http://127.0.0.1:{free_port()}"
        lost = BucketSettings("b", nowhere, access_key_id="a", secret_access_key="b")
        vars(store)["bucket"] = Bucket(lost)

        async with one.client.post(
            "/api/v1/uploads", data=b"whole", headers={**headers, "Upload-Length": "5"}
        ) as response:
            assert response.status == 503
            uploads = await database.fetch("SELECT upload_id, state FROM uploads")
            assert [row["state"] for row in uploads] == ["receiving"]
        vars(store)["bucket"] = good
        path = f"/api/v1/uploads/{uploads[0]['upload_id']}"
        async with one.client.head(path, headers=headers) as response:
            assert (response.status, response.headers["Upload-Offset"]) == (200, "5")

        assert await get(one, alice, f"download/one.test/{uploads[0]['upload_id']}") == (
            200,
            b"whole",
        )
        assert list(storage.objects(bucket)) == [place(b"whole")]


async def test_the_command_line_moves_files_while_the_server_runs(
    postgres: TestPostgres,
    tmp_path: Path,
    storage: ObjectStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dsn = await postgres.create_database()
    monkeypatch.setenv("COMITY_DATABASE__DSN", dsn)
    key = generate_signing_key(secrets.token_bytes(32), "test")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "signing.key").write_text(format_signing_key(key))

    async def comity(*arguments: str, code: int = 0) -> str:
        config = ["--config", str(tmp_path / "comity.yaml")]
        result = await asyncio.to_thread(CliRunner().invoke, main, [*arguments, *config])
        assert result.exit_code == code, result.output
        return result.output

    database = await Database.connect(dsn)
    await migrations.apply(database)
    async with running(database, tmp_path) as one:
        uri = await upload(one, await one.register("alice"), LARGE)
        assert "there is no bucket" in await comity("media", "migrate", code=1)
        assert "ok    media: files lie in data_dir" in await comity("doctor", code=1)

    media = section(storage)
    async with running(database, tmp_path, media=media) as one:
        alice = (await one.call("POST", "/login", LOGIN))["access_token"]
        assert await get(one, alice, f"download/{uri}") == (200, LARGE)
        moved = await comity("media", "migrate")
        assert moved.startswith("moved 1 files")
        assert list(storage.objects(media["s3"]["bucket"])) == [place(LARGE)]
        assert await get(one, alice, f"download/{uri}") == (200, LARGE)
        assert (await comity("media", "migrate")).startswith("moved 0 files")
        assert "1 files  encrypts what comes in" in await comity("media", "keys")
        assert "media in the bucket" in await comity("backup", str(tmp_path / "backup.tar.gz"))
        assert "ok    media: files lie in http://" in await comity("doctor", code=1)
        media["s3"]["bucket"] = "nonesuch"
        config = tmp_path / "comity.yaml"
        config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "media": media}))
        mend = await comity("doctor", code=1)
        assert "MEND  media: the bucket nonesuch" in mend
        assert "there is no such bucket" in mend
        assert servers.SECRET not in mend
    await database.close()


async def test_storage_that_is_away_is_said_clearly_and_the_rest_goes_on(
    database: Database, tmp_path: Path
) -> None:
    port = free_port()
    with servers.running("moto", tmp_path / "buckets", port) as storage:
        media = section(storage, cache_bytes=0)
        async with running(database, tmp_path, media=media) as one:
            alice = await one.register("alice")
            room_id = await one.room(alice)
            uri = await upload(one, alice, b"before")

    async with running(database, tmp_path, media=media) as one:
        answer = await one.call("POST", "/login", LOGIN)
        alice = answer["access_token"]

        status, text = await get(one, alice, f"download/{uri}")
        assert (status, b"M_UNKNOWN" in text) == (503, True)
        assert await upload(one, alice, b"meanwhile", 503) == "M_UNKNOWN"
        await delete(one, alice, uri)
        await one.say(alice, room_id, "still here")
        assert on_this_machine(tmp_path) == []

        with servers.running("moto", tmp_path / "buckets", port) as storage:
            storage.client.create_bucket(Bucket=media["s3"]["bucket"])
            storage.client.put_object(
                Bucket=media["s3"]["bucket"], Key=place(b"before"), Body=b"left"
            )
            strays = one.wiring.device_parts.media_strays
            await upload_until_answered(one, alice)

            async def is_gone() -> bool:
                # Whoever tried while the storage was away tries again after a while only.
                await database.execute("UPDATE media_strays SET due_at = 0")
                await strays.step()
                return place(b"before") not in storage.objects(media["s3"]["bucket"])

            await eventually(is_gone, "what was deleted meanwhile is gone")


LOGIN = {
    "type": "m.login.password",
    "identifier": {"type": "m.id.user", "user": "alice"},
    "password": "sesame",
}


async def upload_until_answered(one: Instance, token: str) -> None:
    """Wait until storage that was away is asked again."""
    while True:
        async with one.client.post(
            "/_matrix/media/v3/upload",
            data=b"again",
            headers={"Authorization": f"Bearer {token}"},
        ) as response:
            if response.status == 200:
                return
            assert response.status == 503
