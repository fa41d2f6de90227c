"""The pages that people open in a browser, as they are served; in a real browser: tests/browser."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from client_api.web.static_files import CONTENT_SECURITY_POLICY, DIRECTORY
from homeserver.storage.database import Database
from tests.integration.single import Instance, running

PAGE = "/_comity/me"
LARGEST_PAGE_BYTES = 64 * 1024


async def consent_uri(one: Instance) -> str:
    """The signed address that a user is told of when a message would leave the instance."""
    token = await one.register("alice")
    room_id = await one.room(token)
    body = {"user_id": "@bob:two.test"}
    refused = await one.call("POST", f"/rooms/{room_id}/invite", body, token=token, status=403)
    return "/_comity" + str(refused["consent_uri"]).partition("/_comity")[2]


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}/page.css", f"{PAGE}/me.js"])
async def test_a_file_is_sent_once_and_then_only_said_to_be_unchanged(
    database: Database, tmp_path: Path, path: str
) -> None:
    async with running(database, tmp_path) as one:
        async with one.client.get(path) as first:
            body, etag = await first.read(), first.headers["ETag"]
        async with one.client.get(path, headers={"If-None-Match": etag}) as again:
            unchanged = (again.status, await again.read())
        async with one.client.get(path, headers={"If-None-Match": '"other"'}) as other:
            changed = (other.status, await other.read())

        assert (first.status, first.headers["Cache-Control"]) == (200, "no-cache")
        assert first.headers["Content-Encoding"] == "gzip"
        assert unchanged == (304, b"")
        assert changed == (200, body)


async def test_the_pages_let_nothing_in_from_elsewhere(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        for path in (PAGE, await consent_uri(one)):
            async with one.client.get(path) as response:
                text = await response.text()

                assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
                assert "unsafe" not in CONTENT_SECURITY_POLICY
                assert response.headers["Referrer-Policy"] == "no-referrer"
                assert not re.search(r"(src|href)=\"?(https?:)?//", text)
                assert not re.search(r"<style|\sstyle=|\son\w+=", text)


def test_the_page_is_small() -> None:
    sizes = {name: (DIRECTORY / name).stat().st_size for name in ("me.html", "me.js", "page.css")}

    assert sum(sizes.values()) <= LARGEST_PAGE_BYTES, sizes


async def test_the_signed_link_takes_an_answer_without_login_and_without_javascript(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        path = await consent_uri(one)
        for answer, notice in (("granted", "You have agreed."), ("revoked", "You keep to this")):
            async with one.client.post(path, data={"answer": answer}) as response:
                assert (response.status, notice in await response.text()) == (200, True)

                state = await one.wiring.consent.state(
                    "@alice:one.test", "@b:two.test", "federation"
                )
                assert state == answer


@pytest.mark.parametrize(
    ("suffix", "data", "words"),
    [("0", {"answer": "granted"}, "link is not valid"), ("", {"answer": "<b>"}, "Choose one")],
)
async def test_what_is_wrong_with_the_signed_link_is_said_on_a_page(
    database: Database, tmp_path: Path, suffix: str, data: dict[str, str], words: str
) -> None:
    async with running(database, tmp_path) as one:
        path = await consent_uri(one) + suffix
        async with one.client.post(path, data=data) as response:
            text = unescape(await response.text())

            assert (response.status, response.content_type) == (403, "text/html")
            assert words in text
            assert "@alice:one.test" not in text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nbroken\r\n\r\nx\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--"),
    ],
)
async def test_what_is_no_form_is_refused(
    database: Database, tmp_path: Path, kind: str, body: bytes
) -> None:
    headers = {"Content-Type": kind}
    async with (
        running(database, tmp_path) as one,
        one.client.post("/_comity/email/confirm", data=body, headers=headers) as response,
    ):
        assert response.status in (400, 404)
