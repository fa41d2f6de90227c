"""From server names to addresses, step by step of the spec."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from federation.discovery import Destination, Discovery
from federation.errors import Permanent
from federation.ip_ranges import AddressGuard, AddressRefused
from federation.resolver import DnsFailure, Resolver, SrvRecord, in_order
from tests.federation.network import AAAA, SRV, A, Clock, DnsServer


class Zone:
    """Delegations and SRV records from a table."""

    def __init__(self) -> None:
        self.delegations: dict[str, str] = {}
        self.records: dict[str, list[SrvRecord]] = {}
        self.asked: list[str] = []

    async def delegated_name(self, host: str) -> str | None:
        """As :class:`federation.well_known.WellKnown`."""
        self.asked.append(host)
        return self.delegations.get(host)

    async def srv(self, name: str) -> list[SrvRecord]:
        """As :class:`federation.resolver.Resolver`."""
        self.asked.append(name)
        return self.records.get(name, [])


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def discovery(zone: Any) -> Discovery:
    return Discovery(resolver=zone, well_known=zone)


@pytest.mark.parametrize(
    ("server_name", "destination"),
    [
        ("1.2.3.4", Destination("1.2.3.4", 8448, "1.2.3.4", "1.2.3.4")),
        ("1.2.3.4:80", Destination("1.2.3.4", 80, "1.2.3.4:80", "1.2.3.4")),
        ("[2001::1]", Destination("2001::1", 8448, "[2001::1]", "2001::1")),
        ("[2001::1]:80", Destination("2001::1", 80, "[2001::1]:80", "2001::1")),
    ],
)
async def test_step_1_an_ip_literal_is_used_as_it_is(discovery, zone, server_name, destination):
    assert await discovery.resolve_all(server_name) == [destination]
    assert zone.asked == []


async def test_step_2_an_explicit_port_needs_no_lookup(discovery, zone):
    zone.delegations["a.example"] = "elsewhere.example"

    found = await discovery.resolve_all("a.example:123")

    assert found == [Destination("a.example", 123, "a.example:123", "a.example")]
    assert zone.asked == []


@pytest.mark.parametrize(
    ("delegated", "destination"),
    [
        ("1.2.3.4", Destination("1.2.3.4", 8448, "1.2.3.4", "1.2.3.4")),
        ("[2001::1]:80", Destination("2001::1", 80, "[2001::1]:80", "2001::1")),
        ("m.example:443", Destination("m.example", 443, "m.example:443", "m.example")),
        ("m.example", Destination("m.example", 8448, "m.example", "m.example")),
    ],
)
async def test_step_3_a_delegated_name_is_resolved_in_its_turn(
    discovery, zone, delegated, destination
):
    zone.delegations["a.example"] = delegated

    assert await discovery.resolve_all("a.example") == [destination]


async def test_steps_3_3_and_3_4_srv_records_of_the_delegated_name(discovery, zone):
    zone.delegations["a.example"] = "m.example"
    zone.records["_matrix._tcp.m.example"] = [SrvRecord(0, 0, 2, "old.example")]

    old = await discovery.resolve_all("a.example")
    zone.records["_matrix-fed._tcp.m.example"] = [SrvRecord(0, 0, 1, "new.example")]
    new = await discovery.resolve_all("a.example")

    assert old == [Destination("old.example", 2, "m.example", "m.example")]
    assert new == [Destination("new.example", 1, "m.example", "m.example")]


async def test_steps_4_and_5_srv_records_of_the_name_itself(discovery, zone):
    zone.records["_matrix._tcp.a.example"] = [SrvRecord(0, 0, 2, "old.example")]
    old = await discovery.resolve_all("a.example")
    zone.records["_matrix-fed._tcp.a.example"] = [
        SrvRecord(20, 0, 1, "second.example"),
        SrvRecord(10, 0, 1, "first.example"),
    ]
    new = await discovery.resolve_all("a.example")

    assert old == [Destination("old.example", 2, "a.example", "a.example")]
    assert new == [
        Destination("first.example", 1, "a.example", "a.example"),
        Destination("second.example", 1, "a.example", "a.example"),
    ]


async def test_step_6_port_8448_of_the_name_itself(discovery, zone):
    found = await discovery.resolve_all("a.example")

    assert found == [Destination("a.example", 8448, "a.example", "a.example")]
    assert zone.asked == ["a.example", "_matrix-fed._tcp.a.example", "_matrix._tcp.a.example"]


@pytest.mark.parametrize("name", ["", "a b", "a.example:0", "a.example:99999", "a/b", "x@y", "[1]"])
async def test_what_is_no_server_name_is_a_permanent_failure(discovery, name):
    with pytest.raises(Permanent):
        await discovery.resolve_all(name)


def test_srv_records_of_one_priority_are_taken_by_weight():
    import random

    records = [SrvRecord(1, 90, 1, "heavy"), SrvRecord(1, 10, 1, "light"), SrvRecord(0, 0, 1, "a")]
    choose = random.Random(1)

    orders = [[r.target for r in in_order(records, choose)] for _ in range(1000)]

    assert all(order[0] == "a" for order in orders)
    assert 850 < sum(order[1] == "heavy" for order in orders) < 950


# ---------------------------------------------------------------- the resolver


async def make_resolver(dns: DnsServer, clock: Clock, *, private: bool = True) -> Resolver:
    """A resolver that asks the test's DNS server for ``*.zone``."""
    return Resolver(
        private_zones={"*.zone": {"resolvers": [await dns.start()]}, "*.fixed.zone": "127.9.9.9"},
        guard=AddressGuard(allow_private_networks=private),
        clock=clock.seconds,
    )


