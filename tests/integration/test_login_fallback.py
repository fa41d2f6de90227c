"""The page on which users log in for clients that know none of the ways."""

from __future__ import annotations

from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.single import running

PATH = "/_matrix/static/client/login/"


async def test_the_page_and_its_script_are_there(database: Database, tmp_path: Path) -> None:
    provider = {
        "id": "work",
        "name": "Work & <Co>",
        "issuer": "https://id.test",
        "client_id": "comity",
        "client_secret": "s" * 40,
    }
    async with running(database, tmp_path, oidc_providers=[provider]) as one:
        async with one.client.get(f"{PATH}?device_id=A%22B&loginToken=t") as response:
            page = await response.text()
            policy = response.headers["Content-Security-Policy"]
        async with one.client.get(f"{PATH}login.js") as response:
            script = await response.text()

    assert "Log in with Work &amp; &lt;Co&gt;" in page
    assert "device_id%3DA%2522B" in page and "loginToken" not in page
    assert "script-src 'self'" in policy
    assert "matrixLogin.onLogin(answer)" in script
