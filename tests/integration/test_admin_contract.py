"""Every operation that the admin API declares answers what its document says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from client_api.admin import FAMILIES
from client_api.admin.routing import PREFIX
from client_api.conversations.openapi import openapi_path
from homeserver.storage.database import Database
from tests.integration.admin_world import Admin, exercised
from tests.integration.single import Instance, running

BOB = "@bob:one.test"
CAROL = "@carol:one.test"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32


async def upload(one: Instance, token: str, content: bytes = PNG) -> str:
    """A file's ``mxc://`` URI."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
    async with one.client.post(
        "/_matrix/media/v3/upload", data=content, headers=headers
    ) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        uri: str = answer["content_uri"]
        return uri


async def download(one: Instance, token: str, uri: str) -> int:
    """The status with which a file is answered."""
    path = uri.removeprefix("mxc://")
    headers = {"Authorization": f"Bearer {token}"}
    async with one.client.get(
        f"/_matrix/client/v1/media/download/{path}", headers=headers
    ) as response:
        return response.status


async def test_every_declared_operation_is_exercised_and_its_answer_validated(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        bob = await one.register("bob")
        room = await one.room(bob)
        event = (await one.say(bob, room, "Hello"))["event_id"]
        file = (await upload(one, bob)).removeprefix("mxc:/")

        await _users_and_tokens(admin)
        await _federation(one, admin)
        await one.call("POST", f"/rooms/{room}/report/{event}", {"reason": "rude"}, token=bob)
        report = (await admin.call("GET", "/reports"))["items"][0]["report_id"]
        await admin.call("GET", f"/reports/{report}")
        await admin.call("POST", f"/reports/{report}/resolve", {})
        await _media(admin, room, file)
        await _rooms_and_jobs(one, admin, room)
        await admin.call("GET", "/statistics")
        await admin.call("GET", "/audit")

        declared = {
            (operation.method, openapi_path(PREFIX + operation.path))
            for family in FAMILIES
            for operation in family.api.operations
        }
        assert declared - exercised == set()


async def _users_and_tokens(admin: Admin) -> None:
    carol = {"username": "carol", "password": "sesame"}
    await admin.call("POST", "/users", carol, status=201)
    for path in ("/users", f"/users/{CAROL}", f"/users/{CAROL}/devices", f"/users/{CAROL}/rooms"):
        await admin.call("GET", path)
    await admin.call("PUT", f"/users/{CAROL}", {"suspended": True})
    await admin.call("POST", f"/users/{CAROL}/password", {"password": "open sesame"})
    await admin.call("POST", f"/users/{CAROL}/sign_out", {"all": True})
    await admin.call("POST", f"/users/{CAROL}/deactivate", {})
    path = "/registration_tokens"
    await admin.call("POST", path, {"name": "welcome"}, status=201)
    await admin.call("GET", path)
    await admin.call("GET", f"{path}/welcome")
    await admin.call("PUT", f"{path}/welcome", {"uses_allowed": 1, "expires_at": None})
    await admin.call("DELETE", f"{path}/welcome")


async def _federation(one: Instance, admin: Admin) -> None:
    health = one.wiring.transport.health
    health.failed("two.test", "it is down")
    await health.close()
    path = "/federation/destinations"
    (two,) = (await admin.call("GET", f"{path}?failing=true"))["items"]
    assert two["failing_since"] is not None
    assert (await admin.call("GET", f"{path}/two.test"))["waiting_events"] == 0
    await admin.call("POST", f"{path}/two.test/retry")
    reset = await admin.call("POST", f"{path}/two.test/reset")
    assert (reset["failing_since"], reset["retry_at"]) == (None, None)
    assert not health.is_failing("two.test")
    await admin.call("POST", f"{path}/three.test/retry", status=404)


async def _media(admin: Admin, room: str, file: str) -> None:
    limits = f"/users/{BOB}/media/limits"
    await admin.call("GET", limits)
    await admin.call("PUT", limits, {"quota_bytes": None, "max_files": 5})
    await admin.call("DELETE", limits)
    await admin.call("GET", f"/users/{BOB}/media")
    await admin.call("GET", f"/media{file}")
    for path in (f"/media{file}", f"/users/{BOB}/media", f"/rooms/{room}/media"):
        await admin.call("PUT", f"{path}/quarantine")
        await admin.call("DELETE", f"{path}/quarantine")
    await admin.call("PUT", f"/media{file}/protection")
    await admin.call("DELETE", f"/media{file}/protection")
    await admin.call("PUT", f"/quarantined_content/{'0f' * 32}")
    await admin.call("PUT", "/media/two.test/never/quarantine")
    await admin.call("GET", f"/quarantined_content/{'0f' * 32}")
    await admin.call("GET", "/quarantined_content")
    await admin.call("GET", "/quarantined_uris")
    await admin.call("DELETE", f"/quarantined_content/{'0f' * 32}")
    await admin.call("DELETE", f"/media{file}")
    now = time.time_ns() // 1_000_000
    await admin.call("POST", "/media/delete", {"user_id": BOB})
    await admin.call("POST", "/media/purge_cache", {"unused_since": now})
    await admin.call("GET", "/url_previews")
    await admin.call("POST", "/url_previews/forget", {"what": "site.test"})


async def _rooms_and_jobs(one: Instance, admin: Admin, room: str) -> None:
    for path in ("", f"/{room}", f"/{room}/state", f"/{room}/members"):
        await admin.call("GET", f"/rooms{path}")
    await admin.call("PUT", f"/blocked_rooms/{room}", {})
    await admin.call("GET", "/blocked_rooms")
    await admin.call("DELETE", f"/blocked_rooms/{room}")
    now = time.time_ns() // 1_000_000
    await admin.call("POST", f"/rooms/{room}/purge", {"before": now})
    await one.wiring.ends.work_off()
    await one.wiring.ends.close()
    job = (await admin.call("POST", f"/rooms/{room}/delete", {}))["job_id"]
    await admin.call("GET", "/jobs")
    await admin.call("GET", f"/jobs/{job}")
    await admin.call("POST", f"/jobs/{job}/cancel")


async def test_files_are_quarantined_released_and_deleted(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        bob, carol = await one.register("bob"), await one.register("carol")
        first, second = await upload(one, bob, PNG + b"1"), await upload(one, bob, PNG + b"2")
        others = await upload(one, carol, PNG + b"2")
        room = await one.room(bob)
        await one.say(bob, room, "cat", msgtype="m.image", url=second)

        of_room = await admin.call("PUT", f"/rooms/{room}/media/quarantine")
        assert of_room == {"files": 1}
        assert [await download(one, bob, uri) for uri in (first, second)] == [200, 404]
        await admin.call("DELETE", f"/media/{second.removeprefix('mxc://')}", status=400)
        assert await admin.call("PUT", f"/users/{BOB}/media/quarantine") == {"files": 1}
        assert await download(one, bob, first) == 404
        assert await admin.call("DELETE", f"/users/{BOB}/media/quarantine") == {"files": 2}
        assert [await download(one, bob, uri) for uri in (first, second)] == [200, 200]
        listed = await admin.call("GET", f"/users/{BOB}/media?limit=1")
        rest = await admin.call("GET", f"/users/{BOB}/media?cursor={listed['next']}")
        assert len(listed["items"] + rest["items"]) == 2
        job = await admin.call("POST", "/media/delete", {"user_id": BOB})
        await one.wiring.ends.work_off()

        done = await admin.call("GET", f"/jobs/{job['job_id']}")
        assert (done["state"], done["done"]) == ("done", 2)
        assert [await download(one, bob, uri) for uri in (first, second)] == [404, 404]
        assert await download(one, carol, others) == 200
        await admin.call("POST", "/media/delete", {}, status=400)
        await admin.call("POST", "/media/delete", {"user_id": "@bob:two.test"}, status=400)
        await admin.call("GET", "/media/one.test/nothing", status=404)


async def test_reports_are_read_and_resolved_once(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        admin = Admin(one)
        bob, carol = await one.register("bob"), await one.register("carol")
        room = await one.room(bob)
        await one.call("POST", f"/rooms/{room}/join", {}, token=carol)
        event = (await one.say(bob, room, "insult"))["event_id"]
        rude = {"reason": "rude"}
        await one.call("POST", f"/rooms/{room}/report/{event}", rude, token=carol)
        await one.call("POST", f"/rooms/{room}/report", rude, token=carol)
        await one.call("POST", f"/users/{BOB}/report", rude, token=carol)

        listed = (await admin.call("GET", "/reports?state=open"))["items"]
        path = f"/reports/{listed[0]['report_id']}"
        details = await admin.call("GET", path)
        resolved = await admin.call("POST", f"{path}/resolve", {"note": "warned"})

        assert [r["about"] for r in listed] == ["event", "room", "user"]
        assert {r["reporter"] for r in listed} == {CAROL}
        assert details["event"]["content"]["body"] == "insult"
        assert (resolved["state"], resolved["resolution"]) == ("resolved", "warned")
        assert len((await admin.call("GET", "/reports?state=open"))["items"]) == 2
        await admin.call("POST", f"{path}/resolve", {}, status=409)
        await admin.call("GET", "/reports/99999", status=404)
