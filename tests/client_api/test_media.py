"""The content repository over HTTP."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image
from yarl import URL

from client_api.matrix import media
from homeserver.app_keys import MEDIA, MESSAGE_VIEWS
from homeserver.services.media import MediaService, NotYetUploaded
from homeserver.services.media_files import MediaFiles
from homeserver.services.message_views import MessageViews
from homeserver.services.thumbnails import Thumbnails
from tests.client_api.stage import bearer, serve
from tests.services.deleting import strays
from tests.services.doubles import Clock
from tests.services.open_consent import OpenConsent
from tests.services.remote_media import OtherServers, RemoteFile

LIMIT = 300_000
ALICE, BOB = bearer("alice/PHONE"), bearer("bob/PHONE")


@dataclass
class RemoteMedia(OtherServers):
    """Other servers' media, which may be asked for too early."""

    pause_seconds: float = 0.02
    too_early: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def download(
        self, origin: str, media_id: str, timeout_ms: int
    ) -> AsyncIterator[RemoteFile]:
        """A file."""
        if self.too_early:
            self.asked.append(f"{origin}/{media_id}")
            self.begun.set()
            await self.answers.wait()
            self.too_early -= 1
            raise NotYetUploaded("The content has not been uploaded yet")
        async with super().download(origin, media_id, timeout_ms) as file:
            yield file


@dataclass
class Stage:
    """A client, and what stands behind the server."""

    http: Any
    remote: RemoteMedia
    service: MediaService
    clock: Clock
    files: MediaFiles

    async def upload(self, content: bytes, content_type: str = "text/plain", **query: str) -> str:
        """Alice uploads a file; its server name and media ID, as a path."""
        response = await self.http.post(
            "/_matrix/media/v3/upload",
            data=content,
            params=query,
            headers={**ALICE, "Content-Type": content_type},
        )
        assert response.status == 200, await response.text()
        uri: str = (await response.json())["content_uri"]
        return uri.removeprefix("mxc://")

    async def get(self, path: str, headers: dict[str, str] = BOB, **query: Any) -> Any:
        """GET beneath the authenticated endpoints."""
        return await self.http.get(
            f"/_matrix/client/v1/media/{path}", headers=headers, params=query
        )


