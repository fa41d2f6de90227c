"""Limits of resumable uploads, their end, and what of them is on disk."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.services.conversations.uploads import Uploads
from homeserver.storage.database import Database
from tests.conversations.tus import CONTENT, Tus, on_disk
from tests.integration.single import running

from .conftest import ApiUser, new_user


@pytest.fixture
def tus(alice: ApiUser) -> Tus:
    return Tus(alice)


@pytest.fixture
async def limited(database: Database, tmp_path: Path) -> AsyncIterator[Tus]:
    rule = {
        "name": "programs",
        "match": {"mime_type": "application/x-executable"},
        "action": "reject",
        "message": "No programs here.",
    }
    settings = {
        "media": {
            "max_upload_bytes": 20_000,
            "quota_bytes": 50_000,
            "uploads": {"max_unfinished": 3, "max_unfinished_bytes": 35_000},
        },
        "policy": {"rules": [rule]},
    }
    async with running(database, tmp_path, **settings) as instance:
        yield Tus(await new_user(instance, "alice"))


async def refused(tus: Tus, status: int, **headers: str) -> str:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    told, _ = await tus.call("POST", "/api/v1/uploads", status=status, headers=headers)
    code: str = told["code"]
    return code


async def test_too_large_an_upload_is_refused(limited: Tus) -> None:
    assert await refused(limited, 413, Upload_Length="20001") == "too_large"

    path = await limited.create(None, Upload_Defer_Length="1")
    await limited.patch(path, 0, bytes(20_001), status=413)
    await limited.patch(path, 20_000, b"", status=413, Upload_Length="20001")


async def test_there_are_only_so_many_unfinished_uploads(limited: Tus) -> None:
    paths = [await limited.create(10) for _ in range(3)]
    assert await refused(limited, 403, Upload_Length="10") == "quota_exceeded"

    await limited.call("DELETE", paths[0], status=204)
    await limited.patch(paths[1], 0, bytes(10))

    for _ in range(2):
        await limited.create(10)


async def test_unfinished_uploads_have_only_so_many_bytes(limited: Tus) -> None:
    await limited.create(20_000)
    assert await refused(limited, 403, Upload_Length="15001") == "quota_exceeded"

    path = await limited.create(None, Upload_Defer_Length="1")
    told, _ = await limited.patch(path, 0, bytes(15_001), status=413)

    assert told["code"] == "too_large"
    assert await limited.offset(path) == 15_000


async def test_the_quota_of_files_holds_for_uploads(limited: Tus) -> None:
    for _ in range(2):
        await limited.create(20_000, data=random.randbytes(20_000))

    assert await refused(limited, 403, Upload_Length="10001") == "quota_exceeded"
    assert await limited.create(10_000, data=random.randbytes(10_000))


async def test_what_policy_refuses_is_a_problem(limited: Tus) -> None:
    content = b"\x7fELF" + bytes(5_000)
    path = await limited.create(len(content))
    await limited.patch(path, 0, content[:100])

    told, _ = await limited.patch(path, 100, content[100:], status=403)

    assert (told["code"], told["detail"]) == ("policy_refused", "No programs here.")
    await limited.call("HEAD", path, status=403)
    state = await limited.user.get(path.removeprefix("/api/v1"))
    assert (state["state"], state["problem"]["code"]) == ("refused", "policy_refused")
    assert on_disk(limited.user.instance) == []


# ---------------------------------------------------------------- time


def the_uploads(tus: Tus) -> Uploads:
    return tus.user.instance.wiring.conversations.media_parts.uploads


async def test_what_is_left_for_too_long_is_deleted(tus: Tus) -> None:
    path = await tus.create()
    await tus.patch(path, 0, CONTENT[:1000])
    uploads = the_uploads(tus)
    now = uploads._clock_ms()

    uploads._clock_ms = lambda: now + 25 * 3_600_000

    await tus.call("HEAD", path, status=410)
    await tus.user.instance.wiring.ends.work_off()
    await tus.call("HEAD", path, status=404)
    assert on_disk(tus.user.instance) == []


async def test_each_request_gives_more_time(tus: Tus) -> None:
    path = await tus.create()
    uploads = the_uploads(tus)
    now = uploads._clock_ms()

    uploads._clock_ms = lambda: now + 20 * 3_600_000
    await tus.patch(path, 0, CONTENT[:1000])
    uploads._clock_ms = lambda: now + 40 * 3_600_000

    assert not await uploads.step()
    assert await tus.offset(path) == 1000


async def test_uploads_end_with_the_account(tus: Tus) -> None:
    path = await tus.create()
    await tus.patch(path, 0, CONTENT[:1000])

    await the_uploads(tus).forget(tus.user.user_id)

    assert on_disk(tus.user.instance) == []
    assert await tus.user.instance.wiring.database.fetch("SELECT FROM uploads") == []


# ---------------------------------------------------------------- on disk


async def test_unfinished_uploads_are_encrypted(tus: Tus) -> None:
    path = await tus.create()
    await tus.patch(path, 0, CONTENT[:300_000])

    (stored,) = on_disk(tus.user.instance)

    raw = stored.read_bytes()
    assert raw.startswith(b"COMITYU1")
    assert not any(CONTENT[n : n + 16] in raw for n in range(0, 300_000, 1000))


async def test_a_damaged_upload_is_no_medium(tus: Tus) -> None:
    path = await tus.create()
    await tus.patch(path, 0, CONTENT[:300_000])
    (stored,) = on_disk(tus.user.instance)
    raw = bytearray(stored.read_bytes())
    raw[1000] ^= 1
    stored.write_bytes(raw)

    told, _ = await tus.patch(path, 300_000, CONTENT[300_000:], status=500)

    assert told["code"] == "media_damaged"
    assert on_disk(tus.user.instance) == []


async def test_an_upload_survives_a_restart(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as instance:
        first = Tus(await new_user(instance, "alice"))
        path = await first.create()
        await first.patch(path, 0, CONTENT[:300_000])
        token = first.user.token

    async with running(database, tmp_path, data_dir=str(tmp_path)) as instance:
        tus = Tus(ApiUser(instance, "alice", token))
        assert await tus.offset(path) == 300_000
        _, headers = await tus.patch(path, 300_000, CONTENT[300_000:])

        assert await tus.content(headers["Comity-Media-Id"]) == CONTENT


async def test_a_whole_upload_that_was_not_stored_is_stored_when_it_is_asked_for(
    tus: Tus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the last bytes and the storing."""
    path = await tus.create()
    uploads = the_uploads(tus)

    async def fail(*_: object, **__: object) -> str:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(uploads._media, "upload", fail)
        await tus.patch(path, 0, CONTENT, status=500)

    _, headers = await tus.call("HEAD", path, status=200)
    assert await tus.content(headers["Comity-Media-Id"]) == CONTENT
