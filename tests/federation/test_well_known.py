"""Delegation by .well-known: what is believed, and for how long."""

from __future__ import annotations

import asyncio
from email.utils import formatdate

import pytest
from aiohttp import web

from federation.ip_ranges import AddressGuard
from federation.well_known import lifetime_seconds
from tests.federation.network import Net, Node, Peer

PATH = "/.well-known/matrix/server"
HOUR = 3600


class Host:
    """A web host that delegates, and the instance that asks it."""

    def __init__(self, node: Node, peer: Peer) -> None:
        self.node = node
        self.peer = peer
        self.headers: dict[str, str] = {}
        self.status = 200
        self.body: bytes = b'{"m.server": "one.test:1"}'
        peer.answers[PATH] = self._answer

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(body=self.body, status=self.status, headers=self.headers)

    async def ask(self) -> str | None:
        """Where ``peer.test`` is delegated to."""
        return await self.node.well_known.delegated_name("peer.test")

    @property
    def asked(self) -> int:
        """How often the host was asked."""
        return len(self.peer.requests)


@pytest.fixture
async def host(net: Net, database) -> Host:
    peer = await net.peer()
    return Host(await net.node(database, well_known_port=peer.port), peer)


async def test_an_answer_is_believed_for_a_day(net, host):
    assert await host.ask() == "one.test:1"
    host.body = b'{"m.server": "two.test:2"}'
    net.clock.advance(24 * HOUR - 1)
    assert await host.ask() == "one.test:1"
    net.clock.advance(2)

    assert await host.ask() == "two.test:2"
    assert host.asked == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 24 * HOUR),
        ({"Cache-Control": "max-age=600"}, 600),
        ({"Cache-Control": "public, MAX-AGE=600, immutable"}, 600),
        ({"Cache-Control": 'max-age="600"'}, 600),
        ({"Cache-Control": "max-age=600", "Age": "100"}, 500),
        ({"Cache-Control": "max-age=99999999"}, 48 * HOUR),
        ({"Cache-Control": "no-store"}, 60),
        ({"Cache-Control": "no-cache, max-age=600"}, 60),
        ({"Cache-Control": "max-age=x"}, 60),
        ({"Expires": formatdate(1_000_000 + 7200)}, 7200),
        ({"Expires": formatdate(1_000_000 + 90 * 24 * HOUR)}, 48 * HOUR),
        ({"Expires": "0"}, 60),
        ({"Expires": formatdate(5), "Cache-Control": "max-age=600"}, 600),
    ],
)
def test_cache_headers_are_respected_within_bounds(headers, seconds):
    assert lifetime_seconds(headers, 1_000_000) == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b'{"m.server": "one.test"}'),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"m.server": 1}'),
        (200, b'{"m.server": "not a name"}'),
        (200, b'{"m.server": "one.test", "x": "' + b"x" * 100_000 + b'"}'),
    ],
)
async def test_an_invalid_answer_is_no_delegation_and_is_remembered(host, status, body):
    host.status, host.body = status, body

    for _ in range(3):
        assert await host.ask() is None

    assert host.asked == 1


async def test_failures_are_remembered_for_longer_each_time_up_to_an_hour(net, host):
    host.status = 500
    pauses = []
    for _ in range(8):
        await host.ask()
        asked, paused = host.asked, 0
        while host.asked == asked:
            net.clock.advance(30)
            paused += 30
            await host.ask()
        pauses.append(paused)

    assert pauses[:4] == [60, 120, 240, 480]
    assert max(pauses) == HOUR


async def test_a_host_that_is_merely_down_keeps_its_delegation_for_two_days(net, host):
    await host.ask()
    host.status = 502
    net.clock.advance(25 * HOUR)
    assert await host.ask() == "one.test:1"
    net.clock.advance(22 * HOUR)
    assert await host.ask() == "one.test:1"
    net.clock.advance(2 * HOUR)

    assert await host.ask() is None


async def test_a_delegation_that_was_taken_back_is_gone(net, host):
    await host.ask()
    host.status = 404
    net.clock.advance(25 * HOUR)

    assert await host.ask() is None


async def test_concurrent_questions_are_one_request(host):
    answers = await asyncio.gather(*(host.ask() for _ in range(20)))

    assert answers == ["one.test:1"] * 20
    assert host.asked == 1


async def redirecting(host: Host, location: str) -> str | None:
    """What is found where the host redirects."""

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    host.peer.answers = {"/elsewhere": host.peer.answers[PATH], PATH: redirect}
    return await host.ask()


async def test_redirects_are_followed(host):
    assert await redirecting(host, "/elsewhere") == "one.test:1"


async def test_a_loop_of_redirects_ends(host):
    assert await redirecting(host, PATH) is None
    assert host.asked == 6


@pytest.mark.parametrize(
    "location", ["http://peer.test/elsewhere", "file:///etc/passwd", "https://[]@", ""]
)
async def test_redirects_lead_to_https_only(host, location):
    assert await redirecting(host, location) is None
    assert host.asked == 1


class OnlyOnePublic(AddressGuard):
    """Takes 127.0.0.1 for the internet, and the rest of the loopback for what it is."""

    def __init__(self) -> None:
        super().__init__(allow_private_networks=False)

    def check(self, address: str) -> None:
        """Refuse all but 127.0.0.1."""
        if address != "127.0.0.1":
            super().check(address)


@pytest.mark.parametrize("target", ["127.0.0.2", "inside.test", "[::ffff:127.0.0.2]"])
async def test_redirects_do_not_lead_into_the_local_network(net, database, target):
    peer = await net.peer()
    inside = await net.peer(target.strip("[]"), address="127.0.0.2")
    node = await net.node(
        database,
        well_known_port=peer.port,
        guard=OnlyOnePublic(),
        zones={"*.test": "127.0.0.1", "inside.test": "127.0.0.2"},
    )
    host = Host(node, peer)

    assert await redirecting(host, f"https://{target}:{inside.port}/elsewhere") is None
    assert host.asked == 1
    assert inside.requests == []
