"""From where a request comes, as far as it can be believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from aiohttp import hdrs, web

from homeserver.app_keys import CONFIG
from homeserver.config import IPNetwork

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def caller_key(request: web.Request) -> str:
    """The caller's address, to count their requests by; of IPv6 the network of 64 bits."""
    return network_of(caller_address(request))


def network_of(text: str) -> str:
    """An address; of IPv6 the network of 64 bits that it is in."""
    if ":" not in text:
        return text
    network = int(ipaddress.IPv6Address(text)) >> 64 << 64
    return str(ipaddress.IPv6Network((network, 64)))


def caller_address(request: web.Request) -> str:
    """The caller's address: the nearest that is not one of our own proxies.

    Each proxy adds, at the right end of ``X-Forwarded-For``, from whom it has the request. What a
    trusted proxy says is believed (``listen.trusted_proxies``); what others say may be invented.
    """
    peer = _parse_address(request.remote or "")
    forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, ())
    if forwarded:
        config = request.config_dict.get(CONFIG)
        trusted = config.listen.trusted_proxies if config is not None else LOOPBACK
        peer = _behind(peer, ",".join(forwarded).split(","), trusted)
    return str(peer) if peer is not None else ""


def _behind(
    peer: IPAddress | None, hops: list[str], trusted: Iterable[IPNetwork]
) -> IPAddress | None:
    """Who is behind the trusted proxies; one without an address is on a socket of ours."""
    for hop in reversed(hops):
        if peer is not None and not any(peer in network for network in trusted):
            break
        named = _parse_address(hop.strip())
        if named is None:
            break
        peer = named
    return peer


def _parse_address(text: str) -> IPAddress | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped if mapped is not None else address