async def test_a_private_zone_is_asked_of_its_own_resolver_and_cached(dns):
    clock = Clock()
    dns.ttl = 0  # taken as ten seconds
    resolver = await make_resolver(dns, clock)
    dns.records[("a.zone", A)] = ["127.0.0.5"]
    dns.records[("a.zone", AAAA)] = ["::1"]

    for name in ("a.zone", "A.Zone", "a.zone."):
        assert sorted(await resolver.addresses(name)) == ["127.0.0.5", "::1"]
    asked = len(dns.asked)
    dns.records = {("a.zone", A): ["127.0.0.6"]}
    clock.advance(11)

    assert asked == 2
    assert await resolver.addresses("a.zone") == ["127.0.0.6"]
    await resolver.close()


async def test_the_most_specific_zone_counts_and_a_fixed_address_is_never_asked_for(dns):
    resolver = await make_resolver(dns, Clock())

    for name in ("b.fixed.zone", "fixed.zone", "c.b.fixed.zone"):
        assert await resolver.addresses(name) == ["127.9.9.9"]
    assert await resolver.srv("_matrix._tcp.b.fixed.zone") == []
    assert dns.asked == []
    await resolver.close()


async def test_names_without_addresses_are_failures_and_are_remembered(dns):
    resolver = await make_resolver(dns, Clock())

    for _ in range(3):
        with pytest.raises(DnsFailure):
            await resolver.resolve("nowhere.zone", 1)

    assert len(dns.asked) == 2
    await resolver.close()


async def test_addresses_of_the_local_network_are_not_given_to_who_connects(dns):
    resolver = await make_resolver(dns, Clock(), private=False)
    dns.records[("mixed.zone", A)] = ["127.0.0.1", "1.2.3.4"]
    dns.records[("local.zone", A)] = ["10.0.0.1"]

    mixed = await resolver.resolve("mixed.zone", 1)

    assert [result["host"] for result in mixed] == ["1.2.3.4"]
    for name in ("local.zone", "fixed.zone"):
        with pytest.raises(AddressRefused):
            await resolver.resolve(name, 1)
    await resolver.close()


async def test_srv_records_are_read_and_cached(dns):
    resolver = await make_resolver(dns, Clock())
    dns.records[("_matrix-fed._tcp.a.zone", SRV)] = [(10, 5, 8449, "host.zone")]

    for _ in range(2):
        found = await resolver.srv("_matrix-fed._tcp.a.zone")
        assert found == [SrvRecord(10, 5, 8449, "host.zone")]

    assert len(dns.asked) == 1
    await resolver.close()


async def test_a_resolver_that_fails_is_asked_again_soon(dns):
    clock = Clock()
    resolver = await make_resolver(dns, clock)
    dns.broken = True
    assert await resolver.srv("_matrix._tcp.a.zone") == []
    dns.broken = False
    dns.records[("_matrix._tcp.a.zone", SRV)] = [(0, 0, 1, "host.zone")]
    assert await resolver.srv("_matrix._tcp.a.zone") == []
    clock.advance(6)

    assert len(await resolver.srv("_matrix._tcp.a.zone")) == 1
    await resolver.close()


async def test_srv_and_well_known_together_reach_a_peer_with_the_right_names(net, database, dns):
    peer = await net.peer("m.zone")
    web_host = await net.peer("a.zone")
    node = await net.node(
        database,
        zones={"*.zone": {"resolvers": [await dns.start()]}},
        well_known_port=web_host.port,
    )
    dns.records[("a.zone", A)] = ["127.0.0.1"]
    dns.records[("host.zone", A)] = ["127.0.0.1"]
    dns.records[("_matrix-fed._tcp.m.zone", SRV)] = [
        (0, 0, 1, "down.zone"),
        (1, 0, peer.port, "host.zone"),
    ]

    async def delegate(request: web.Request) -> web.Response:
        return web.json_response({"m.server": "m.zone"})

    web_host.answers["/.well-known/matrix/server"] = delegate

    assert await node.client.get("a.zone", "/_matrix/x") == {}

    assert peer.requests[0].headers["Host"] == "m.zone"
    assert 'destination="a.zone"' in peer.requests[0].headers["Authorization"]
