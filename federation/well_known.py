"""``/.well-known/matrix/server``: which name an instance has delegated itself to.

Spec: server-server API, resolving server names, step 3.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp
import structlog
from msgspec import Struct
from yarl import URL

from federation.caching import ExpiringCache
from federation.connections import CONNECT_TIMEOUT_SECONDS, Connections
from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import is_valid_server_name
from homeserver.protocol.urls import to_url
from homeserver.services.shared_tasks import SharedTasks
from homeserver.web import parse_json

logger = structlog.get_logger(__name__)

PATH = "/.well-known/matrix/server"
TIMEOUT_SECONDS = 10.0
MAX_BYTES = 64 * 1024
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CACHE_SIZE = 20_000

DEFAULT_SECONDS = 24 * 3600.0
MOST_SECONDS = 48 * 3600.0
LEAST_SECONDS = 60.0
FIRST_FAILURE_SECONDS = 60.0
MOST_FAILURE_SECONDS = 3600.0


class NoDelegation(Exception):
    """There is no usable answer.  ``definite``: the host answered, with something else."""

    def __init__(self, reason: str, *, definite: bool) -> None:
        super().__init__(reason)
        self.definite = definite


class _Known(Struct, frozen=True):
    delegated: str | None
    fresh_until: float
    expires: float
    failures: int = 0


class WellKnown:
    """Asks hosts for their delegation, and remembers the answers and the failures."""

    def __init__(
        self,
        connections: Connections,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        port: int = 443,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._wall_clock = wall_clock
        self._port = port
        self._known: ExpiringCache[str, _Known] = ExpiringCache(CACHE_SIZE, clock)
        self._lookups: SharedTasks[str, _Known] = SharedTasks("well-known lookup")

    async def delegated_name(self, host: str) -> str | None:
        """The server name to which a host delegates; None if it does not, or does not answer."""
        known = self._known.get(host)
        if known is None or known.fresh_until <= self._clock():
            before = known
            known = await self._lookups.run(host, lambda: self._look_up(host, before))
        return known.delegated

    async def _look_up(self, host: str, before: _Known | None) -> _Known:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                delegated, lifetime = await self._fetch(host)
        except (NoDelegation, TimeoutError) as error:
            known = self._failed(host, before, error)
        else:
            now = self._clock()
            known = _Known(delegated, now + lifetime, now + MOST_SECONDS)
        self._known.put(host, known, known.expires - self._clock())
        return known

    def _failed(
        self, host: str, before: _Known | None, error: NoDelegation | TimeoutError
    ) -> _Known:
        """Remember a failure, for longer each time.

        A host that is merely down keeps the delegation that it had, up to 48 hours after it was
        fetched.
        """
        logger.debug("no delegation", host=host, reason=str(error) or "no answer in time")
        now = self._clock()
        failures = before.failures + 1 if before is not None else 1
        pause = min(FIRST_FAILURE_SECONDS * 2.0 ** min(failures - 1, 10), MOST_FAILURE_SECONDS)
        definite = isinstance(error, NoDelegation) and error.definite
        if before is not None and before.delegated is not None and not definite:
            fresh_until = min(now + pause, before.expires)
            return _Known(before.delegated, fresh_until, before.expires, failures)
        return _Known(None, now + pause, now + MOST_SECONDS, failures)

    # ------------------------------------------------------------ the request

    async def _fetch(self, host: str) -> tuple[str, float]:
        """The delegated name and for how long to believe it.  Raises :class:`NoDelegation`."""
        url = URL.build(scheme="https", host=host, port=self._port, path=PATH)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                async with self._connections.session.get(
                    url,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        total=TIMEOUT_SECONDS, sock_connect=CONNECT_TIMEOUT_SECONDS
                    ),
                ) as response:
                    if response.status not in REDIRECTS:
                        return await self._read(response)
                    url = _redirected(url, response.headers.get("Location"))
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise NoDelegation(f"{type(error).__name__}: {error}", definite=False) from error
        raise NoDelegation("too many redirects", definite=True)

    async def _read(self, response: aiohttp.ClientResponse) -> tuple[str, float]:
        if response.status != 200:
            # a proxy whose server is down answers 5xx: that says nothing of the delegation
            raise NoDelegation(f"status {response.status}", definite=response.status < 500)
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_BYTES:
                raise NoDelegation("the answer is too long", definite=True)
        try:
            answer = parse_json(bytes(body))
        except MatrixError as error:
            raise NoDelegation(error.text, definite=True) from error
        delegated = answer.get("m.server") if isinstance(answer, dict) else None
        if not isinstance(delegated, str) or not is_valid_server_name(delegated):
            raise NoDelegation("m.server is no server name", definite=True)
        return delegated, lifetime_seconds(response.headers, self._wall_clock())


def _redirected(url: URL, location: str | None) -> URL:
    if not location:
        raise NoDelegation("a redirect without a target", definite=True)
    target = url.join(to_url(location))
    if target.scheme != "https" or target.host is None or target.user is not None:
        raise NoDelegation("a redirect to something else than HTTPS", definite=True)
    return target


def lifetime_seconds(headers: Mapping[str, str], now: float) -> float:
    """For how long an answer may be believed: as it says, within our bounds; a day by default."""
    lifetime = _stated_lifetime(headers, now)
    if lifetime is None:
        return DEFAULT_SECONDS
    return min(max(lifetime, LEAST_SECONDS), MOST_SECONDS)


def _stated_lifetime(headers: Mapping[str, str], now: float) -> float | None:
    directives: dict[str, str] = {}
    for directive in headers.get("Cache-Control", "").split(","):
        name, _, value = directive.strip().partition("=")
        directives[name.lower()] = value.strip('" ')
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    try:
        if "max-age" in directives:
            return int(directives["max-age"]) - int(headers.get("Age", "0"))
        if "Expires" in headers:
            expires = parsedate_to_datetime(headers["Expires"])
            if expires.tzinfo is None:
                expires = expires.replace(tzinfo=UTC)
            return expires.timestamp() - now
    except (ValueError, OverflowError):
        return 0.0  # RFC 9111: what cannot be read has expired
    return None
