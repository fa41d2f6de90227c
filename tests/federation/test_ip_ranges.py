"""Addresses to which no peer can make us connect."""

from __future__ import annotations

import pytest

from federation.ip_ranges import AddressGuard, AddressRefused


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "not an address",
        "",
    ],
)
def test_the_local_network_is_refused_however_it_is_written(address):
    guard = AddressGuard(allow_private_networks=False)

    with pytest.raises(AddressRefused):
        guard.check(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "193.168.1.1",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "2002:101:101::1",
    ],
)
def test_the_public_network_is_allowed(address):
    AddressGuard(allow_private_networks=False).check(address)


def test_the_config_can_allow_the_local_network():
    AddressGuard(allow_private_networks=True).check("127.0.0.1")


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "fd00::7"])
def test_the_config_can_allow_some_networks_of_it(address):
    guard = AddressGuard(allow_private_networks=False, allow=["127.0.0.1/32", "fd00::/64"])

    guard.check(address)

    assert not guard.allows("127.0.0.2")
    assert not guard.allows("fd01::7")


@pytest.mark.parametrize("address", ["1.2.3.4", "::ffff:1.2.3.4", "2002:102:304::1", "2a00::1"])
@pytest.mark.parametrize("everything", [False, True])
def test_denied_networks_are_refused_whatever_is_allowed(address, everything):
    guard = AddressGuard(
        allow_private_networks=everything,
        allow=["1.2.3.4", "::/0"],
        deny=["1.2.3.0/24", "2a00::/16"],
    )

    with pytest.raises(AddressRefused):
        guard.check(address)
