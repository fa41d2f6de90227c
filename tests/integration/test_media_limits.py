"""How much users may upload, on a whole instance, by every way in."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.storage.database import Database
from tests.integration.admin_world import Admin
from tests.integration.appservice_world import AS_TOKEN, bridged
from tests.integration.single import Instance, running

ALICE, BOB = "@alice:one.test", "@bob:one.test"
CONFIG = "/_matrix/client/v1/media/config"
TUS = {"Tus-Resumable": "1.0.0"}


async def send(
    one: Instance,
    token: str,
    content: bytes,
    *,
    method: str = "POST",
    path: str = "/_matrix/media/v3/upload",
    **headers: str,
) -> tuple[int, Any]:
    """An upload: the status and the answer."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain", **headers}
    async with one.client.request(method, path, data=content, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def create(one: Instance, token: str, status: int = 200) -> Any:
    """A media ID for later."""
    return await one.call("POST", "/_matrix/media/v1/create", {}, token=token, status=status)


async def used(one: Instance) -> tuple[int, int]:
    """What Alice's files are counted as: how many, and their bytes."""
    limits = await Admin(one).call("GET", f"/users/{ALICE}/media/limits")
    return limits["files"], limits["bytes"]


async def test_two_uploads_at_once_do_not_pass_the_quota_together(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, media={"quota_bytes": 10_000}) as one:
        alice = await one.register("alice")

        answers = await asyncio.gather(
            *(send(one, alice, secrets.token_bytes(4_000)) for _ in range(6))
        )

        assert sorted(status for status, _ in answers) == [200, 200, 403, 403, 403, 403]
        assert {answer["errcode"] for status, answer in answers if status == 403} == {"M_FORBIDDEN"}
        assert await used(one) == (2, 8_000)
        root = one.wiring.device_parts.media_files.root
        assert len([path for path in root.glob("??/??/*") if path.is_file()]) == 2


async def test_a_quota_with_a_page_is_told_by_the_code_for_limits(
    database: Database, tmp_path: Path
) -> None:
    page = "https://one.test/limits"
    async with running(database, tmp_path, media={"max_files": 1, "limits_info_uri": page}) as one:
        alice = await one.register("alice")
        await send(one, alice, b"first")

        status, answer = await send(one, alice, b"second")

        assert (status, answer["errcode"], answer["info_uri"]) == (
            403,
            "M_USER_LIMIT_EXCEEDED",
            page,
        )


async def test_what_is_deleted_is_room_again(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, media={"max_files": 1}) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        _, first = await send(one, alice, b"first")
        said = await one.say(alice, room_id, "a", msgtype="m.file", url=first["content_uri"])
        full, _ = await send(one, alice, b"second")

        redact = f"/rooms/{room_id}/redact/{said['event_id']}/1"
        await one.call("PUT", redact, {}, token=alice)
        await one.wiring.database.execute("UPDATE redacted_contents SET redacted_at = 0")
        await one.wiring.ends.work_off()
        again, second = await send(one, alice, b"second")
        path = second["content_uri"].removeprefix("mxc:/")
        await Admin(one).call("DELETE", f"/media{path}")

        assert (full, again) == (403, 200)
        assert await used(one) == (0, 0)


async def test_an_admin_gives_a_user_other_limits(database: Database, tmp_path: Path) -> None:
    media = {"quota_bytes": 5_000, "max_upload_bytes": 3_000}
    async with running(database, tmp_path, media=media) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        path = f"/users/{ALICE}/media/limits"

        own = {"quota_bytes": None, "max_upload_bytes": 9_000}
        found = await Admin(one).call("PUT", path, own)
        large, _ = await send(one, alice, secrets.token_bytes(9_000))
        refused, too_large = await send(one, bob, secrets.token_bytes(3_001))
        told = [
            (await one.call("GET", CONFIG, token=token))["m.upload.size"] for token in (alice, bob)
        ]
        await Admin(one).call("DELETE", path)
        then, _ = await send(one, alice, b"x")

        assert (found["own"], found["quota_bytes"]) == (own, None)
        assert (large, refused, too_large["errcode"]) == (200, 413, "M_TOO_LARGE")
        assert told == [9_000, 3_000]
        assert then == 403


async def test_the_conversations_api_has_the_same_limits(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, media={"max_files": 2}) as one:
        alice = await one.register("alice")
        body = {"Content_Type": "application/offset+octet-stream", **TUS, "Upload_Length": "3"}

        answers = [
            await send(one, alice, b"one", path="/api/v1/media"),
            await send(one, alice, b"two", path="/api/v1/uploads", **body),
            await send(one, alice, b"tre", path="/api/v1/media"),
            await send(one, alice, b"qua", path="/api/v1/uploads", **body),
            await send(one, alice, b"cin"),
        ]

        assert [status for status, _ in answers] == [201, 201, 403, 403, 403]
        assert [answer.get("code") for _, answer in answers[2:4]] == ["quota_exceeded"] * 2
        assert await used(one) == (2, 6)


async def test_uploads_that_come_too_often_are_told_to_wait(
    database: Database, tmp_path: Path
) -> None:
    limits = {"enabled": True, "upload": {"per_second": 0.01, "burst": 3}}
    async with running(database, tmp_path, rate_limits=limits) as one:
        alice = await one.register("alice")
        ways: list[dict[str, Any]] = [
            {},
            {"path": "/api/v1/media"},
            {"path": "/api/v1/uploads", "Upload_Length": "9", **TUS},
        ]

        before = [(await send(one, alice, b"x", **way))[0] for way in ways]
        after = [await send(one, alice, b"x", **way) for way in ways]

        assert before == [200, 201, 201]
        assert [status for status, _ in after] == [429] * 3
        assert after[0][1]["errcode"] == "M_LIMIT_EXCEEDED"


async def test_only_so_many_ids_wait_for_their_content(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, media={"create": {"max_pending": 2}}) as one:
        alice = await one.register("alice")

        async def status() -> int:
            headers = {"Authorization": f"Bearer {alice}"}
            async with one.client.post("/_matrix/media/v1/create", headers=headers) as response:
                return response.status

        at_once = await asyncio.gather(*(status() for _ in range(8)))
        refused = await create(one, alice, 429)
        await one.wiring.database.execute("UPDATE media_pending SET expires_at = 1")
        after = await create(one, alice)

        assert sorted(at_once) == [200, 200] + [429] * 6
        assert refused["errcode"] == "M_LIMIT_EXCEEDED"
        assert refused["retry_after_ms"] > 3_600_000
        assert after["content_uri"].startswith("mxc://one.test/")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/_matrix/media/v3/upload", {}),
        ("/api/v1/media", {}),
        ("/api/v1/uploads", {"Upload_Length": "1", **TUS}),
    ],
)
async def test_the_suspended_upload_by_no_way(
    database: Database, tmp_path: Path, path: str, headers: dict[str, str]
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        await Admin(one).call("PUT", f"/users/{ALICE}", {"suspended": True})

        status, answer = await send(one, alice, b"x", path=path, **headers)

        assert status == 403
        assert answer.get("errcode", answer.get("code")) in (
            "M_USER_SUSPENDED",
            "account_suspended",
        )
        assert await used(one) == (0, 0)


async def test_who_is_suspended_does_not_go_on_with_an_upload(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        _, begun = await send(one, alice, b"", path="/api/v1/uploads", Upload_Length="3", **TUS)
        pending = (await create(one, alice))["content_uri"].removeprefix("mxc:/")
        await Admin(one).call("PUT", f"/users/{ALICE}", {"suspended": True})

        gone_on, _ = await send(
            one,
            alice,
            b"abc",
            method="PATCH",
            path=f"/api/v1/uploads/{begun['id']}",
            Upload_Offset="0",
            **{**TUS, "Content_Type": "application/offset+octet-stream"},
        )
        filled, _ = await send(
            one, alice, b"abc", method="PUT", path=f"/_matrix/media/v3/upload{pending}"
        )

        assert (gone_on, filled) == (403, 403)
        assert await used(one) == (0, 0)


@pytest.mark.parametrize(("limited", "status"), [(False, 200), (True, 403)])
async def test_quotas_hold_for_application_services_only_where_that_is_wanted(
    database: Database, tmp_path: Path, limited: bool, status: int
) -> None:
    media = {"max_files": 1, "limit_app_services": limited}
    async with bridged(database, tmp_path, media=media) as world:
        ghost = quote(await world.ghost("mary"))
        path = f"/_matrix/media/v3/upload?user_id={ghost}"
        alice = await world.one.register("alice")

        answers = [await send(world.one, AS_TOKEN, bytes([n]), path=path) for n in range(2)]
        of_alice = [await send(world.one, alice, bytes([n])) for n in range(2)]

        assert [answer[0] for answer in answers] == [200, status]
        assert [answer[0] for answer in of_alice] == [200, 403]


async def test_an_account_that_ends_leaves_no_count_behind(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        await send(one, alice, b"x")
        await Admin(one).call("PUT", f"/users/{ALICE}/media/limits", {"max_files": 3})

        await Admin(one).call("POST", f"/users/{ALICE}/deactivate", {"erase": True})
        await one.wiring.account_deletion.settle()

        assert await database.fetchval("SELECT count(*) FROM media_usage") == 0
        assert await database.fetchval("SELECT count(*) FROM media_limits") == 0


async def test_the_count_is_right_after_many_uploads_and_deletions(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        sent = await asyncio.gather(*(send(one, alice, bytes(n)) for n in range(20)))
        paths = [answer["content_uri"].removeprefix("mxc:/") for _, answer in sent]

        await asyncio.gather(
            *(Admin(one).call("DELETE", f"/media{path}") for path in paths[::2]),
            *(send(one, alice, bytes(100 + n)) for n in range(5)),
        )

        truth = await database.fetchrow("SELECT count(*) AS n, sum(size_bytes) AS b FROM media")
        assert truth is not None
        assert await used(one) == (truth["n"], truth["b"])
