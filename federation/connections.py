"""The pool of TLS connections to other instances, with the address guard at its sockets."""

from __future__ import annotations

import socket
import ssl
from functools import lru_cache
from pathlib import Path

import aiohttp

from federation.ip_ranges import AddressGuard
from federation.resolver import Resolver

MAX_CONNECTIONS = 2000
KEEPALIVE_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 10.0
USER_AGENT = "Comity"
MAX_HEADER_BYTES = 16 * 1024

AddressInfo = tuple[int, int, int, str, tuple[object, ...]]


@lru_cache(maxsize=4)
def tls_context(extra_ca_file: Path | str | None) -> ssl.SSLContext:
    """Verification by the system's certificate authorities, and the admin's own if given.

    All sessions share one: reading the authorities takes tens of milliseconds.
    Spec: server-server API, TLS.
    """
    context = ssl.create_default_context()
    if extra_ca_file is not None:
        context.load_verify_locations(cafile=str(extra_ca_file))
    return context


class Connections:
    """One HTTP session for all requests to other instances.

    Connections are pooled by address, port *and* the name that the certificate was verified for,
    so that two instances behind one address never share one.
    """

    def __init__(
        self, *, resolver: Resolver, guard: AddressGuard, extra_ca_file: Path | str | None = None
    ) -> None:
        self._resolver = resolver
        self._guard = guard
        self._tls = tls_context(extra_ca_file)
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session; made on first use, since it needs a running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=self._resolver,
                    use_dns_cache=False,  # the resolver has its own, by TTL
                    ssl=self._tls,
                    limit=MAX_CONNECTIONS,
                    keepalive_timeout=KEEPALIVE_SECONDS,
                    socket_factory=self._socket,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": USER_AGENT},
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
        return self._session

    def _socket(self, info: AddressInfo) -> socket.socket:
        """Make the socket for an address, if it is allowed: names, literals and redirects alike.

        Raises: :class:`~federation.ip_ranges.AddressRefused`.
        """
        family, kind, protocol, _, address = info
        self._guard.check(str(address[0]))
        made = socket.socket(family=family, type=kind, proto=protocol)
        made.setblocking(False)
        return made

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._resolver.close()
