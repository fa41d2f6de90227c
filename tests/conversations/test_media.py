"""Files: upload, read, thumbnails, links, deletion; the same rules as through Matrix."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from yarl import URL

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

from .conftest import PROBLEM_JSON, ApiUser, new_user
from .contract import contract

OURS = "/_comity/client/v1"
CONTENT = random.Random(7).randbytes(150_000)


def png(width: int = 300, height: int = 200) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(output, "PNG")
    return output.getvalue()


class Files:
    """What a user does with files."""

    def __init__(self, user: ApiUser) -> None:
        self.user = user
        self.http = user.instance.client

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        own = {"Authorization": f"Bearer {self.user.token}"} if self.user.token else {}
        return {**own, **headers}

    async def upload(
        self,
        content: bytes,
        content_type: str = "application/octet-stream",
        *,
        status: int = 201,
        name: str | None = None,
        **headers: str,
    ) -> Any:
        async with self.http.post(
            "/api/v1/media",
            data=content,
            params={"name": name} if name is not None else {},
            headers=self._headers({"Content-Type": content_type, **headers}),
        ) as response:
            answer = await response.json()
            assert response.status == status, answer
            contract().check("POST", "/api/v1/media", status, response.content_type, answer)
            if status >= 400:
                assert response.content_type == PROBLEM_JSON
            return answer

    async def get(self, url: str, *, status: int = 200, method: str = "GET", **headers: str) -> Any:
        async with self.http.request(
            method, URL(url, encoded=True), headers=self._headers(headers)
        ) as response:
            content = await response.read()
            assert response.status == status, content
            if status >= 400 and status != 416:
                assert response.content_type == PROBLEM_JSON
            return content, response.headers

    async def content(self, url: str) -> bytes:
        content: bytes = (await self.get(url))[0]
        return content


@pytest.fixture
def files(alice: ApiUser) -> Files:
    return Files(alice)


def mxc(media: Any) -> str:
    origin, _, name = media["id"].partition("~")
    return f"mxc://{origin}/{name}"


async def test_a_file_is_uploaded_and_downloaded(files: Files, bob: ApiUser) -> None:
    media = await files.upload(CONTENT, "video/mp4", name="cat.mp4")

    content, headers = await Files(bob).get(media["url"])

    assert content == CONTENT
    assert (media["name"], media["mime_type"], media["size"]) == ("cat.mp4", "video/mp4", 150_000)
    assert media["id"].startswith("one.test~")
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Content-Disposition"] == 'inline; filename="cat.mp4"'
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_what_browsers_would_run_is_for_download_only(files: Files) -> None:
    media = await files.upload(b"<script>alert(1)</script>", "text/html")

    _, headers = await files.get(media["url"])

    assert headers["Content-Disposition"] == "attachment"
    assert "script-src 'none'" in headers["Content-Security-Policy"]


async def test_a_matrix_client_and_the_api_see_the_same_files(files: Files, bob: ApiUser) -> None:
    media = await files.upload(CONTENT)
    headers = {"Authorization": f"Bearer {bob.token}"}

    async with files.http.get(
        f"/_matrix/client/v1/media/download/{mxc(media).removeprefix('mxc://')}", headers=headers
    ) as response:
        assert await response.read() == CONTENT
    async with files.http.post(
        "/_matrix/media/v3/upload?filename=a.txt", data=b"text", headers=headers
    ) as response:
        uri = (await response.json())["content_uri"]
    identifier = uri.removeprefix("mxc://").replace("/", "~")

    assert (await files.user.get(f"/media/{identifier}"))["name"] == "a.txt"
    assert await files.content(f"/api/v1/media/{identifier}/content") == b"text"


async def test_what_is_known_of_a_picture_is_told(files: Files) -> None:
    media = await files.upload(png(300, 200), "image/png", name="a.png")

    known = await files.user.get(f"/media/{media['id']}")

    assert known == media
    assert (media["width"], media["height"]) == (300, 200)
    thumbnail, headers = await files.get(media["thumbnail_url"] + "?width=32&height=32&method=crop")
    assert Image.open(io.BytesIO(thumbnail)).size == (32, 32)
    assert headers["Content-Type"] == "image/jpeg"


async def test_ranges_and_tags_are_answered(files: Files) -> None:
    media = await files.upload(CONTENT)

    part, headers = await files.get(media["url"], status=206, Range="bytes=65530-65545")
    await files.get(media["url"], status=304, **{"If-None-Match": headers["ETag"]})
    nothing, whole = await files.get(media["url"], method="HEAD")

    assert part == CONTENT[65_530:65_546]
    assert headers["Content-Range"] == "bytes 65530-65545/150000"
    assert (nothing, whole["Content-Length"]) == (b"", "150000")


async def test_what_does_not_exist_is_a_problem(files: Files) -> None:
    for path in ("one.test~none", "one.test~none/content", "one.test~none/thumbnail"):
        query = "?width=1&height=1" if path.endswith("thumbnail") else ""

        _, headers = await files.get(f"/api/v1/media/{path}{query}", status=404)

        assert headers["Content-Type"].startswith(PROBLEM_JSON)
    await files.get("/api/v1/media/nonsense/content", status=400)
    await files.get("/api/v1/media/one.test~none/thumbnail?width=0&height=1", status=422)
    await Files(ApiUser(files.user.instance, "nobody", "")).get(
        "/api/v1/media/one.test~none/content", status=401
    )


async def test_too_large_a_file_is_refused(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, media={"max_upload_bytes": 2_000}) as instance:
        files = Files(await new_user(instance, "alice"))

        refused = await files.upload(bytes(2_001), status=413)

        assert refused["code"] == "too_large"
        assert await files.upload(bytes(2_000))


async def test_a_quota_is_kept(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, media={"quota_bytes": 5_000}) as instance:
        files = Files(await new_user(instance, "alice"))
        first = await files.upload(bytes(3_000))

        refused = await files.upload(bytes(2_001), status=403)
        await files.upload(bytes(2_000))
        full = await files.upload(b"x", status=403)

        assert (refused["code"], full["code"]) == ("quota_exceeded", "quota_exceeded")
        assert await Files(await new_user(instance, "bob")).upload(b"x")
        await files.user.call("DELETE", f"/media/{first['id']}")
        assert await files.upload(b"y")


@pytest.fixture
async def strict(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance that takes no programs."""
    rule = {
        "name": "programs",
        "match": {"mime_type": "application/x-executable"},
        "action": "reject",
        "message": "No programs here.",
    }
    async with running(database, tmp_path, policy={"rules": [rule]}) as instance:
        yield instance


