"""Signed requests to other instances.

Spec: server-server API, request authentication.  Whatever the other side does (nothing, garbage,
gigabytes, redirects) ends in a :class:`~federation.errors.FederationFailure` within the limits
that the caller set.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson
import structlog
from msgspec import Struct
from yarl import URL

from federation.connections import CONNECT_TIMEOUT_SECONDS, Connections
from federation.discovery import Destination, Discovery
from federation.errors import FederationFailure, PeerError, Permanent, Refused, Temporary, TooMuch
from federation.health import DestinationHealth
from federation.ip_ranges import AddressRefused
from federation.request_signing import authorization_header
from federation.server_rules import ServerRules
from homeserver.protocol.canonical import encode_canonical_json
from homeserver.protocol.events import JsonObject
from homeserver.protocol.signing import SigningKey

logger = structlog.get_logger(__name__)

Query = Mapping[str, str] | Sequence[tuple[str, str]]

# what may stand in a path as it is (RFC 3986); '%' too: identifiers in it are quoted already
# (federation/paths.py)
PATH_SAFE = "/:@!$&'()*+,;=-._~%"
IDLE_SECONDS = 30.0
LONGEST_STREAM_SECONDS = 600.0
MAX_ERROR_BYTES = 64 * 1024
MAX_TEXT = 500
DOWN = frozenset({502, 503, 504})  # a proxy whose server does not answer
TOO_MANY_REQUESTS = 429


class _Request(Struct, frozen=True):
    method: str
    destination: str
    target: str
    content: bytes | None
    sign: bool
    timeout_seconds: float
    max_bytes: int
    in_array: bool = False


class FederationClient:
    """Asks other instances."""

    def __init__(
        self,
        *,
        server_name: str,
        signing_key: SigningKey,
        discovery: Discovery,
        connections: Connections,
        health: DestinationHealth,
        rules: ServerRules,
        timeout_seconds: float,
        max_bytes: int,
    ) -> None:
        self.server_name = server_name
        self._signing_key = signing_key
        self._discovery = discovery
        self._connections = connections
        self._health = health
        self._rules = rules
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes

    async def get(
        self,
        destination: str,
        path: str,
        *,
        query: Query | None = None,
        timeout_seconds: float | None = None,
        max_bytes: int | None = None,
        sign: bool = True,
        interactive: bool = True,
    ) -> JsonObject:
        """GET a JSON object.  Raises :class:`FederationFailure`.

        ``interactive``: refuse at once where the instance is known to be down, and note whether it
        answers; the outbox, which has its own patience, does without.
        """
        return await self._ask(
            _Request(
                "GET",
                destination,
                _target(path, query),
                None,
                sign,
                timeout_seconds or self._timeout_seconds,
                max_bytes or self._max_bytes,
            ),
            interactive,
        )

    async def put(
        self,
        destination: str,
        path: str,
        *,
        body: JsonObject | bytes,
        query: Query | None = None,
        timeout_seconds: float | None = None,
        max_bytes: int | None = None,
        sign: bool = True,
        interactive: bool = True,
        in_array: bool = False,
    ) -> JsonObject:
        """PUT a JSON object, or one that is canonical JSON already.  As :meth:`get`.

        ``in_array``: the answer is ``[200, object]``, as deprecated operations have it.
        """
        return await self._ask(
            _Request(
                "PUT",
                destination,
                _target(path, query),
                _canonical(body),
                sign,
                timeout_seconds or self._timeout_seconds,
                max_bytes or self._max_bytes,
                in_array,
            ),
            interactive,
        )

    async def post(
        self,
        destination: str,
        path: str,
        *,
        body: JsonObject | bytes,
        query: Query | None = None,
        timeout_seconds: float | None = None,
        max_bytes: int | None = None,
        sign: bool = True,
        interactive: bool = True,
    ) -> JsonObject:
        """POST a JSON object.  As :meth:`get`."""
        return await self._ask(
            _Request(
                "POST",
                destination,
                _target(path, query),
                _canonical(body),
                sign,
                timeout_seconds or self._timeout_seconds,
                max_bytes or self._max_bytes,
            ),
            interactive,
        )

    @asynccontextmanager
    async def stream(
        self,
        destination: str,
        path: str,
        *,
        query: Query | None = None,
        timeout_seconds: float | None = None,
        sign: bool = True,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET something large, of which the reader bounds the size.

        ``timeout_seconds`` bounds the wait for the answer's beginning, and for each part of it.
        Raises :class:`FederationFailure`.
        """
        request = _Request(
            "GET",
            destination,
            _target(path, query),
            None,
            sign,
            timeout_seconds or IDLE_SECONDS,
            self._max_bytes,
        )
        timeout = aiohttp.ClientTimeout(
            total=LONGEST_STREAM_SECONDS,
            sock_connect=CONNECT_TIMEOUT_SECONDS,
            sock_read=request.timeout_seconds,
        )
        self._check(destination, interactive=True)
        try:
            async with self._open(request, timeout) as response:
                if response.status != 200:
                    raise await peer_error(destination, response)
                self._health.succeeded(destination)
                yield response
        except FederationFailure as failure:
            self._note(destination, failure)
            raise

    # ------------------------------------------------------------ one request

    async def _ask(self, request: _Request, interactive: bool) -> JsonObject:
        self._check(request.destination, interactive)
        try:
            answer = await self._exchange(request)
        except FederationFailure as failure:
            if interactive:
                self._note(request.destination, failure)
            raise
        if interactive:
            self._health.succeeded(request.destination)
        return answer

    def _check(self, destination: str, interactive: bool) -> None:
        """Raise :class:`FederationFailure` where it is no use, or not right, to ask."""
        if not self._rules.allows(destination):
            raise Refused(destination, self._rules.refusal(destination))
        if destination == self.server_name:
            raise Permanent(destination, "that is this server itself")
        if interactive:
            self._health.check(destination)

    def _note(self, destination: str, failure: FederationFailure) -> None:
        """Tell the shared health what a failure says of the instance as a whole."""
        if isinstance(failure, PeerError):
            # A proxy that stands in for a dead server knows no errcode; a server that answers for
            # one of its parts (504 M_NOT_YET_UPLOADED) does, and is alive.
            if failure.status in DOWN and failure.errcode in (None, "", "M_UNKNOWN"):
                self._health.failed(destination, failure.reason, failure.retry_after_seconds)
            elif (
                failure.status < 500 or failure.status in DOWN
            ) and failure.status != TOO_MANY_REQUESTS:
                self._health.succeeded(destination)
        elif isinstance(failure, Temporary):
            self._health.failed(destination, failure.reason)

    async def _exchange(self, request: _Request) -> JsonObject:
        seconds = request.timeout_seconds
        timeout = aiohttp.ClientTimeout(
            total=seconds, sock_connect=min(CONNECT_TIMEOUT_SECONDS, seconds)
        )
        try:
            async with asyncio.timeout(seconds), self._open(request, timeout) as response:
                if not 200 <= response.status < 300:
                    raise await peer_error(request.destination, response)
                body = await read_bounded(request.destination, response, request.max_bytes)
        except TimeoutError as error:
            raise Temporary(request.destination, "no answer in time") from error
        return parse_object(request.destination, body, in_array=request.in_array)

    @asynccontextmanager
    async def _open(
        self, request: _Request, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, and give the connection back at the end."""
        destination = request.destination
        response = await self._send(request, timeout)
        try:
            yield response
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise as_failure(destination, error) from error
        finally:
            if response.content.at_eof():
                response.release()
            else:  # what was not read is not worth reading: the connection goes with it
                response.close()

    async def _send(
        self, request: _Request, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a request to the first of an instance's places that takes connections."""
        destination = request.destination
        headers = self._headers(request)
        places = await self._discovery.resolve_all(destination)
        for place in places:
            try:
                return await self._connections.session.request(
                    request.method,
                    _url(place, request.target),
                    data=request.content,
                    headers={**headers, "Host": place.host_header},
                    server_hostname=place.tls_name,
                    allow_redirects=False,
                    timeout=timeout,
                )
            except aiohttp.ClientConnectorError as error:
                if place is places[-1]:
                    raise as_failure(destination, error) from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise as_failure(destination, error) from error
        raise Temporary(destination, "it is nowhere to be found")

    def _headers(self, request: _Request) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if request.content is not None:
            headers["Content-Type"] = "application/json"
        if request.sign:
            headers["Authorization"] = authorization_header(
                self._signing_key,
                method=request.method,
                uri=request.target,
                origin=self.server_name,
                destination=request.destination,
                content=request.content,
            )
        return headers


# ---------------------------------------------------------------- pieces


async def read_bounded(destination: str, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The whole body, unless it is longer: then :class:`TooMuch`, and nothing more is read."""
    if response.content_length is not None and response.content_length > max_bytes:
        raise TooMuch(destination, f"its answer exceeds {max_bytes} bytes")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise TooMuch(destination, f"its answer exceeds {max_bytes} bytes")
    return bytes(body)


async def peer_error(destination: str, response: aiohttp.ClientResponse) -> PeerError:
    """The error that an instance answered with, as far as it can be read."""
    answer: Any = None
    try:
        answer = orjson.loads(await read_bounded(destination, response, MAX_ERROR_BYTES))
    except (orjson.JSONDecodeError, FederationFailure):
        logger.debug("error without JSON", destination=destination, status=response.status)
    answer = answer if isinstance(answer, dict) else {}
    errcode, text = answer.get("errcode"), answer.get("error")
    return PeerError(
        destination,
        response.status,
        errcode if isinstance(errcode, str) else "M_UNKNOWN",
        text[:MAX_TEXT] if isinstance(text, str) else f"HTTP status {response.status}",
        retry_after_seconds=_retry_after(response, answer),
        body=answer,
    )


def as_failure(destination: str, error: Exception) -> FederationFailure:
    """What an exception of the HTTP client means."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, AddressRefused):
        return Permanent(destination, "it has an address of the local network")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return Temporary(destination, "its TLS certificate is not valid for its name")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorDNSError):
        return Temporary(destination, f"no connection: {error.strerror or cause}")
    if isinstance(error, TimeoutError):
        return Temporary(destination, "no answer in time")
    return Temporary(destination, f"the connection failed: {type(error).__name__}")


def parse_object(destination: str, body: bytes, *, in_array: bool = False) -> JsonObject:
    """An answer as JSON; :class:`Temporary` if it is no object."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Temporary(destination, "its answer is not JSON") from error
    if in_array and isinstance(answer, list):
        answer = answer[-1] if answer else None
    if not isinstance(answer, dict):
        raise Temporary(destination, "its answer is no JSON object")
    return answer


def _canonical(body: JsonObject | bytes) -> bytes:
    return body if isinstance(body, bytes) else encode_canonical_json(body)


def _target(path: str, query: Query | None) -> str:
    """Path and query as they are signed and sent."""
    quoted = quote(path, safe=PATH_SAFE)
    if not query:
        return quoted
    pairs = list(query.items()) if isinstance(query, Mapping) else list(query)
    return f"{quoted}?{urlencode(pairs, quote_via=quote)}"


def _url(place: Destination, target: str) -> URL:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return URL(f"https://{host}:{place.port}{target}", encoded=True)


def _retry_after(response: aiohttp.ClientResponse, answer: JsonObject) -> float | None:
    header, in_body = response.headers.get("Retry-After", ""), answer.get("retry_after_ms")
    if header.isascii() and header.isdigit():
        return float(header)
    return in_body / 1000 if isinstance(in_body, int | float) else None
