"""A signed request coming in: who sent it, and that it is meant for us.

Spec: server-server API, request authentication.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import hdrs, web

from federation.errors import FederationFailure
from federation.health import DestinationHealth
from federation.keyring import Keyring
from federation.request_signing import BadHeader, XMatrix, parse_authorization, signed_bytes
from federation.server_rules import ServerRules
from homeserver.errors import BadJson, Forbidden, MatrixError, Unauthorized
from homeserver.protocol.canonical import NotCanonical, decode_base64, encode_canonical_json
from homeserver.protocol.identifiers import is_valid_server_name
from homeserver.protocol.signing import BadSignature
from homeserver.services.rate_limits import RateLimits
from homeserver.services.server_throttle import ServerThrottle
from homeserver.web import parse_json, read_body

logger = structlog.get_logger(__name__)

ORIGIN = web.RequestKey("ORIGIN", str)
CONTENT = web.RequestKey("CONTENT", dict[str, Any])

MAX_HEADERS = 5
BODY_TIMEOUT_SECONDS = 60.0


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
        self._server_name = server_name
        self._keyring = keyring
        self._rules = rules
        self._health = health
        self._rate_limits = rate_limits
        self._throttle = throttle
        self._clock_ms = clock_ms

    async def authenticate(self, request: web.Request) -> str:
        """Verify a request and read its body; the name of the server that signed it.

        Raises: :class:`Unauthorized`; :class:`Forbidden` for a server on the deny list, before
        anything more is read; :class:`LimitExceeded`; what :func:`~homeserver.web.parse_json`
        raises.
        """
        headers = self._headers(request)
        origin = headers[0].origin
        if not self._rules.allows(origin):
            raise Forbidden("This server does not federate with yours")
        content, canonical = await _read_content(request)
        await self._verify(request, headers, canonical)
        self._health.heard_from(origin)
        self._rate_limits.check("federation", origin)
        self._throttle.check(origin)
        structlog.contextvars.bind_contextvars(origin=origin)
        request[ORIGIN] = origin
        request[CONTENT] = content
        return origin

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

    async def _verify(
        self, request: web.Request, headers: list[XMatrix], canonical: bytes | None
    ) -> None:
        """Any one good signature will do."""
        failure: Exception | None = None
        for header in headers:
            message = signed_bytes(
                method=request.method,
                uri=request.raw_path,
                origin=header.origin,
                destination=header.destination,
                content=canonical,
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
                return
        logger.info("request refused", origin=headers[0].origin, reason=str(failure))
        raise Unauthorized(f"The request's signature was not verified: {failure}") from failure


async def _read_content(request: web.Request) -> tuple[dict[str, Any], bytes | None]:
    """The body as an object, and as it was signed; none was signed if there is no body."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            body = await read_body(request)
    except TimeoutError as error:
        raise RequestTimeout("The request's body did not arrive in time") from error
    if not body:
        return {}, None
    content = parse_json(body)
    if not isinstance(content, dict):
        raise BadJson("The body must be a JSON object")
    try:
        return content, encode_canonical_json(content)
    except NotCanonical as error:
        raise BadJson(f"The body has no canonical JSON: {error}") from error


AUTHENTICATOR = web.AppKey("AUTHENTICATOR", Authenticator)


async def authenticate_request(request: web.Request) -> str:
    """Verify a request; sets ``request[ORIGIN]`` and ``request[CONTENT]``, returns the origin."""
    return await request.app[AUTHENTICATOR].authenticate(request)