async def test_what_policy_refuses_is_a_problem_and_leaves_nothing(
    strict: Instance, tmp_path: Path
) -> None:
    files = Files(await new_user(strict, "alice"))

    refused = await files.upload(b"\x7fELF" + bytes(100), "image/png", status=403)

    assert (refused["code"], refused["detail"]) == ("policy_refused", "No programs here.")
    media = strict.wiring.config.data_dir / "media"
    assert not [path for path in media.rglob("*") if path.is_file()]


# ---------------------------------------------------------------- idempotency


async def test_an_upload_with_a_key_is_done_once(files: Files) -> None:
    key = {"Idempotency-Key": "one"}

    first = await files.upload(CONTENT, **key)
    again = await files.upload(CONTENT, **key)
    mismatch = await files.upload(CONTENT[1:], status=422, **key)

    assert again == first
    assert mismatch["code"] == "idempotency_mismatch"
    media = files.user.instance.wiring.config.data_dir / "media"
    assert len([path for path in media.rglob("*") if path.is_file()]) == 1


# ---------------------------------------------------------------- links


async def test_a_link_needs_no_token(files: Files) -> None:
    media = await files.upload(png(), "image/png")
    anybody = Files(ApiUser(files.user.instance, "nobody", ""))

    link = await files.user.post(f"/media/{media['id']}/link", {"valid_for": 60})

    path = URL(link["url"]).raw_path
    assert await anybody.content(path) == png()
    assert (await anybody.get(path, method="HEAD"))[1]["Content-Type"] == "image/png"
    thumbnail = await anybody.content(path + "/thumbnail?width=32&height=32")
    assert Image.open(io.BytesIO(thumbnail)).size == (48, 32)


async def test_a_link_does_not_tell_who_made_it(files: Files) -> None:
    media = await files.upload(b"text")

    link = await files.user.post(f"/media/{media['id']}/link", {})

    token = URL(link["url"]).name
    assert b"alice" not in base64.urlsafe_b64decode(token + "==")


@pytest.mark.parametrize("valid_for", [0, 3601])
async def test_a_link_is_good_for_an_hour_at_most(files: Files, valid_for: int) -> None:
    media = await files.upload(b"text")

    await files.user.post(f"/media/{media['id']}/link", {"valid_for": valid_for}, status=422)


async def test_a_forged_link_leads_nowhere(files: Files) -> None:
    media = await files.upload(b"text")
    link = await files.user.post(f"/media/{media['id']}/link", {})
    path = URL(link["url"]).raw_path

    for forged in (path[:-1], path[:-2] + "AA", path + "A", "/api/v1/media-links/x"):
        if forged != path:
            await files.get(forged, status=403)


