"""Strangers log in by OAuth 2.0: openid-client, and matrix-js-sdk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import PIPE
from urllib.parse import urlsplit

import pytest

from homeserver.storage.database import Database
from tests.harness.ports import free_port
from tests.integration.oauth_people import Browser
from tests.integration.single import Instance, running

from .conftest import PATIENCE_SECONDS
from .test_matrix_js_sdk import SCRIPTS, packages

__all__ = ["packages"]


@pytest.fixture
async def one(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance that knows its own address, which its clients are told."""
    port = free_port()
    base = f"http://127.0.0.1:{port}/"
    async with running(database, tmp_path, port=port, public_base_url=base) as instance:
        await instance.register("alice")
        yield instance


async def allow(browser: Browser, url: str) -> str:
    """What somebody does who is sent to an address; where they are sent then."""
    parts = urlsplit(url)
    page = await browser.open(f"{parts.path}?{parts.query}")
    if "Make an account</h1>" in page.text:
        password = {"password": "sesame", "repeated": "sesame"}
        page = await browser.submit(username="newcomer", **password)
    elif "Sign in</h1>" in page.text:
        page = await browser.sign_in()
    page = await browser.submit(answer="allow")
    return page.location if page.status == 303 else str(page.url)


@pytest.mark.usefixtures("packages")
async def test_openid_client_and_matrix_js_sdk_log_in(one: Instance) -> None:
    url = str(one.client.make_url("/"))
    process = await asyncio.create_subprocess_exec(
        *("node", "oauth.mjs"),
        cwd=SCRIPTS,
        env={**os.environ, "COMITY_URL": url},
        stdin=PIPE,
        stdout=PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asked = []

    async with Browser(one) as browser, asyncio.timeout(PATIENCE_SECONDS):
        while (line := (await process.stdout.readline()).decode().strip()).startswith("http"):
            asked.append(line)
            process.stdin.write(f"{await allow(browser, line)}\n".encode())
            await process.stdin.drain()
        await process.wait()

    assert (line, process.returncode) == ("done", 0)
    assert len(asked) == 7
