"""From where a request comes, as far as it can be believed."""

from __future__ import annotations

import ipaddress

from aiohttp import hdrs, web


def caller_key(request: web.Request) -> str:
    """The caller's address, to count their requests by; of IPv6 the network of 64 bits."""
    text = caller_address(request)
    if ":" not in text:
        return text
    network = int(ipaddress.IPv6Address(text)) >> 64 << 64
    return str(ipaddress.IPv6Network((network, 64)))


def caller_address(request: web.Request) -> str:
    """The caller's address: the one that a proxy on this machine names, or the peer's own."""
    peer = _parse_address(request.remote or "")
    forwarded = request.headers.get(hdrs.X_FORWARDED_FOR)
    if forwarded and (peer is None or peer.is_loopback):
        named = _parse_address(forwarded.rpartition(",")[2].strip())
        peer = named if named is not None else peer
    return str(peer) if peer is not None else ""


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped if mapped is not None else address
