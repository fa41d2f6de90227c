"""Addresses that other instances must not be able to make us connect to.

A peer chooses its own name, its delegation and its DNS records, so it could point us at a
database on this machine or at the metadata service of a cloud.  Each range is listed with the
reason why nothing federates from there.  See the IANA IPv4 and IPv6 special-purpose registries.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

_RANGES = {
    "0.0.0.0/8": "this host (RFC 1122)",
    "10.0.0.0/8": "private (RFC 1918)",
    "100.64.0.0/10": "carrier-grade NAT (RFC 6598)",
    "127.0.0.0/8": "loopback (RFC 1122)",
    "169.254.0.0/16": "link-local, metadata services of clouds (RFC 3927)",
    "172.16.0.0/12": "private (RFC 1918)",
    "192.0.0.0/24": "protocol assignments (RFC 6890)",
    "192.0.2.0/24": "documentation (RFC 5737)",
    "192.88.99.0/24": "6to4 relays (RFC 7526)",
    "192.168.0.0/16": "private (RFC 1918)",
    "198.18.0.0/15": "benchmarks (RFC 2544)",
    "198.51.100.0/24": "documentation (RFC 5737)",
    "203.0.113.0/24": "documentation (RFC 5737)",
    "224.0.0.0/4": "multicast (RFC 5771)",
    "240.0.0.0/4": "reserved, broadcast (RFC 1112, RFC 919)",
    "::/128": "unspecified (RFC 4291)",
    "::1/128": "loopback (RFC 4291)",
    "::/96": "IPv4-compatible, deprecated (RFC 4291)",
    "64:ff9b:1::/48": "local NAT64 (RFC 8215)",
    "100::/64": "discarded (RFC 6666)",
    "2001::/32": "Teredo, carries IPv4 (RFC 4380)",
    "2001:2::/48": "benchmarks (RFC 5180)",
    "2001:10::/28": "ORCHID (RFC 4843)",
    "2001:20::/28": "ORCHIDv2 (RFC 7343)",
    "2001:db8::/32": "documentation (RFC 3849)",
    "3fff::/20": "documentation (RFC 9637)",
    "5f00::/16": "segment routing (RFC 9602)",
    "fc00::/7": "unique local (RFC 4193)",
    "fe80::/10": "link-local (RFC 4291)",
    "fec0::/10": "site-local, deprecated (RFC 3879)",
    "ff00::/8": "multicast (RFC 4291)",
}
_NETWORKS: tuple[tuple[IpNetwork, str], ...] = tuple(
    (ip_network(text), reason) for text, reason in _RANGES.items()
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


class AddressRefused(OSError):
    """The address lies in a range to which no connection is made."""


def parse_ip(text: str) -> IpAddress | None:
    """An IP literal as an address; None for a name.  IPv6 may be in brackets, have a zone."""
    try:
        return ip_address(text.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None


def embedded_ipv4(address: IpAddress) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to: mapped, 6to4 or NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


def why_refused(address: IpAddress) -> str | None:
    """Why an address is not connected to; None if it may be."""
    inner = embedded_ipv4(address)
    if inner is not None:
        return why_refused(inner)
    for network, reason in _NETWORKS:
        if address.version == network.version and address in network:
            return reason
    return None


class AddressGuard:
    """Decides to which addresses connections may be made."""

    def __init__(
        self,
        *,
        allow_private_networks: bool,
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
    ) -> None:
        """``allow``: networks that may be reached though they are private; ``deny``: those that may
        not, whatever else is said.  Raises :class:`ValueError` for what is no network.
        """
        self._allow_all = allow_private_networks
        self._allow = [ip_network(text) for text in allow]
        self._deny = [ip_network(text) for text in deny]

    def check(self, address: str) -> None:
        """Raise :class:`AddressRefused` unless connections to this IP address are allowed."""
        parsed = parse_ip(address)
        reason = "not an IP address" if parsed is None else self._why_refused(parsed)
        if reason is not None and not (parsed is None and self._allow_all):
            raise AddressRefused(f"{address} is refused: {reason}")

    def _why_refused(self, address: IpAddress) -> str | None:
        ends = [end for end in (address, embedded_ipv4(address)) if end is not None]
        if any(_lies_in(end, self._deny) for end in ends):
            return "denied by the configuration"
        if self._allow_all or _lies_in(ends[-1], self._allow):
            return None
        return why_refused(address)

    def allows(self, address: str) -> bool:
        """Whether connections to this IP address are allowed."""
        try:
            self.check(address)
        except AddressRefused:
            return False
        return True


def _lies_in(address: IpAddress, networks: Iterable[IpNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
