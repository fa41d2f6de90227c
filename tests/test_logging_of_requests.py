"""What clients send that is no HTTP does not get into the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from homeserver.logging import is_of_the_server


@pytest.fixture
def filtered() -> Iterator[None]:
    """As :func:`homeserver.logging.configure` sets it up."""
    server = logging.getLogger("aiohttp.server")
    server.addFilter(is_of_the_server)
    yield
    server.removeFilter(is_of_the_server)


async def test_the_token_in_an_address_that_is_too_long_is_not_logged(
    filtered: None, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(request: web.Request) -> web.Response:
        raise RuntimeError("this one is the server's")

    app = web.Application()
    app.add_routes([web.get("/fail", fail)])
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = server.make_url(f"/events?access_token=sesame&{'x' * 9_000}")
        async with session.get(url) as response:
            assert response.status == 400
        async with session.get(server.make_url("/fail")) as response:
            assert response.status == 500

    assert "sesame" not in caplog.text
    assert "this one is the server's" in caplog.text
