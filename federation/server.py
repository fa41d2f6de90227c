"""A signed request coming in: who sent it, and that it is meant for us.

Spec: server-server API, request authentication.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
from aiohttp import hdrs, web

from federation.errors import FederationFailure
from federation.health import DestinationHealth
from federation.incoming import BodiesUnderWay, Turns, weight
from federation.keyring import Keyring
from federation.request_signing import BadHeader, XMatrix, parse_authorization, signed_bytes
from federation.server_rules import ServerRules
from homeserver.callers import caller_key
from homeserver.errors import BadJson, Forbidden, MatrixError, Unauthorized
from homeserver.protocol.canonical import NotCanonical, decode_base64, encode_canonical_json
from homeserver.protocol.identifiers import is_valid_server_name
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import BadSignature
from homeserver.services.rate_limits import RateLimits
from homeserver.services.server_throttle import ServerThrottle
from homeserver.web import parse_json, read_body

logger = structlog.get_logger(__name__)

ORIGIN = web.RequestKey("ORIGIN", str)
CONTENT = web.RequestKey("CONTENT", dict[str, Any])

BODY_BYTES = web.RequestKey("BODY_BYTES", int)

MAX_HEADERS = 5
MAX_REASON = 300  # of a refusal, in the log
BODY_TIMEOUT_SECONDS = 60.0
MAX_UNVERIFIED_WEIGHT = 300_000


class RequestTimeout(MatrixError):
    """The body did not arrive in time."""

    errcode, status = "M_UNKNOWN", 408


class Authenticator:
    """Verifies requests of other instances."""

    def __init__(
        self,
        *,
        server_name: str,
        keyring: Keyring,
        rules: ServerRules,
        health: DestinationHealth,
        rate_limits: RateLimits,
        throttle: ServerThrottle,
        clock_ms: Callable[[], int],
    ) -> None:
        self._bodies = BodiesUnderWay()
        self._turns = Turns()
        self._server_name = server_name
        self._keyring = keyring
        self._rules = rules
        self._health = health
        self._rate_limits = rate_limits
        self._throttle = throttle
        self._clock_ms = clock_ms

    async def authenticate(self, request: web.Request) -> str:
        """Verify a request and read its body; the name of the server that signed it.

        What it costs is counted before it is spent: for the caller until the signature is
        verified, then for the server.

        Raises: :class:`Unauthorized`; :class:`Forbidden` for a server on the deny list, before
        anything more is read; :class:`LimitExceeded`; what :func:`~homeserver.web.parse_json`
        raises.
        """
        headers = self._headers(request)
        origin, caller = headers[0].origin, caller_key(request)
        if not self._rules.allows(origin):
            raise Forbidden("This server does not federate with yours")
        self._rate_limits.peek("federation", origin)
        await self._have_keys(headers, caller)
        body = await self._read_body(request, caller)
        content = await self._verified(request, headers, caller, body)
        self._health.heard_from(origin)
        self._rate_limits.check("federation", origin)
        self._throttle.check(origin)
        if content is None:
            self._rate_limits.check("federation_weight", origin, weight(body))
            content = _parsed(body)
        structlog.contextvars.bind_contextvars(origin=origin)
        request[ORIGIN] = origin
        request[CONTENT] = content
        request[BODY_BYTES] = len(body)
        return origin

    def turn(self, request: web.Request) -> AbstractAsyncContextManager[None]:
        """A turn for the handler of an authenticated request; what sends files has its own."""
        kind = "media" if "/media/" in request.path else "other"
        return self._turns.turn(f"{kind} {request[ORIGIN]}", request[BODY_BYTES])

    def _headers(self, request: web.Request) -> list[XMatrix]:
        """The X-Matrix headers, all of one origin and meant for this server."""
        values = request.headers.getall(hdrs.AUTHORIZATION, [])
        if not values:
            raise Unauthorized("The request is not signed: it has no Authorization header")
        try:
            headers = [parse_authorization(value) for value in values[:MAX_HEADERS]]
        except BadHeader as error:
            raise Unauthorized(f"The request is not signed: {error}") from error
        for header in headers:
            # v1.3: "For compatibility with older servers, recipients should accept requests without
            # this parameter"; if it is there and names another server, 401
            if header.destination not in (None, self._server_name):
                raise Unauthorized("The request is signed for another server than this one")
            if header.origin != headers[0].origin:
                raise Unauthorized("The request is signed by several servers")
        if not is_valid_server_name(headers[0].origin):
            raise Unauthorized("The origin is not a valid server name")
        if headers[0].origin == self._server_name:
            raise Unauthorized("The origin is this server itself")
        return headers

    async def _have_keys(self, headers: list[XMatrix], caller: str) -> None:
        """Ask for keys that are not known, before anything is read that they should have signed.

        Raises :class:`Unauthorized` if none can be had; :class:`LimitExceeded`.
        """
        now = self._clock_ms()
        for header in headers:
            if await self._keyring.has_key(header.origin, header.key_id, now):
                return
        failure: Exception | None = None
        for header in headers:
            self._rate_limits.check("key_lookup", caller)
            try:
                await self._keyring.verify_keys_for(header.origin, header.key_id, now)
            except (BadSignature, FederationFailure) as error:
                failure = error
            else:
                return
        raise _unverified(headers, failure)

    async def _read_body(self, request: web.Request, caller: str) -> bytes:
        if not request.can_read_body:
            return b""
        most = request.client_max_size
        size = min(request.content_length or most, most)
        with self._bodies.receiving(caller, size):
            try:
                async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                    return await read_body(request)
            except TimeoutError as error:
                raise RequestTimeout("The request's body did not arrive in time") from error

    async def _verified(
        self, request: web.Request, headers: list[XMatrix], caller: str, body: bytes
    ) -> JsonObject | None:
        """Verify the signature; the content, where that had to be parsed for it.

        Most servers send the bytes that they signed.  Of others the body is written again as it
        was signed: that is much work for nothing if the signature is bad.
        """
        failure = await self._verify(request, headers, body or None)
        if failure is None:
            return None if body else {}
        if not body:
            raise _unverified(headers, failure)
        cost = weight(body)
        if cost > MAX_UNVERIFIED_WEIGHT:
            raise _unverified(headers, failure)
        self._rate_limits.check("unverified_weight", caller, cost)
        content = _parsed(body)
        try:
            canonical = encode_canonical_json(content)
        except NotCanonical as error:
            raise BadJson(f"The body has no canonical JSON: {error}") from error
        failure = await self._verify(request, headers, canonical)
        if failure is not None:
            raise _unverified(headers, failure)
        self._rate_limits.refund("unverified_weight", caller, cost)
        return content

    async def _verify(
        self, request: web.Request, headers: list[XMatrix], content: bytes | None
    ) -> Exception | None:
        """Any one good signature will do; why there is none."""
        failure: Exception | None = None
        for header in headers:
            message = signed_bytes(
                method=request.method,
                uri=request.raw_path,
                origin=header.origin,
                destination=header.destination,
                content=content,
            )
            try:
                await self._keyring.verify_signature(
                    header.origin,
                    header.key_id,
                    message,
                    decode_base64(header.signature),
                    self._clock_ms(),
                )
            except (BadSignature, FederationFailure, ValueError) as error:
                failure = error
            else:
                return None
        return failure


def _unverified(headers: list[XMatrix], failure: Exception | None) -> Unauthorized:
    logger.info("request refused", origin=headers[0].origin, reason=str(failure)[:MAX_REASON])
    return Unauthorized(f"The request's signature was not verified: {failure}")


def _parsed(body: bytes) -> JsonObject:
    content = parse_json(body)
    if not isinstance(content, dict):
        raise BadJson("The body must be a JSON object")
    return content


AUTHENTICATOR = web.AppKey("AUTHENTICATOR", Authenticator)


async def authenticate_request(request: web.Request) -> str:
    """Verify a request; sets ``request[ORIGIN]`` and ``request[CONTENT]``, returns the origin."""
    return await request.app[AUTHENTICATOR].authenticate(request)


def take_turn(request: web.Request) -> AbstractAsyncContextManager[None]:
    """A verified request's turn among those of its instance.  Entering it may raise
    :class:`LimitExceeded`."""
    return request.app[AUTHENTICATOR].turn(request)