async def test_a_link_expires(files: Files) -> None:
    media = await files.upload(b"text")
    links = files.user.instance.wiring.conversations.media_parts.links
    link = await files.user.post(f"/media/{media['id']}/link", {"valid_for": 60})

    now = links._clock_ms()
    links._clock_ms = lambda: now + 61_000

    await files.get(URL(link["url"]).raw_path, status=403)


async def test_a_link_of_a_locked_account_leads_nowhere(files: Files) -> None:
    media = await files.upload(b"a text")
    link = await files.user.post(f"/media/{media['id']}/link", {})

    await files.user.instance.wiring.database.execute("UPDATE accounts SET locked_at = 1")

    await files.get(URL(link["url"]).raw_path, status=403)


async def test_signing_out_ends_a_link(files: Files) -> None:
    media = await files.upload(b"text")
    link = await files.user.post(f"/media/{media['id']}/link", {})

    await files.user.matrix("POST", "/logout")

    await files.get(URL(link["url"]).raw_path, status=403)


# ---------------------------------------------------------------- the rules of reading


async def test_the_readers_consent_holds_for_every_way_to_a_file(
    files: Files, bob: ApiUser
) -> None:
    media = await files.upload(png(), "image/png")
    reader = Files(bob)
    link = await bob.post(f"/media/{media['id']}/link", {})
    path = URL(link["url"]).raw_path
    size = "?width=32&height=32"

    await bob.matrix("PUT", f"{OURS}/consent/media", {"preset": "closed"})

    for way in (
        f"/api/v1/media/{media['id']}",
        media["url"],
        media["thumbnail_url"] + size,
        path,
        path + "/thumbnail" + size,
    ):
        content, _ = await reader.get(way, status=403)
        assert b"consent_required" in content
    refused = await bob.post(f"/media/{media['id']}/link", {}, status=403)
    assert refused["code"] == "consent_required"


async def test_what_may_be_viewed_once_is(files: Files, bob: ApiUser) -> None:
    instance = files.user.instance
    room_id = await instance.room(files.user.token)
    await bob.matrix("POST", f"/join/{room_id}")
    media = await files.upload(CONTENT, "image/png")
    await instance.say(
        files.user.token,
        room_id,
        "cat.png",
        msgtype="m.image",
        url=mxc(media),
        **{"dev.comity.view_once": True},
    )
    other = Files(ApiUser(instance, "bob", await _log_in(instance, "bob")))

    _, headers = await Files(bob).get(media["url"])

    assert headers["Cache-Control"] == "no-store"
    await other.get(media["url"], status=404)
    await other.get(f"/api/v1/media/{media['id']}", status=404)


async def _log_in(instance: Instance, name: str) -> str:
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": "sesame",
    }
    token: str = (await instance.call("POST", "/login", body))["access_token"]
    return token


# ---------------------------------------------------------------- deleting


async def test_ones_own_file_is_deleted(files: Files, bob: ApiUser) -> None:
    media = await files.upload(CONTENT)

    await bob.call("DELETE", f"/media/{media['id']}", status=404)
    await files.user.call("DELETE", f"/media/{media['id']}")

    await files.get(media["url"], status=404)
    await files.user.call("DELETE", f"/media/{media['id']}", status=404)
    directory = files.user.instance.wiring.config.data_dir / "media"
    assert not [path for path in directory.rglob("*") if path.is_file()]


async def test_a_file_of_a_scheduled_message_is_not_deleted_before(files: Files) -> None:
    room_id = await files.user.instance.room(files.user.token)
    media = await files.upload(b"later")
    await files.user.matrix(
        "PUT",
        f"/rooms/{room_id}/send/m.room.message/1?org.matrix.msc4140.delay=600000",
        {"msgtype": "m.file", "body": "a", "url": mxc(media)},
    )

    refused = await files.user.call("DELETE", f"/media/{media['id']}", status=409)

    assert refused["code"] == "media_in_use"


async def test_a_file_in_use_is_not_deleted(files: Files) -> None:
    instance, alice = files.user.instance, files.user
    room_id = await instance.room(alice.token)
    sent, avatar = await files.upload(b"sent"), await files.upload(png(), "image/png")
    await instance.say(alice.token, room_id, "a", msgtype="m.file", url=mxc(sent))
    await alice.matrix("PUT", f"/profile/{alice.user_id}/avatar_url", {"avatar_url": mxc(avatar)})

    for media in (sent, avatar):
        refused = await alice.call("DELETE", f"/media/{media['id']}", status=409)

        assert refused["code"] == "media_in_use"
        assert await files.content(media["url"])
