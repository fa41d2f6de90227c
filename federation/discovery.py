"""From a server name to where its requests go.

Spec: server-server API, resolving server names.
"""

from __future__ import annotations

import random

from msgspec import Struct

from federation.errors import Permanent
from federation.resolver import Resolver, in_order
from federation.well_known import WellKnown
from homeserver.protocol.identifiers import InvalidIdentifier, ServerName, parse_server_name

DEFAULT_PORT = 8448
MAX_PORT = 65_535


class Destination(Struct, frozen=True):
    """Where to connect (``host``, a name or an IP address, and ``port``) and as whom to address it.

    ``host_header`` goes into the request; ``tls_name`` is what the certificate must be good for.
    """

    host: str
    port: int
    host_header: str
    tls_name: str


class Discovery:
    """Finds other instances."""

    def __init__(
        self, *, resolver: Resolver, well_known: WellKnown, choose: random.Random | None = None
    ) -> None:
        self._resolver = resolver
        self._well_known = well_known
        self._choose = choose or random.Random()

    async def resolve(self, server_name: str) -> Destination:
        """Where an instance is best reached.  Raises :class:`~federation.errors.Permanent`."""
        return (await self.resolve_all(server_name))[0]

    async def resolve_all(self, server_name: str) -> list[Destination]:
        """All places where an instance may be reached, the best first.

        Raises: :class:`~federation.errors.Permanent` for what is no server name.
        """
        name = _parse(server_name)
        # Steps 1 and 2: an IP literal, or an explicit port
        if name.is_ip_literal or name.port is not None:
            return [_direct(name)]
        # Step 3: .well-known; 3.1 and 3.2 are steps 1 and 2 again for the delegated name
        delegated = await self._well_known.delegated_name(name.host.lower())
        if delegated is not None:
            name = _parse(delegated)
            if name.is_ip_literal or name.port is not None:
                return [_direct(name)]
        # Steps 3.3 to 3.5 for the delegated name, 4 to 6 for the name itself
        return await self._by_srv(name)

    async def _by_srv(self, name: ServerName) -> list[Destination]:
        for service in ("_matrix-fed._tcp", "_matrix._tcp"):
            records = await self._resolver.srv(f"{service}.{name.host}")
            usable = [record for record in records if record.target and record.port]
            if usable:
                return [
                    Destination(record.target, record.port, name.host, name.host)
                    for record in in_order(usable, self._choose)
                ]
        return [_direct(name)]


def _parse(server_name: str) -> ServerName:
    try:
        name = parse_server_name(server_name)
    except InvalidIdentifier as error:
        raise Permanent(server_name, "not a valid server name") from error
    if name.port is not None and not 0 < name.port <= MAX_PORT:
        raise Permanent(server_name, "the port is impossible")
    return name


def _direct(name: ServerName) -> Destination:
    """The name itself, which is the Host header in every case; its certificate bears no port."""
    bare = name.host.strip("[]")
    port = DEFAULT_PORT if name.port is None else name.port
    return Destination(bare, port, str(name), bare)
