"""What this server is, and where it is to be found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from federation.routes import version
from homeserver.app_keys import CONFIG


async def test_name_version_and_delegation_are_told_to_everybody():
    config: Any = SimpleNamespace(well_known_server="matrix.us.test:443")
    app = web.Application()
    app[CONFIG] = config
    app.add_routes(version.routes)

    async with TestClient(TestServer(app)) as client:
        about = await (await client.get("/_matrix/federation/v1/version")).json()
        delegation = await (await client.get("/.well-known/matrix/server")).json()

    assert about["server"]["name"] == "Comity"
    assert about["server"]["version"]
    assert delegation == {"m.server": "matrix.us.test:443"}
