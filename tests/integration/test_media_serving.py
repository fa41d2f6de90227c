"""How files are given out by a whole instance: headers, parts, thumbnails, IDs filled later."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from homeserver.storage.database import Database
from tests.integration.media_world import (
    DOWNLOAD,
    THUMBNAIL,
    MediaWorld,
    media_world,
    moving_picture,
    picture,
)

CONTENT = bytes(range(256)) * 4
CSP = (
    "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; "
    "style-src 'unsafe-inline'; object-src 'self';"
)


@pytest.fixture(params=[True, False], ids=["sealed", "plain"])
async def world(
    database: Database, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[MediaWorld]:
    """An instance that encrypts its files, or does not."""
    media = {"encryption_at_rest": request.param}
    async with media_world(database, tmp_path, media=media) as world:
        yield world


@pytest.fixture
async def sealed(database: Database, tmp_path: Path) -> AsyncIterator[MediaWorld]:
    """An instance with the usual settings."""
    async with media_world(database, tmp_path) as world:
        yield world


# ---------------------------------------------------------------- headers


async def test_no_way_lets_a_browser_run_a_file(world: MediaWorld) -> None:
    path = await world.upload(picture())
    link = await world.link(path)
    ways = world.ways(path) | world.thumbnails(path)
    ways |= {"link": link, "linked thumbnail": f"{link}/thumbnail?width=32&height=32"}

    for name, url in ways.items():
        answer = await world.ask("GET", url)

        assert answer.status == 200, name
        assert answer.headers["Content-Security-Policy"] == CSP, name
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin", name
        assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        assert answer.headers["Content-Disposition"].startswith("inline"), name
        assert answer.headers["Cache-Control"].startswith("private, max-age="), name


@pytest.mark.parametrize(
    ("content_type", "disposition"),
    [
        ("image/svg+xml", "attachment"),
        ("text/html", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("application/javascript", "attachment"),
        ("application/pdf", "attachment"),
        ("image/webp", "inline"),
        ("audio/flac", "inline"),
        ("text/plain; charset=utf-16", "inline"),
    ],
)
async def test_only_the_types_of_the_specification_are_shown_inline_by_any_way(
    sealed: MediaWorld, content_type: str, disposition: str
) -> None:
    path = await sealed.upload(b"<script>alert(1)</script>", content_type)

    answers = [await sealed.ask("GET", url) for url in sealed.ways(path).values()]

    assert {answer.headers["Content-Disposition"].partition(";")[0] for answer in answers} == {
        disposition
    }


async def test_who_has_a_file_already_is_told_so(world: MediaWorld) -> None:
    path = await world.upload(picture())

    for name, url in (world.ways(path) | world.thumbnails(path)).items():
        first = await world.ask("GET", url)
        tag = first.headers["ETag"]
        same = await world.ask("GET", url, {"If-None-Match": f'"other", {tag}'})
        weak = await world.ask("GET", url, {"If-None-Match": f"W/{tag}"})
        anything = await world.ask("GET", url, {"If-None-Match": "*"})
        other = await world.ask("GET", url, {"If-None-Match": '"other"'})

        statuses = [answer.status for answer in (same, weak, anything, other)]
        assert statuses == [304, 304, 304, 200], name
        assert same.headers["ETag"] == tag, name
        assert (same.content, other.content) == (b"", first.content), name


async def test_the_same_content_has_the_same_tag_and_another_has_another(
    world: MediaWorld,
) -> None:
    paths = [await world.upload(content) for content in (b"one", b"one", b"two")]

    tags = [(await world.ask("GET", f"{DOWNLOAD}/{path}")).headers["ETag"] for path in paths]

    assert tags[0] == tags[1] != tags[2]


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=5-5", 206, 5, 6),
        ("bytes=1000-", 206, 1000, 1024),
        ("bytes=0-", 206, 0, 1024),
        ("bytes=1000-99999999", 206, 1000, 1024),
        ("bytes=-24", 206, 1000, 1024),
        ("bytes=-99999", 206, 0, 1024),
        ("bytes=1024-", 416, 0, 0),
        ("bytes=2000-3000", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=9-3", 200, 0, 1024),
        ("bytes=0-1,4-5", 200, 0, 1024),
        ("bytes=x", 200, 0, 1024),
        ("bytes=-", 200, 0, 1024),
        ("lines=1-2", 200, 0, 1024),
    ],
)
async def test_the_part_that_is_asked_for_is_given_by_every_way(
    world: MediaWorld, wanted: str, status: int, start: int, end: int
) -> None:
    path = await world.upload(CONTENT, "video/mp4")

    for name, url in world.ways(path).items():
        answer = await world.ask("GET", url, {"Range": wanted})

        assert (answer.status, answer.content) == (status, CONTENT[start:end]), name
        assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        if status == 206:
            assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/1024", name
        elif status == 416:
            assert answer.headers["Content-Range"] == "bytes */1024", name
        else:
            assert answer.headers["Accept-Ranges"] == "bytes", name


async def test_a_part_of_what_has_changed_is_given_whole(world: MediaWorld) -> None:
    path = await world.upload(CONTENT, "video/mp4")

    for name, url in world.ways(path).items():
        tag = (await world.ask("GET", url)).headers["ETag"]
        part = {"Range": "bytes=0-1"}
        same = await world.ask("GET", url, {**part, "If-Range": tag})
        other = await world.ask("GET", url, {**part, "If-Range": '"other"'})
        weak = await world.ask("GET", url, {**part, "If-Range": f"W/{tag}"})
        old = await world.ask("GET", url, {**part, "If-Range": "Sat, 01 Jan 2000 00:00:00 GMT"})

        assert [a.status for a in (same, other, weak, old)] == [206, 200, 200, 200], name


async def test_head_tells_what_get_would(world: MediaWorld) -> None:
    path = await world.upload(picture())

    for name, url in (world.ways(path) | world.thumbnails(path)).items():
        got, head = await world.ask("GET", url), await world.ask("HEAD", url)

        for header in ("Content-Type", "Content-Length", "ETag", "Content-Disposition"):
            assert head.headers[header] == got.headers[header], (name, header)
        assert (head.status, head.content) == (200, b""), name


async def test_an_empty_file_has_no_parts(world: MediaWorld) -> None:
    path = await world.upload(b"", "text/plain")

    whole = await world.ask("GET", f"{DOWNLOAD}/{path}")
    part = await world.ask("GET", f"{DOWNLOAD}/{path}", {"Range": "bytes=0-"})

    assert (whole.status, whole.content) == (200, b"")
    assert part.status == 416


# ---------------------------------------------------------------- thumbnails


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP"])
async def test_a_thumbnail_moves_only_where_that_is_asked_for(
    sealed: MediaWorld, image_format: str
) -> None:
    path = await sealed.upload(moving_picture(image_format), f"image/{image_format.lower()}")

    found = {}
    for name, url in (sealed.thumbnails(path) | sealed.federation(path)).items():
        if "thumbnail" not in name:
            continue
        for animated in ("", "&animated=true", "&animated=false"):
            if name.startswith("federation"):
                answer = await sealed.signed(url + animated)
                content = answer.content.split(b"\r\n\r\n", 2)[2].rpartition(b"\r\n--")[0]
            else:
                answer = await sealed.ask("GET", url + animated)
                content = answer.content
            assert answer.status == 200
            with Image.open(io.BytesIO(content)) as image:
                found[name + animated] = (image.format, getattr(image, "n_frames", 1), image.size)

    assert {found[name] for name in found if name.endswith("=true")} == {("WEBP", 4, (32, 32))}
    assert {found[name] for name in found if not name.endswith("=true")} == {
        ("JPEG" if image_format != "WEBP" else found["thumbnail"][0], 1, (32, 32))
    }


async def test_nobody_is_given_a_huge_thumbnail_of_a_small_picture(sealed: MediaWorld) -> None:
    content = picture((300, 200))
    path = await sealed.upload(content)

    for size in ("width=999999999&height=999999999", "width=2049&height=1&method=crop"):
        answer = await sealed.ask("GET", f"{THUMBNAIL}/{path}?{size}")

        assert (answer.status, answer.content) == (200, content)
        assert answer.headers["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("width=0&height=5", 400),
        ("width=-1&height=5", 400),
        ("width=5", 400),
        ("width=5&height=5&method=stretch", 400),
        ("width=5&height=5&animated=perhaps", 400),
        ("width=99999999999999999999999999&height=5", 200),
        ("width=5&height=5", 200),
    ],
)
async def test_impossible_sizes_are_refused_by_every_way(
    sealed: MediaWorld, query: str, status: int
) -> None:
    path = await sealed.upload(picture())

    for url in [f"{THUMBNAIL}/{path}", f"/_matrix/media/v3/thumbnail/{path}"]:
        assert (await sealed.ask("GET", f"{url}?{query}")).status == status
    media_id = path.rpartition("/")[2]
    signed = await sealed.signed(f"/_matrix/federation/v1/media/thumbnail/{media_id}?{query}")
    assert signed.status == status


# ---------------------------------------------------------------- IDs filled later


async def create(world: MediaWorld) -> str:
    """Alice asks for an ID; as a path."""
    answer = await world.ask("POST", "/_matrix/media/v1/create", token=world.alice)
    assert answer.status == 200, answer.content
    return answer.content.decode().partition("mxc://")[2].partition('"')[0]


async def fill(world: MediaWorld, path: str, token: str, content: bytes = b"later") -> bytes:
    """Its content comes; the errcode, or nothing."""
    url = f"/_matrix/media/v3/upload/{path}"
    answer = await world.ask("PUT", url, {"Content-Type": "text/plain"}, token=token, data=content)
    return (
        b""
        if answer.status == 200
        else answer.content.partition(b'errcode":"')[2].partition(b'"')[0]
    )


async def test_all_who_wait_get_what_comes_later(sealed: MediaWorld) -> None:
    path = await create(sealed)
    ways = [*sealed.ways(path).values()]
    federation = sealed.federation(path)["federation"]

    waiting = [asyncio.create_task(sealed.ask("GET", url)) for url in ways]
    waiting.append(asyncio.create_task(sealed.signed(federation)))
    await asyncio.sleep(0.3)
    refused = await fill(sealed, path, sealed.alice)
    answers = await asyncio.gather(*waiting)

    assert refused == b""
    assert [answer.status for answer in answers] == [200] * len(waiting)
    assert all(b"later" in answer.content for answer in answers)


async def test_what_has_not_come_yet_is_said_by_every_way(sealed: MediaWorld) -> None:
    path = await create(sealed)
    ways = sealed.ways(path) | sealed.thumbnails(path)
    del ways["content"], ways["our thumbnail"]  # they have no such parameter

    for name, url in ways.items():
        answer = await sealed.ask("GET", f"{url}{'&' if '?' in url else '?'}timeout_ms=1")
        assert (answer.status, b"M_NOT_YET_UPLOADED" in answer.content) == (504, True), name
    for name, url in sealed.federation(path).items():
        answer = await sealed.signed(f"{url}{'&' if '?' in url else '?'}timeout_ms=1")
        assert (answer.status, b"M_NOT_YET_UPLOADED" in answer.content) == (504, True), name


async def test_an_id_is_filled_once_and_by_whom_it_was_given_to(sealed: MediaWorld) -> None:
    path = await create(sealed)

    by_bob = await fill(sealed, path, sealed.bob)
    at_once = await asyncio.gather(
        *(fill(sealed, path, sealed.alice, bytes([n])) for n in range(5))
    )
    again = await fill(sealed, path, sealed.alice)
    unknown = await fill(sealed, "one.test/unknown", sealed.alice)
    elsewhere = await fill(sealed, "two.test/unknown", sealed.alice)

    assert by_bob == b"M_FORBIDDEN"
    assert sorted(at_once) == [b""] + [b"M_CANNOT_OVERWRITE_MEDIA"] * 4
    assert (again, unknown) == (b"M_CANNOT_OVERWRITE_MEDIA", b"M_NOT_FOUND")
    assert elsewhere == b"M_FORBIDDEN"
    root = sealed.one.wiring.device_parts.media_files.root
    assert len([path for path in root.glob("??/??/*") if path.is_file()]) == 1


async def test_an_id_that_has_expired_is_gone(sealed: MediaWorld) -> None:
    path = await create(sealed)
    await sealed.one.wiring.database.execute("UPDATE media_pending SET expires_at = 1")

    filled = await fill(sealed, path, sealed.alice)
    answer = await sealed.ask("GET", f"{DOWNLOAD}/{path}")
    await sealed.one.wiring.ends.work_off()

    assert (filled, answer.status) == (b"M_NOT_FOUND", 404)
