"""Media that is encrypted on disk, over HTTP: as if it were plain, and never plain on disk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from client_api.matrix import media
from homeserver.app_keys import MEDIA, MESSAGE_VIEWS
from homeserver.services.media import MediaService
from homeserver.services.media_files import MediaFiles
from homeserver.services.message_views import MessageViews
from homeserver.services.sealing.keys import KeyFile
from homeserver.services.thumbnails import Thumbnails
from homeserver.storage.database import Database
from homeserver.storage.log import Log
from tests.client_api.stage import serve
from tests.client_api.test_media import RemoteMedia, Stage, errcode, png
from tests.services.deleting import strays
from tests.services.doubles import Clock
from tests.services.open_consent import OpenConsent

CONTENT = random.Random(1).randbytes(200_000)


@pytest.fixture
async def stage(database: Database, log: Log, tmp_path: Path) -> AsyncIterator[Stage]:
    keys = KeyFile(tmp_path / "media.keys")
    keys.prepare()
    files, remote, clock = (
        MediaFiles(tmp_path / "media", keys, seal=True),
        RemoteMedia(),
        Clock(),
    )
    service = MediaService(
        server_name="one.example",
        database=database,
        files=files,
        strays=strays(database, files, clock),
        thumbnails=Thumbnails(files),
        remote=remote,
        max_upload_bytes=300_000,
        unauthenticated_downloads=True,
        clock_ms=clock,
    )
    await service.start()
    views = MessageViews(
        server_name="one.example", database=database, log=log, wake=lambda: None, clock_ms=clock
    )
    parts = {
        MEDIA: service,
        MESSAGE_VIEWS: views,
        **OpenConsent(database, log, clock).app_parts(),
    }
    async with serve(media.routes.definitions, parts) as http:
        yield Stage(http, remote, service, clock, files)
    await service.close()


def on_disk(stage: Stage) -> list[Path]:
    return [path for path in stage.files.root.rglob("*") if path.is_file()]


async def get(stage: Stage, path: str, **headers: str) -> Any:
    return await stage.http.get(
        f"/_matrix/client/v1/media/download/{path}",
        headers={"Authorization": "Bearer bob/PHONE", **headers},
    )


async def test_a_file_is_encrypted_on_disk_and_served_as_it_was(stage: Stage) -> None:
    path = await stage.upload(CONTENT, "text/plain")

    response = await get(stage, path)

    assert await response.read() == CONTENT
    assert response.headers["Content-Length"] == str(len(CONTENT))
    (stored,) = on_disk(stage)
    assert stored.suffix == ".sealed"
    for start in range(0, len(CONTENT), 1000):
        assert CONTENT[start : start + 16] not in stored.read_bytes()


async def test_the_same_content_is_stored_once(stage: Stage) -> None:
    first = await stage.upload(CONTENT)
    second = await stage.upload(CONTENT)

    assert first != second
    assert len(on_disk(stage)) == 1


async def test_a_plain_file_of_before_is_served_and_not_stored_again(stage: Stage) -> None:
    stage.files.seal = False
    before = await stage.upload(CONTENT)
    stage.files.seal = True
    after = await stage.upload(CONTENT)

    assert [path.suffix for path in on_disk(stage)] == [""]
    for path in (before, after):
        assert await (await get(stage, path)).read() == CONTENT


async def test_what_was_encrypted_is_served_when_that_is_off(stage: Stage) -> None:
    path = await stage.upload(CONTENT)

    stage.files.seal = False

    assert await (await get(stage, path)).read() == CONTENT


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=65535-65536", 206, 65_535, 65_537),
        ("bytes=70000-", 206, 70_000, 200_000),
        ("bytes=-5", 206, 199_995, 200_000),
        ("bytes=-900000", 206, 0, 200_000),
        ("bytes=199999-999999", 206, 199_999, 200_000),
        ("bytes=5-4", 200, 0, 200_000),
        ("bytes=1-2,5-6", 200, 0, 200_000),
        ("bytes=-", 200, 0, 200_000),
        ("lines=1-2", 200, 0, 200_000),
    ],
)
async def test_a_range_is_served(
    stage: Stage, wanted: str, status: int, start: int, end: int
) -> None:
    path = await stage.upload(CONTENT)

    response = await get(stage, path, Range=wanted)

    assert response.status == status
    assert await response.read() == CONTENT[start:end]
    told = f"bytes {start}-{end - 1}/200000" if status == 206 else None
    assert response.headers.get("Content-Range") == told


@pytest.mark.parametrize("wanted", ["bytes=200000-", "bytes=200000-200001", "bytes=-0"])
async def test_a_range_outside_is_refused(stage: Stage, wanted: str) -> None:
    path = await stage.upload(CONTENT)

    response = await get(stage, path, Range=wanted)

    assert (response.status, response.headers["Content-Range"]) == (416, "bytes */200000")


async def test_an_empty_file_is_served(stage: Stage) -> None:
    path = await stage.upload(b"")

    assert await (await get(stage, path)).read() == b""
    assert (await get(stage, path, Range="bytes=0-")).status == 416


async def test_who_has_the_file_is_told_so(stage: Stage) -> None:
    path = await stage.upload(CONTENT)
    tag = (await get(stage, path)).headers["ETag"]

    again = await get(stage, path, **{"If-None-Match": tag})
    resumed = await get(stage, path, **{"If-Range": tag, "Range": "bytes=5-9"})
    changed = await get(stage, path, **{"If-Range": '"other"', "Range": "bytes=5-9"})

    assert (again.status, await again.read()) == (304, b"")
    assert await resumed.read() == CONTENT[5:10]
    assert await changed.read() == CONTENT


async def test_thumbnails_are_encrypted_too(stage: Stage) -> None:
    path = await stage.upload(png(600, 400), "image/png")

    responses = [
        await stage.get(f"thumbnail/{path}", width=96, height=96, method="crop") for _ in range(2)
    ]

    for response in responses:
        assert (await response.read()).startswith(b"\xff\xd8")
    assert len(on_disk(stage)) == 2
    assert all(stored.read_bytes().startswith(b"COMITYM1") for stored in on_disk(stage))


async def test_a_damaged_file_is_a_clean_error_and_a_line_in_the_log(stage: Stage) -> None:
    path = await stage.upload(CONTENT, "image/png")
    (stored,) = on_disk(stage)
    damaged = bytearray(stored.read_bytes())
    damaged[-1] ^= 1
    stored.write_bytes(damaged)

    with capture_logs() as logs:
        code = await errcode(await get(stage, path), 500)
        other = await stage.get(f"thumbnail/{path}", width=96, height=96)

    assert (code, await errcode(other, 500)) == ("M_UNKNOWN", "M_UNKNOWN")
    lines = [line for line in logs if line["event"] == "media is damaged"]
    assert [line["file"] for line in lines] == [stored.stem] * 2
    assert not [line for line in logs if "exc_info" in line]


async def test_a_reader_of_a_file_that_is_damaged_in_the_middle_does_not_take_it_for_whole(
    stage: Stage,
) -> None:
    path = await stage.upload(CONTENT)
    (stored,) = on_disk(stage)
    damaged = bytearray(stored.read_bytes())
    damaged[100_000] ^= 1
    stored.write_bytes(damaged)

    with pytest.raises(Exception, match=r"(?i)payload|disconnected|connection"):
        await (await get(stage, path)).read()

    assert await (await get(stage, path, Range="bytes=0-9")).read() == CONTENT[:10]


async def test_a_lost_key_is_a_clean_error(stage: Stage) -> None:
    path = await stage.upload(CONTENT)
    keys = stage.files.keys
    assert isinstance(keys, KeyFile)
    keys.path.unlink()
    KeyFile(keys.path).prepare()
    keys.all()

    assert await errcode(await get(stage, path), 500) == "M_UNKNOWN"


async def test_many_read_at_once(stage: Stage) -> None:
    path = await stage.upload(CONTENT)

    async def part(start: int) -> bytes:
        response = await get(stage, path, Range=f"bytes={start}-{start + 999}")
        content: bytes = await response.read()
        return content

    parts = await asyncio.gather(*(part(start) for start in range(0, 200_000, 5000)))

    assert parts == [CONTENT[start : start + 1000] for start in range(0, 200_000, 5000)]
