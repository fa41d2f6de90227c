"""Bytes that are no text, and addresses that are none, from anybody: refused, not failed at."""

from __future__ import annotations

import asyncio
from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.oauth_people import ACCOUNT
from tests.integration.single import Instance, running


async def _status(one: Instance, path: str, *headers: bytes) -> int:
    """The status of a request with headers as they are."""
    server = one.client.server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    lines = [b"GET " + path.encode() + b" HTTP/1.1", b"Host: one.test", b"Connection: close"]
    writer.write(b"\r\n".join([*lines, *headers, b"", b""]))
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


async def test_bytes_in_headers_that_are_no_text_are_no_failure(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        whoami = "/_matrix/client/v3/account/whoami"

        bearer = await _status(one, whoami, b"Authorization: Bearer \xff\xfe")
        signed_in = await _status(one, ACCOUNT, b"Cookie: comity_account=\xff\xfe")
        secure = await _status(one, ACCOUNT, b"Cookie: __Host-comity_account=\xff\xfe")

        assert bearer == 401
        assert signed_in < 500
        assert secure < 500


async def test_a_form_from_a_browser_whose_cookie_is_no_text_is_no_failure(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        sign_in = ACCOUNT.rstrip("/") + "/sign-in"

        plain = await _status(one, sign_in, b"Cookie: comity_account=\xff\xfe")
        secure = await _status(one, sign_in, b"Cookie: __Host-comity_account=\xff\xfe")

        assert plain == secure == 200
