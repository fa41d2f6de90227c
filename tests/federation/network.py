"""A network on the loopback: a certificate authority, a DNS server, instances that misbehave."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import ssl
import struct
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web

from federation.client import FederationClient
from federation.connections import Connections
from federation.discovery import Discovery
from federation.health import DestinationHealth
from federation.ip_ranges import AddressGuard
from federation.key_fetching import KeyFetcher
from federation.keyring import Keyring
from federation.notary import Notary
from federation.own_keys import OwnKeys
from federation.resolver import Resolver
from federation.server import Authenticator
from federation.server_rules import ServerRules
from federation.well_known import WellKnown
from homeserver.protocol.signing import SigningKey, generate_signing_key, sign_json
from homeserver.services.rate_limits import RateLimits
from homeserver.services.server_blocks import ServerBlocks
from homeserver.services.server_throttle import ServerThrottle
from homeserver.storage.database import Database
from tests.harness.ports import free_port

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

START_MS = 1_790_000_000_000
DAY_MS = 24 * 3600 * 1000


class Clock:
    """A clock that goes only when told to; in ms when called, in seconds by :meth:`seconds`."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def seconds(self) -> float:
        """The same in seconds."""
        return self.now_ms / 1000

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)


def signing_key(number: int, version: str = "a") -> SigningKey:
    """A key that is the same in every run."""
    return generate_signing_key(bytes([number]) * 32, version)


class Authority:
    """The certificate authority that all instances under test trust."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self.file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def context(self, *names: str) -> ssl.SSLContext:
        """A server's TLS context with a certificate for some names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*names).configure_cert(context)
        return context


@functools.cache
def _directory_of_all() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="comity-authority-")


@functools.cache
def _authority_of_all() -> Authority:
    """One for the networks of a run: whoever trusts it reads the system's authorities, too."""
    return Authority(Path(_directory_of_all().name))


