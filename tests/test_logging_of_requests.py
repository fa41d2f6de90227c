"""What is written down of requests, and what is not."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from homeserver.logging import configure, is_of_the_server
from homeserver.metrics import REQUESTS, observe_request


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


def test_lines_are_json_whoever_writes_them(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    configure("json", "info")
    structlog.contextvars.bind_contextvars(request_id="abc")
    structlog.get_logger("ours").info("request", route="/größe", token="sesame", error=ValueError)
    structlog.contextvars.clear_contextvars()
    logging.getLogger("theirs").warning("slow %s", "disk")

    ours, theirs = map(json.loads, capsysbinary.readouterr().err.splitlines())

    assert (ours["event"], ours["level"], ours["request_id"]) == ("request", "info", "abc")
    assert (ours["route"], ours["token"]) == ("/größe", "<redacted>")
    assert (theirs["event"], theirs["level"]) == ("slow disk", "warning")
    assert ours["timestamp"] <= theirs["timestamp"]


def test_methods_that_nobody_knows_are_counted_as_one() -> None:
    for number in range(3):
        observe_request(f"BREW{number}", "/pot", 404, 0.1)
    observe_request("GET", "/pot", 200, 0.1)

    counted = {
        sample.labels["method"]: sample.value
        for metric in REQUESTS.collect()
        for sample in metric.samples
        if sample.labels["route"] == "/pot" and sample.name.endswith("_total")
    }

    assert counted == {"other": 3, "GET": 1}