@pytest.fixture
async def stage(database, log, tmp_path):
    files, remote, clock = MediaFiles(tmp_path / "media"), RemoteMedia(), Clock()
    service = MediaService(
        server_name="one.example",
        database=database,
        files=files,
        strays=strays(database, files, clock),
        thumbnails=Thumbnails(files),
        remote=remote,
        max_upload_bytes=LIMIT,
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


def png(width: int, height: int) -> bytes:
    """An image."""
    output = io.BytesIO()
    Image.new("RGB", (width, height)).save(output, "PNG")
    return output.getvalue()


async def errcode(response: Any, status: int) -> str:
    """The error's code, once its status is checked."""
    assert response.status == status, await response.text()
    code: str = (await response.json())["errcode"]
    return code


# ---------------------------------------------------------------- uploads and downloads


async def test_what_alice_uploads_bob_downloads(stage):
    content = bytes(range(256)) * 1000
    path = await stage.upload(content, "application/pdf", filename="Übersicht 1.pdf")

    response = await stage.get(f"download/{path}")

    assert await response.read() == content
    assert response.headers["Content-Type"] == "application/pdf"
    assert response.headers["Content-Disposition"] == (
        "attachment; filename*=utf-8''%C3%9Cbersicht%201.pdf"
    )
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("sandbox;")
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("content_type", "served", "disposition"),
    [
        ("image/png", "image/png", "inline"),
        ("text/plain", "text/plain; charset=utf-8", "inline"),
        ("text/html", "text/html; charset=utf-8", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("nonsense", "application/octet-stream", "attachment"),
        ("a/b/c", "application/octet-stream", "attachment"),
    ],
)
async def test_only_harmless_types_are_served_inline(stage, content_type, served, disposition):
    path = await stage.upload(b"x", content_type)

    response = await stage.get(f"download/{path}")

    assert response.headers["Content-Type"] == served
    assert response.headers["Content-Disposition"] == disposition


async def test_a_download_may_be_given_another_name(stage):
    path = await stage.upload(b"x", "text/plain", filename="a.txt")

    response = await stage.get(f"download/{path}/b.txt")

    assert response.headers["Content-Disposition"] == 'inline; filename="b.txt"'


async def test_a_part_of_a_file_can_be_asked_for(stage):
    path = await stage.upload(b"0123456789")

    response = await stage.get(f"download/{path}", {**BOB, "Range": "bytes=2-4"})

    assert (response.status, await response.read()) == (206, b"234")


async def test_the_same_content_twice_lies_on_disk_once(stage):
    first, second = await stage.upload(b"same"), await stage.upload(b"same")

    kept = [path for path in stage.files.root.rglob("*") if path.is_file()]

    assert first != second
    assert len(kept) == 1


async def chunked(size: int) -> AsyncIterator[bytes]:
    """A body that does not say how long it is."""
    for _ in range(size // 1000):
        yield b"x" * 1000


@pytest.mark.parametrize("says_its_length", [True, False])
async def test_an_upload_beyond_the_limit_is_refused_and_leaves_nothing(stage, says_its_length):
    body: Any = b"x" * (LIMIT + 1000) if says_its_length else chunked(LIMIT + 1000)

    response = await stage.http.post("/_matrix/media/v3/upload", data=body, headers=ALICE)

    assert await errcode(response, 413) == "M_TOO_LARGE"
    assert [path for path in stage.files.root.rglob("*") if path.is_file()] == []


async def test_an_upload_larger_than_any_json_body_is_taken(stage):
    path = await stage.upload(b"x" * LIMIT)

    assert len(await (await stage.get(f"download/{path}")).read()) == LIMIT


async def test_an_upload_that_breaks_off_leaves_nothing(stage):
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await stage.service.upload("@alice:one.example", broken(), None, None)

    assert [path for path in stage.files.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "path",
    ["download/one.example/none", "download/one.example/..%2f..%2fetc", "download/two..%2f/x"],
)
async def test_unknown_and_impossible_ids_are_not_found(stage, path):
    url = URL(f"/_matrix/client/v1/media/{path}", encoded=True)
    response = await stage.http.get(url, headers=BOB)

    assert await errcode(response, 404) == "M_NOT_FOUND"


async def test_all_but_the_old_endpoints_need_a_token(stage):
    path = await stage.upload(b"x")

    for place in (f"download/{path}", f"thumbnail/{path}", "config"):
        assert await errcode(await stage.get(place, {}), 401) == "M_MISSING_TOKEN"


async def test_clients_learn_the_limit(stage):
    assert await (await stage.get("config")).json() == {"m.upload.size": LIMIT}


# ---------------------------------------------------------------- without a token


async def test_the_old_endpoints_serve_what_is_of_here_until_they_are_frozen(stage):
    path = await stage.upload(b"x")
    stage.remote.files["two.example/cat"] = RemoteFile(b"cat")

    local = await stage.http.get(f"/_matrix/media/v3/download/{path}")
    remote = await stage.http.get("/_matrix/media/v3/download/two.example/cat")
    stage.service.unauthenticated_downloads = False
    frozen = await stage.http.get(f"/_matrix/media/v3/download/{path}")

    assert await local.read() == b"x"
    assert await errcode(remote, 404) == await errcode(frozen, 404) == "M_NOT_FOUND"


# ---------------------------------------------------------------- IDs given out first


async def create(stage: Stage) -> str:
    """Alice gets an ID; its server name and media ID, as a path."""
    response = await stage.http.post("/_matrix/media/v1/create", headers=ALICE)
    uri: str = (await response.json())["content_uri"]
    return uri.removeprefix("mxc://")


async def fill(stage: Stage, path: str, headers: dict[str, str] = ALICE) -> Any:
    """Upload the content of an ID."""
    return await stage.http.put(f"/_matrix/media/v3/upload/{path}", data=b"later", headers=headers)


async def test_who_asks_too_early_waits_for_the_upload(stage):
    path = await create(stage)

    download = asyncio.create_task(stage.get(f"download/{path}"))
    await asyncio.sleep(0.1)
    uploaded = await fill(stage, path)

    assert uploaded.status == 200
    assert await (await download).read() == b"later"


async def test_who_waits_too_long_is_told_to_come_again(stage):
    path = await create(stage)

    response = await stage.get(f"download/{path}", timeout_ms=0)

    assert await errcode(response, 504) == "M_NOT_YET_UPLOADED"


async def test_an_id_is_filled_once_by_its_owner_and_in_time(stage):
    path, expired = await create(stage), await create(stage)

    others = await fill(stage, path, BOB)
    await fill(stage, path)
    again = await fill(stage, path)
    stage.clock.now += 25 * 3_600_000
    late = await fill(stage, expired)
    unknown = await fill(stage, "one.example/unknown")

    assert await errcode(others, 403) == "M_FORBIDDEN"
    assert await errcode(again, 409) == "M_CANNOT_OVERWRITE_MEDIA"
    assert await errcode(late, 404) == await errcode(unknown, 404) == "M_NOT_FOUND"


async def test_nobody_hoards_ids(stage):
    responses = [
        await stage.http.post("/_matrix/media/v1/create", headers=ALICE) for _ in range(21)
    ]

    assert [response.status for response in responses] == [200] * 20 + [429]


# ---------------------------------------------------------------- other instances


async def test_remote_media_is_fetched_once_however_many_ask(stage):
    stage.remote.files["two.example/cat"] = RemoteFile(b"meow" * 1000, upload_name="cat.png")

    responses = await asyncio.gather(*(stage.get("download/two.example/cat") for _ in range(5)))
    later = await stage.get("download/two.example/cat")

    assert [await response.read() for response in [*responses, later]] == [b"meow" * 1000] * 6
    assert later.headers["Content-Disposition"] == 'inline; filename="cat.png"'
    assert stage.remote.asked == ["two.example/cat"]


async def test_who_has_more_time_than_the_first_who_asked_gets_what_comes_later(stage):
    stage.remote.files["two.example/cat"] = RemoteFile(b"meow")
    stage.remote.too_early = 1

    first = asyncio.create_task(stage.get("download/two.example/cat", timeout_ms=0))
    await asyncio.wait_for(stage.remote.begun.wait(), 30)
    second = asyncio.create_task(stage.get("download/two.example/cat", timeout_ms=20_000))
    await asyncio.sleep(0.2)  # so that both wait for one answer
    stage.remote.answers.set()

    assert await errcode(await first, 504) == "M_NOT_YET_UPLOADED"
    assert await (await second).read() == b"meow"
    assert len(stage.remote.asked) == 2


async def test_remote_media_beyond_the_limit_is_refused(stage):
    stage.remote.files["two.example/big"] = RemoteFile(b"x" * (LIMIT + 1))

    response = await stage.get("download/two.example/big")

    assert await errcode(response, 502) == "M_TOO_LARGE"


async def test_remote_media_is_not_fetched_where_that_is_forbidden(stage):
    stage.remote.files["two.example/cat"] = RemoteFile(b"cat")

    response = await stage.get("download/two.example/cat", allow_remote="false")

    assert await errcode(response, 404) == "M_NOT_FOUND"
    assert stage.remote.asked == []


# ---------------------------------------------------------------- thumbnails


async def test_an_image_has_a_thumbnail(stage):
    path = await stage.upload(png(400, 300), "image/png")

    response = await stage.get(f"thumbnail/{path}", width=96, height=96, method="crop")

    assert Image.open(io.BytesIO(await response.read())).size == (96, 96)
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["Content-Disposition"] == 'inline; filename="thumbnail.jpeg"'


async def test_a_remote_image_has_a_thumbnail_too(stage):
    stage.remote.files["two.example/cat"] = RemoteFile(png(400, 300))

    response = await stage.get("thumbnail/two.example/cat", width=32, height=32)

    assert Image.open(io.BytesIO(await response.read())).size == (43, 32)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "M_INVALID_PARAM"),
        ({"width": "x", "height": "5"}, "M_INVALID_PARAM"),
        ({"width": "5", "height": "5", "method": "melt"}, "M_INVALID_PARAM"),
        ({"width": "5", "height": "5"}, "M_UNKNOWN"),
    ],
)
async def test_impossible_thumbnails_are_refused(stage, query, code):
    path = await stage.upload(b"no image", "image/png")

    assert await errcode(await stage.get(f"thumbnail/{path}", **query), 400) == code


async def test_a_name_that_would_break_the_header_is_made_harmless(stage):
    path = await stage.upload(b"x", filename='a"\r\nSet-Cookie: b=c/../d')

    response = await stage.get(f"download/{path}")

    assert response.headers["Content-Disposition"] == (
        "inline; filename*=utf-8''a%22Set-Cookie%3A%20b%3Dc_.._d"
    )
    assert "Set-Cookie" not in response.headers
