"""Names to addresses: DNS through aiodns, and private zones from the config.

A private zone maps ``*.zone`` (and ``zone`` itself) to an IP address, or to resolvers of its own,
so that instances which are in no public DNS find each other.  Answers are cached for their TTL.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiodns
import pycares
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct

from federation.caching import ExpiringCache
from federation.ip_ranges import AddressGuard, parse_ip
from homeserver.services.shared_tasks import SharedTasks

logger = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 3.0
TRIES = 2
CACHE_SIZE = 20_000
LEAST_TTL_SECONDS = 10
MOST_TTL_SECONDS = 3600
NOTHING_TTL_SECONDS = 60  # how long "there is no such record" is believed
FAILURE_TTL_SECONDS = 5

NO_RECORD = frozenset(
    {aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA, aiodns.error.ARES_ENONAME}
)
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class DnsFailure(OSError):
    """A name could not be looked up, or has no address."""


class SrvRecord(Struct, frozen=True):
    """One SRV record.  Spec: RFC 2782."""

    priority: int
    weight: int
    port: int
    target: str


class Zone(Struct, frozen=True):
    """A private zone: its suffix, and the address of all its names, or who is to be asked."""

    suffix: str
    address: str | None = None
    resolvers: tuple[str, ...] = ()

    @classmethod
    def parse(cls, pattern: str, target: str | Mapping[str, Any]) -> Zone:
        """A zone from the config: ``*.zone`` and an address, or ``{"resolvers": [...]}``."""
        suffix = pattern.removeprefix("*.").strip(".").lower()
        if not isinstance(target, str):
            return cls(suffix, resolvers=tuple(target["resolvers"]))
        if parse_ip(target) is None:
            raise ValueError(f"federation.private_zones: {target!r} is not an IP address")
        return cls(suffix, address=target)

    def covers(self, name: str) -> bool:
        """Whether a name (lower case, without a final dot) lies in the zone."""
        return name == self.suffix or name.endswith("." + self.suffix)


class Resolver(AbstractResolver):
    """Looks names up, and keeps addresses of the local network from whoever connects."""

    def __init__(
        self,
        *,
        private_zones: Mapping[str, str | Mapping[str, Any]],
        guard: AddressGuard,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        zones = [Zone.parse(pattern, target) for pattern, target in private_zones.items()]
        # the most specific zone first
        self._zones = sorted(zones, key=lambda zone: -len(zone.suffix))
        self._guard = guard
        self._channels: dict[tuple[str, ...], aiodns.DNSResolver] = {}
        self._addresses: ExpiringCache[str, list[str] | str] = ExpiringCache(CACHE_SIZE, clock)
        self._srv: ExpiringCache[str, list[SrvRecord]] = ExpiringCache(CACHE_SIZE, clock)
        self._lookups: SharedTasks[tuple[str, str], Any] = SharedTasks("server discovery")

    # ------------------------------------------------------------ addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host to which a connection may be made.

        Raises: :class:`DnsFailure`, :class:`~federation.ip_ranges.AddressRefused`.
        """
        results = []
        found = await self.addresses(host)
        for address in found:
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            if family in (socket.AF_UNSPEC, kind) and self._guard.allows(address):
                results.append(
                    ResolveResult(
                        hostname=host, host=address, port=port, family=kind, proto=0, flags=_NUMERIC
                    )
                )
        if not results and found:
            self._guard.check(found[0])
        if not results:
            raise DnsFailure(f"{host} has no address")
        return results

    async def addresses(self, host: str) -> list[str]:
        """All addresses of a host, allowed or not.  Raises :class:`DnsFailure`."""
        name = host.rstrip(".").lower()
        zone = self._zone(name)
        if zone is not None and zone.address is not None:
            return [zone.address]
        found = self._addresses.get(name)
        if found is None:
            found = await self._lookups.run(("A", name), lambda: self._ask_addresses(name, zone))
        if isinstance(found, str):
            raise DnsFailure(found)
        return found

    async def _ask_addresses(self, name: str, zone: Zone | None) -> list[str] | str:
        """Addresses by CNAME, AAAA and A, or why there are none."""
        try:
            answer = await self._channel(zone).getaddrinfo(
                name, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM
            )
        except aiodns.error.DNSError as error:
            failure = f"{name} cannot be resolved: {_why(error)}"
            lifetime = _failure_ttl(error)
            self._addresses.put(name, failure, lifetime)
            return failure
        nodes = [node for node in answer.nodes if node.family in (socket.AF_INET, socket.AF_INET6)]
        addresses = [node.addr[0].decode() for node in nodes]
        ttl = min((node.ttl for node in nodes), default=NOTHING_TTL_SECONDS)
        self._addresses.put(name, addresses, _bounded(ttl))
        return addresses

    # ------------------------------------------------------------ services

    async def srv(self, name: str) -> list[SrvRecord]:
        """The SRV records of a service name; none if there are none, or if DNS does not answer.

        Without an answer the caller goes on to the host's own address.  That is safe, for the
        certificate has to be good for the host's name either way.
        """
        name = name.rstrip(".").lower()
        zone = self._zone(name)
        if zone is not None and zone.address is not None:
            return []
        found = self._srv.get(name)
        if found is None:
            found = await self._lookups.run(("SRV", name), lambda: self._ask_srv(name, zone))
        return found

    async def _ask_srv(self, name: str, zone: Zone | None) -> list[SrvRecord]:
        try:
            answer = await self._channel(zone).query_dns(name, "SRV")
        except aiodns.error.DNSError as error:
            if error.args[0] not in NO_RECORD:
                logger.info("srv lookup failed", name=name, reason=_why(error))
            self._srv.put(name, [], _failure_ttl(error))
            return []
        records = [
            (record.ttl, SrvRecord(data.priority, data.weight, data.port, data.target.rstrip(".")))
            for record in answer.answer
            if isinstance(data := record.data, pycares.SRVRecordData)
        ]
        ttl = min((ttl for ttl, _ in records), default=NOTHING_TTL_SECONDS)
        found = [record for _, record in records]
        self._srv.put(name, found, _bounded(ttl))
        return found

    # ------------------------------------------------------------ channels

    def _zone(self, name: str) -> Zone | None:
        return next((zone for zone in self._zones if zone.covers(name)), None)

    def _channel(self, zone: Zone | None) -> aiodns.DNSResolver:
        """The resolver for a zone; made on first use, since it needs a running loop."""
        key = zone.resolvers if zone is not None else ()
        if key not in self._channels:
            self._channels[key] = aiodns.DNSResolver(
                nameservers=key or None, timeout=TIMEOUT_SECONDS, tries=TRIES
            )
        return self._channels[key]

    async def close(self) -> None:
        """Give the resolvers' sockets back."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()


def in_order(records: Sequence[SrvRecord], choose: random.Random) -> list[SrvRecord]:
    """SRV records in the order to be tried: by priority, and at random by weight within one.

    Spec: RFC 2782, usage rules.
    """
    ordered = []
    for priority in sorted({record.priority for record in records}):
        left = [record for record in records if record.priority == priority]
        while left:
            weights = [record.weight or 0.1 for record in left]
            chosen = choose.choices(left, weights)[0]
            left.remove(chosen)
            ordered.append(chosen)
    return ordered


def _why(error: aiodns.error.DNSError) -> str:
    return str(error.args[1] if len(error.args) > 1 else error)


def _failure_ttl(error: aiodns.error.DNSError) -> float:
    return NOTHING_TTL_SECONDS if error.args[0] in NO_RECORD else FAILURE_TTL_SECONDS


def _bounded(ttl: float) -> float:
    return min(max(ttl, LEAST_TTL_SECONDS), MOST_TTL_SECONDS)
