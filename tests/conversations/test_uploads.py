"""Resumable uploads.  Spec: tus resumable upload protocol 1.0.0."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from tests.conversations.tus import BYTES, CONTENT, Tus, interrupted, metadata, on_disk

from .conftest import ApiUser


@pytest.fixture
def tus(alice: ApiUser) -> Tus:
    return Tus(alice)


# ---------------------------------------------------------------- core


async def test_an_upload_in_pieces_becomes_a_medium(tus: Tus) -> None:
    path = await tus.create(Upload_Metadata=metadata(filename="cat.mp4", filetype="video/mp4"))

    for start in range(0, len(CONTENT), 250_000):
        piece = CONTENT[start : start + 250_000]
        _, headers = await tus.patch(path, start, piece)
        assert headers["Upload-Offset"] == str(start + len(piece))

    media_id = headers["Comity-Media-Id"]
    assert await tus.content(media_id) == CONTENT
    media = await tus.user.get(f"/media/{media_id}")
    assert (media["name"], media["mime_type"], media["size"]) == ("cat.mp4", "video/mp4", 700_000)
    told = await tus.user.get(path.removeprefix("/api/v1"))
    assert (told["state"], told["media"]) == ("done", media)
    assert await tus.offset(path) == len(CONTENT)


async def test_what_has_come_is_told(tus: Tus) -> None:
    said = metadata(filename="a b.txt", filetype="text/plain")
    path = await tus.create(Upload_Metadata=said)
    await tus.patch(path, 0, CONTENT[:1000])

    _, headers = await tus.call("HEAD", path, status=200)
    told = await tus.user.get(path.removeprefix("/api/v1"))

    assert headers["Upload-Offset"] == "1000"
    assert headers["Upload-Length"] == "700000"
    assert headers["Upload-Metadata"] == said
    assert headers["Upload-Expires"].endswith("GMT")
    assert (told["state"], told["offset"], told["length"]) == ("receiving", 1000, 700_000)
    assert (told["name"], told["mime_type"]) == ("a b.txt", "text/plain")


async def test_bytes_of_a_request_that_broke_off_are_kept(tus: Tus) -> None:
    path = await tus.create()

    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await tus.patch(path, 0, interrupted(CONTENT[:300_000]))

    offset = await tus.offset(path)
    assert 0 < offset <= 300_000
    _, headers = await tus.patch(path, offset, CONTENT[offset:])
    assert await tus.content(headers["Comity-Media-Id"]) == CONTENT


async def test_bytes_for_another_place_are_refused(tus: Tus) -> None:
    path = await tus.create()
    await tus.patch(path, 0, CONTENT[:1000])

    for offset in (0, 999, 1001):
        told, _ = await tus.patch(path, offset, b"more", status=409)
        assert (told["code"], told["offset"]) == ("offset_mismatch", 1000)

    assert await tus.offset(path) == 1000


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Upload-Offset": "x"}, 400),
        ({"Upload-Offset": "-1"}, 400),
        ({"Upload-Offset": "9" * 30}, 400),
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Upload-Checksum": "crc32 AAAA"}, 400),
        ({"Upload-Checksum": "sha1 ????"}, 400),
        ({"Upload-Checksum": "sha1 AAAA"}, 400),
    ],
)
async def test_bad_headers_are_refused(tus: Tus, headers: dict[str, str], status: int) -> None:
    path = await tus.create()

    _, answer = await tus.patch(path, 0, b"more", status=status, **headers)

    assert await tus.offset(path) == 0
    if status == 412:
        assert answer["Tus-Version"] == "1.0.0"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Upload-Length": "x"},
        {"Upload-Length": "-1"},
        {"Upload-Length": "5", "Upload-Defer-Length": "1"},
        {"Upload-Defer-Length": "2"},
        {"Upload-Length": "5", "Upload-Metadata": "filename ???"},
        {"Upload-Length": "5", "Upload-Metadata": "a YQ==,a YQ=="},
        {"Upload-Length": "5", "Upload-Metadata": "a " + "A" * 5000},
        {"Upload-Length": "5", "Upload-Metadata": "\u00e9 YQ=="},
        {"Upload-Length": "5", "Upload-Concat": "all"},
        {"Upload-Concat": "final;"},
        {"Upload-Concat": "final;/api/v1/uploads/none", "Upload-Length": "5"},
    ],
)
async def test_bad_creations_are_refused(tus: Tus, headers: dict[str, str]) -> None:
    await tus.call("POST", "/api/v1/uploads", status=400, headers=headers)


async def test_a_strange_name_and_type_are_cleaned(tus: Tus) -> None:
    said = metadata(filename="a\0\n/../b\u202e.txt", filetype="text/html\r\nX: y")

    path = await tus.create(3, data=b"abc", Upload_Metadata=said)

    told = await tus.user.get(path.removeprefix("/api/v1"))
    assert (told["media"]["name"], told["mime_type"]) == ("a_.._b.txt", "application/octet-stream")


async def test_more_bytes_than_announced_are_refused(tus: Tus) -> None:
    path = await tus.create(100)

    told, _ = await tus.patch(path, 0, bytes(101), status=413)

    assert told["code"] == "too_large"
    assert (await tus.user.get(path.removeprefix("/api/v1")))["state"] in ("receiving", "done")


async def test_others_uploads_do_not_exist(tus: Tus, bob: ApiUser, nobody: ApiUser) -> None:
    path = await tus.create()

    for method in ("HEAD", "GET", "DELETE"):
        await Tus(bob).call(method, path, status=404)
        await Tus(nobody).call(method, path, status=401)
    await Tus(bob).patch(path, 0, b"bytes", status=404)
    await tus.patch("/api/v1/uploads/none", 0, b"bytes", status=404)


async def test_an_empty_upload_is_whole_at_once(tus: Tus) -> None:
    _, headers = await tus.call(
        "POST", "/api/v1/uploads", status=201, headers={"Upload-Length": "0"}
    )

    assert await tus.content(headers["Comity-Media-Id"]) == b""


async def test_a_request_takes_over_from_one_that_hangs(tus: Tus) -> None:
    """The connection of the first is dead, which only its client knows."""
    path = await tus.create()
    stop = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield CONTENT[:100_000]
        await stop.wait()

    first = asyncio.create_task(tus.patch(path, 0, hanging(), status=423))
    while not _is_read_for(tus, path):  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    offset = await tus.offset(path)
    _, headers = await tus.patch(path, offset, CONTENT[offset:])

    assert await tus.content(headers["Comity-Media-Id"]) == CONTENT
    told, _ = await first
    assert told["code"] == "upload_locked"
    stop.set()


def _is_read_for(tus: Tus, path: str) -> bool:
    """Whether a request waits for more bytes."""
    uploads = tus.user.instance.wiring.conversations.media_parts.uploads
    slot = uploads._slots._slots.get(path.rpartition("/")[2])
    return slot is not None and slot._reading is not None


# ---------------------------------------------------------------- extensions


async def test_what_is_spoken_is_told(nobody: ApiUser) -> None:
    for path in ("/api/v1/uploads", "/api/v1/uploads/any"):
        _, headers = await Tus(nobody).call("OPTIONS", path, status=204)

        assert headers["Tus-Version"] == "1.0.0"
        assert headers["Tus-Max-Size"] == "104857600"
        assert set(headers["Tus-Extension"].split(",")) == {
            "creation",
            "creation-with-upload",
            "creation-defer-length",
            "termination",
            "checksum",
            "expiration",
            "concatenation",
        }
        assert "sha1" in headers["Tus-Checksum-Algorithm"].split(",")
        assert "PATCH" in headers["Access-Control-Allow-Methods"]
        assert "Upload-Offset" in headers["Access-Control-Allow-Headers"]
        assert "Upload-Offset" in headers["Access-Control-Expose-Headers"]


async def test_the_first_bytes_may_come_with_the_creation(tus: Tus) -> None:
    path = await tus.create(data=CONTENT[:1000])
    whole = await tus.create(1000, data=CONTENT[:1000])

    assert await tus.offset(path) == 1000
    told = await tus.user.get(whole.removeprefix("/api/v1"))
    assert await tus.content(told["media"]["id"]) == CONTENT[:1000]


async def test_the_length_may_come_later(tus: Tus) -> None:
    path = await tus.create(None, Upload_Defer_Length="1")
    await tus.patch(path, 0, CONTENT[:1000])
    _, headers = await tus.call("HEAD", path, status=200)
    assert headers["Upload-Defer-Length"] == "1"

    _, headers = await tus.patch(path, 1000, CONTENT[1000:], Upload_Length="700000")

    assert await tus.content(headers["Comity-Media-Id"]) == CONTENT
    other = await tus.create(5)
    await tus.patch(other, 0, b"", status=400, Upload_Length="6")


async def test_an_upload_is_forgotten_with_its_bytes(tus: Tus) -> None:
    path = await tus.create()
    await tus.patch(path, 0, CONTENT[:1000])
    assert len(on_disk(tus.user.instance)) == 1

    await tus.call("DELETE", path, status=204)

    await tus.call("HEAD", path, status=404)
    await tus.patch(path, 1000, b"more", status=404)
    assert on_disk(tus.user.instance) == []


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
async def test_bytes_with_a_wrong_checksum_are_dropped(tus: Tus, algorithm: str) -> None:
    path = await tus.create()
    await tus.patch(path, 0, CONTENT[:1000])
    digest = base64.b64encode(hashlib.new(algorithm, CONTENT[1000:]).digest()).decode()
    checksum = {"Upload-Checksum": f"{algorithm} {digest}"}

    told, _ = await tus.patch(path, 1000, CONTENT[1000:-1] + b"?", status=460, **checksum)
    assert told["code"] == "checksum_mismatch"
    assert await tus.offset(path) == 1000
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await tus.patch(path, 1000, interrupted(CONTENT[1000:200_000]), **checksum)
    assert await tus.offset(path) == 1000

    _, headers = await tus.patch(path, 1000, CONTENT[1000:], **checksum)
    assert await tus.content(headers["Comity-Media-Id"]) == CONTENT


async def test_parts_are_joined(tus: Tus) -> None:
    parts = [CONTENT[:300_000], CONTENT[300_000:]]
    paths = [await tus.create(len(part), Upload_Concat="partial") for part in parts]
    await asyncio.gather(*(tus.patch(p, 0, part) for p, part in zip(paths, parts, strict=True)))
    said = {"Upload-Concat": "final;" + " ".join(paths), "Upload-Metadata": metadata(name="a")}

    told, headers = await tus.call("POST", "/api/v1/uploads", status=201, headers=said)

    assert await tus.content(headers["Comity-Media-Id"]) == CONTENT
    assert (told["state"], told["media"]["name"]) == ("done", "a")
    path = URL(headers["Location"]).path
    _, headers = await tus.call("HEAD", path, status=200)
    assert headers["Upload-Concat"].startswith("final;")
    assert headers["Upload-Length"] == "700000"
    await tus.patch(path, 700_000, b"more", status=403)
    assert len(on_disk(tus.user.instance)) == 1


async def test_what_is_not_whole_or_no_part_is_not_joined(tus: Tus, bob: ApiUser) -> None:
    unfinished = await tus.create(10, Upload_Concat="partial")
    ordinary = await tus.create(10)
    others = await Tus(bob).create(10, Upload_Concat="partial")

    for path, status in ((unfinished, 409), (ordinary, 400), (others, 404)):
        said = {"Upload-Concat": f"final;{path}"}
        await tus.call("POST", "/api/v1/uploads", status=status, headers=said)


async def test_methods_may_be_overridden(tus: Tus) -> None:
    path = await tus.create()
    override = {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0", **BYTES}

    await tus.call("POST", path, CONTENT[:10], status=204, headers=override)

    assert await tus.offset(path) == 10
    await tus.call("POST", path, status=204, headers={"X-HTTP-Method-Override": "DELETE"})
    await tus.call("POST", path, status=400, headers={"X-HTTP-Method-Override": "GET"})


async def test_an_idempotency_key_makes_one_upload(tus: Tus) -> None:
    paths = {await tus.create(Idempotency_Key="one") for _ in range(3)}

    assert len(paths) == 1
