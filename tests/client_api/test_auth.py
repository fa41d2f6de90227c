"""Where a request comes from."""

import ipaddress

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from msgspec.structs import replace
from pytest_aiohttp.plugin import AiohttpClient

from homeserver.app_keys import CONFIG
from homeserver.callers import caller_key
from homeserver.config import load_config


@pytest.mark.parametrize(
    ("peer", "forwarded", "key"),
    [
        ("198.51.100.7", None, "198.51.100.7"),
        ("::ffff:198.51.100.7", None, "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("::1", "203.0.113.1, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "rubbish", "127.0.0.1"),
        ("198.51.100.7", "203.0.113.1", "198.51.100.7"),
        ("", None, ""),
        ("", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "198.51.100.7, rubbish", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.1, 198.51.100.7, 127.0.0.1", "198.51.100.7"),
    ],
)
def test_callers_are_told_apart_by_address(peer: str, forwarded: str | None, key: str):
    """A proxy on this machine is believed, a caller from elsewhere is not."""
    headers = {"X-Forwarded-For": forwarded} if forwarded is not None else {}
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=peer)

    assert caller_key(request) == key


@pytest.mark.parametrize(
    ("peer", "forwarded", "key"),
    [
        ("10.1.2.3", ["198.51.100.7"], "198.51.100.7"),
        ("10.1.2.3", ["203.0.113.1, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        ("10.1.2.3", ["203.0.113.1, 198.51.100.7", "10.9.9.9"], "198.51.100.7"),
        ("10.1.2.3", ["10.4.4.4"], "10.4.4.4"),
        ("127.0.0.1", ["198.51.100.7"], "127.0.0.1"),
        ("198.51.100.7", ["203.0.113.1"], "198.51.100.7"),
    ],
)
async def test_the_admin_says_which_proxies_are_believed(
    aiohttp_client: AiohttpClient, peer: str, forwarded: list[str], key: str
):
    """Through any number of them, one header or several; a forged beginning is not reached."""

    async def told(request: web.Request) -> web.Response:
        return web.Response(text=caller_key(request.clone(remote=peer)))

    config = load_config(None, {"COMITY_SERVER_NAME": "a.test"})
    listen = replace(config.listen, trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"),))
    app = web.Application()
    app[CONFIG] = replace(config, listen=listen)
    app.router.add_get("/", told)
    client = await aiohttp_client(app)

    answer = await client.get("/", headers=[("X-Forwarded-For", value) for value in forwarded])

    assert await answer.text() == key