@dataclass
class Peer:
    """Another instance: answers as ``answers`` say, by path prefix, and remembers what it got."""

    server_name: str
    port: int
    address: str
    key: SigningKey
    clock: Clock
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    runner: web.AppRunner | None = None
    key_requests: int = 0
    valid_for_ms: int = DAY_MS
    old_keys: dict[str, Any] = field(default_factory=dict)

    def key_document(self) -> dict[str, Any]:
        """What it publishes of its keys."""
        document = {
            "server_name": self.server_name,
            "valid_until_ts": self.clock() + self.valid_for_ms,
            "verify_keys": {self.key.key_id: {"key": self.key.verify_key.to_base64()}},
            "old_verify_keys": self.old_keys,
        }
        return sign_json(document, self.server_name, self.key)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        body = await request.read()
        self.requests.append(request)
        self.bodies.append(json.loads(body) if body else None)
        for prefix, answer in self.answers.items():
            if request.path.startswith(prefix):
                return await answer(request)
        if request.path == "/_matrix/key/v2/server":
            self.key_requests += 1
            return web.json_response(self.key_document())
        return web.json_response({})

    async def close(self) -> None:
        """Stop answering."""
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    async def start(self, context: ssl.SSLContext) -> None:
        """Answer on its port."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(
            self.runner, self.address, self.port, ssl_context=context, reuse_address=True
        )
        await site.start()
        self.port = self.runner.addresses[0][1]


class Net:
    """Starts peers, and makes the transport of an instance under test."""

    def __init__(self) -> None:
        self.authority = _authority_of_all()
        self.clock = Clock()
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._numbers = iter(range(10, 200))

    async def peer(
        self,
        host: str = "peer.test",
        *,
        certificate: str | None = None,
        named: str | None = None,
        address: str = "127.0.0.1",
    ) -> Peer:
        """An instance called ``host:port``, or as ``named``."""
        context = self.authority.context(certificate or host)
        peer = Peer("", free_port(address), address, signing_key(next(self._numbers)), self.clock)
        await peer.start(context)
        peer.server_name = named or f"{host}:{peer.port}"
        self._closing.append(peer.close)
        return peer

    async def restart(self, peer: Peer, host: str = "peer.test") -> None:
        """Let a peer that was closed answer again where it did."""
        await peer.start(self.authority.context(host))

    async def node(self, database: Database, **options: Any) -> Node:
        """The transport of an instance."""
        node = Node(self, database, **options)
        await node.own_keys.start()
        self._closing.append(node.close)
        return node

    async def close(self) -> None:
        """Stop everything."""
        for close in reversed(self._closing):
            await close()


class Node:
    """The transport of one instance."""

    def __init__(
        self,
        net: Net,
        database: Database,
        *,
        server_name: str = "us.test",
        allow_private_networks: bool = True,
        guard: AddressGuard | None = None,
        zones: dict[str, Any] | None = None,
        allow: list[str] | None = None,
        deny: list[str] | None = None,
        notaries: list[str] | None = None,
        keys: list[SigningKey] | None = None,
        well_known_port: int = 443,
        timeout_seconds: float = 5.0,
        max_bytes: int = 100_000,
        rate_limits: RateLimits | None = None,
    ) -> None:
        clock = net.clock
        self.database = database
        self.clock = clock
        self.keys = keys or [signing_key(1)]
        guard = guard or AddressGuard(allow_private_networks=allow_private_networks)
        self.blocks = ServerBlocks(server_name=server_name, database=database, clock_ms=clock)
        self.rules = ServerRules(allow=allow, deny=deny or [], blocks=self.blocks)
        self.resolver = Resolver(
            private_zones={"*.test": "127.0.0.1"} if zones is None else zones,
            guard=guard,
            clock=clock.seconds,
        )
        self.connections = Connections(
            resolver=self.resolver, guard=guard, extra_ca_file=net.authority.file
        )
        self.well_known = WellKnown(
            self.connections, clock=clock.seconds, wall_clock=clock.seconds, port=well_known_port
        )
        self.discovery = Discovery(resolver=self.resolver, well_known=self.well_known)
        self.health = DestinationHealth(database=database, clock_ms=clock)
        self.client = FederationClient(
            server_name=server_name,
            signing_key=self.keys[0],
            discovery=self.discovery,
            connections=self.connections,
            health=self.health,
            rules=self.rules,
            timeout_seconds=timeout_seconds,
            max_bytes=max_bytes,
        )
        self.own_keys = OwnKeys(
            server_name=server_name, signing_keys=self.keys, database=database, clock_ms=clock
        )
        self.keyring = Keyring(
            database=database,
            own_keys=self.own_keys,
            fetcher=KeyFetcher(self.client, clock),
            notaries=notaries or [],
            clock_ms=clock,
            clock=clock.seconds,
        )
        self.notary = Notary(
            database=database,
            own_keys=self.own_keys,
            keyring=self.keyring,
            rules=self.rules,
            clock_ms=clock,
        )
        self.throttle = ServerThrottle()
        self.authenticator = Authenticator(
            server_name=server_name,
            keyring=self.keyring,
            rules=self.rules,
            health=self.health,
            rate_limits=rate_limits or RateLimits(enabled=False),
            throttle=self.throttle,
            clock_ms=clock,
        )

    async def close(self) -> None:
        """Stop everything."""
        self.keyring.close()
        await self.health.close()
        await self.connections.close()


# ---------------------------------------------------------------- DNS

A, AAAA, SRV = 1, 28, 33


class DnsServer(asyncio.DatagramProtocol):
    """Answers A, AAAA and SRV from a table, on the loopback."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[Any]] = {}
        self.ttl = 300
        self.asked: list[tuple[str, int]] = []
        self.broken = False
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> str:
        """Listen; the address and port."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        self._transport = transport
        host, port = transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def close(self) -> None:
        """Stop."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        """Keep where answers go."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Answer a query."""
        name, end = _read_name(data, 12)
        (kind,) = struct.unpack_from("!H", data, end)
        self.asked.append((name, kind))
        question = data[12 : end + 4]
        found = self.records.get((name, kind), [])
        known = any(other == name for other, _ in self.records)
        code = 2 if self.broken else 0 if known else 3
        header = struct.pack("!2sHHHHH", data[:2], 0x8180 | code, 1, len(found), 0, 0)
        answers = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, self.ttl, len(raw)) + raw
            for raw in (_encode(kind, value) for value in found)
        )
        assert self._transport is not None
        self._transport.sendto(header + question + answers, addr)


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    labels = []
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(labels).lower(), at + 1


def _encode(kind: int, value: Any) -> bytes:
    if kind == SRV:
        priority, weight, port, target = value
        labels = b"".join(
            bytes([len(label)]) + label.encode() for label in target.split(".") if label
        )
        return struct.pack("!HHH", priority, weight, port) + labels + b"\0"
    return socket.inet_pton(socket.AF_INET6 if kind == AAAA else socket.AF_INET, value)
