"""Logging in at a provider that others wrote: the certified `oidc-provider` of npm.

It is installed beside this module when it is first needed; without Node.js this is skipped.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import aiohttp
import pytest

from homeserver.storage.database import Database
from tests.harness.ports import free_port
from tests.integration.single import running

HERE = Path(__file__).parent / "oidc"
APP = "https://shop.test/done"
CALLBACK = "http://chat.test/api/v1/sessions/oauth/work/callback"
FORM = re.compile(r'<form[^>]*action="([^"]+)"')
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]+)"')


@asynccontextmanager
async def a_provider() -> AsyncIterator[str]:
    """The provider's issuer."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node.js is not installed")
    if not (HERE / "node_modules" / "oidc-provider").exists():
        arguments = ("install", "--no-audit", "--no-fund", "--no-package-lock")
        install = await asyncio.create_subprocess_exec(npm, *arguments, cwd=HERE)
        if await install.wait() != 0:
            pytest.skip("oidc-provider could not be installed")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        node, "provider.mjs", str(port), CALLBACK, cwd=HERE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        while (line := await process.stdout.readline()) != b"listening\n":
            assert line, "the provider did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def log_in_there(browser: aiohttp.ClientSession, url: str) -> str:
    """Click through the provider's pages; the address to which it sends the browser back."""
    data: dict[str, str] | None = None
    for _ in range(20):
        method = "POST" if data is not None else "GET"
        async with browser.request(method, url, data=data, allow_redirects=False) as response:
            page = await response.text()
            if response.status in (302, 303):
                url, data = urljoin(url, response.headers["Location"]), None
                if url.startswith(CALLBACK):
                    return url
                continue
            assert response.status == 200, page
        form = FORM.search(page)
        assert form is not None, page
        url = urljoin(url, form[1])
        data = {**dict(HIDDEN.findall(page)), "login": "greta", "password": "any"}
    raise AssertionError("the provider asked for too much")


async def test_somebody_logs_in_at_a_certified_provider(database: Database, tmp_path: Path) -> None:
    async with a_provider() as issuer:
        settings = {
            "public_base_url": "http://chat.test",
            "oidc_providers": [
                {
                    "id": "work",
                    "issuer": issuer,
                    "client_id": "comity",
                    "client_secret": "a secret of the client's",
                }
            ],
            "sso_redirect_urls": [APP],
        }
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            running(database, tmp_path, **settings) as instance,
            aiohttp.ClientSession(cookie_jar=jar) as browser,
        ):
            base = str(instance.client.make_url("")).rstrip("/")
            begin = f"{base}/api/v1/sessions/oauth/work?redirect_url={quote(APP)}&state=s"
            async with browser.get(begin, allow_redirects=False) as response:
                there = response.headers["Location"]
            back = urlsplit(await log_in_there(browser, there))
            url = f"{base}{back.path}?{back.query}"
            async with browser.get(url, allow_redirects=False) as response:
                told = parse_qs(urlsplit(response.headers["Location"]).query)
            body = {"login_token": told["login_token"][0]}
            async with browser.post(f"{base}/api/v1/sessions", json=body) as response:
                session = await response.json()

        assert told["state"] == ["s"]
        assert session["person"]["address"] == "greta@one.test"
        assert session["person"]["name"] == "The one called greta"
