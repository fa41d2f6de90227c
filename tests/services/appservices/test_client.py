"""Requests to application services that know only the older paths."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from homeserver.services.appservices.client import V1, ServiceClient
from homeserver.services.appservices.registration import AppService, load_registrations

REGISTRATION: dict[str, Any] = {
    "id": "bridge",
    "as_token": "as-token-of-tests",
    "hs_token": "hs-token-of-tests",
    "sender_localpart": "bot",
    "namespaces": {},
}


class Bridge:
    """An application service: what it answers to the newer paths, and what it was asked."""

    def __init__(self) -> None:
        self.newer = web.Response()
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path.startswith("/_matrix/app/v1"):
            return web.Response(
                status=self.newer.status, text=self.newer.text, content_type="application/json"
            )
        return web.json_response({})


@pytest.fixture
async def bridge() -> AsyncIterator[tuple[Bridge, TestServer]]:
    found = Bridge()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    server = TestServer(app)
    await server.start_server()
    yield found, server
    await server.close()


@pytest.fixture
async def client() -> AsyncIterator[ServiceClient]:
    found = ServiceClient()
    yield found
    await found.close()


def registered(directory: Path, server: TestServer) -> AppService:
    url = f"http://127.0.0.1:{server.port}"
    (directory / "bridge.yaml").write_text(yaml.safe_dump({**REGISTRATION, "url": url}))
    return load_registrations(["bridge.yaml"], directory, "one.test")[0]


@pytest.mark.parametrize(
    ("status", "text"),
    [(404, ""), (404, '{"errcode": "M_UNRECOGNIZED"}'), (405, "?"), (500, ""), (501, "")],
)
async def test_who_knows_only_the_older_paths_is_asked_there(
    bridge: tuple[Bridge, TestServer],
    client: ServiceClient,
    tmp_path: Path,
    status: int,
    text: str,
) -> None:
    found, server = bridge
    found.newer = web.Response(status=status, text=text)
    service = registered(tmp_path, server)

    told = await client.send(service, "1", b"{}")
    asked = await client.ask(service, (f"{V1}/users/bob", "/users/bob"))

    assert told.ok
    assert asked.ok
    assert found.asked[1::2] == ["/transactions/1", "/users/bob"]


@pytest.mark.parametrize("status", [404, 500])
async def test_who_says_what_is_wrong_knows_the_path(
    bridge: tuple[Bridge, TestServer], client: ServiceClient, tmp_path: Path, status: int
) -> None:
    found, server = bridge
    found.newer = web.Response(status=status, text='{"errcode": "M_NOT_FOUND"}')

    answer = await client.ask(registered(tmp_path, server), (f"{V1}/users/bob", "/users/bob"))

    assert answer.status == status
    assert found.asked == [f"{V1}/users/bob"]
