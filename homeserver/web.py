"""JSON over HTTP: what both edges (``client_api`` and ``federation``) share.

Handlers read with :func:`read_json`, answer with :func:`json_response`, and raise
:class:`~homeserver.errors.MatrixError`; the middlewares here turn that into JSON once, give every
request an ID, and let browsers in (CORS).
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import accumulate
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs

import orjson
import structlog
from aiohttp import hdrs, web

from homeserver.errors import (
    BadJson,
    InvalidParam,
    LimitExceeded,
    MatrixError,
    MissingParam,
    NotJson,
    TooLarge,
    Unrecognized,
)
from homeserver.metrics import observe_request
from homeserver.storage.database import is_unstorable

logger = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")

MAX_JSON_DEPTH = 100
LARGE_BYTES = 65_536
MOST_FORM_FIELDS = 100
CLIENT_GONE = 499  # the status in the log of what nobody waited for
STEPS = bytes.maketrans(b"{}[]", b"\x01\xff\x01\xff")  # as signed bytes: one down, one up
NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{}[]")

CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS",
    "Access-Control-Allow-Headers": (
        "X-Requested-With, Content-Type, Authorization, Date, If-Match, If-None-Match, "
        "Idempotency-Key, Comity-User"
    ),
    "Access-Control-Expose-Headers": "ETag, Retry-After, Location, Idempotency-Replayed",
}

REQUEST_ID = web.RequestKey("request_id", str)
# How failures are told beneath a path: by its prefix.  Elsewhere they are told as Matrix does.
ErrorFormats = Mapping[str, Callable[[MatrixError], web.Response]]
ERROR_FORMATS: web.AppKey[ErrorFormats] = web.AppKey("ERROR_FORMATS")


# ---------------------------------------------------------------- answering


def json_response(body: Any, *, status: int = 200) -> web.Response:
    """A JSON answer.  ``body`` may hold ``orjson.Fragment`` for what is serialised already."""
    return web.Response(
        body=orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS),
        status=status,
        content_type="application/json",
    )


def error_response(error: MatrixError) -> web.Response:
    """The standard error response for a failure."""
    response = json_response(error.to_json(), status=error.status)
    if isinstance(error, LimitExceeded):
        response.headers[hdrs.RETRY_AFTER] = str(-(-error.extra["retry_after_ms"] // 1000))
    return response


# ---------------------------------------------------------------- reading


def parse_json(body: bytes) -> Any:
    """Parse JSON, refusing what is not UTF-8, not JSON, or nested too deeply.

    Raises: :class:`NotJson`, :class:`BadJson`.
    """
    brackets = body.count(b"[") + body.count(b"{")
    depth = _depth(body) if brackets > MAX_JSON_DEPTH else brackets
    try:
        value = _loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"The body is not valid JSON: {error.msg}") from error
    if depth > MAX_JSON_DEPTH:
        raise BadJson(f"The JSON is nested more than {MAX_JSON_DEPTH} levels deep")
    return value


def _loads(body: bytes) -> Any:
    """Parse; without the garbage collector, which goes over what was parsed time and again."""
    if len(body) < LARGE_BYTES or not gc.isenabled():
        return orjson.loads(body)
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        gc.enable()


def _depth(body: bytes) -> int:
    """How deep JSON is nested, in time that depends on its length alone; anything if it is none."""
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = b"".join(plain.split(b'"')[::2])
    steps = memoryview(outside_strings.translate(STEPS, NO_BRACKETS)).cast("b")
    return max(accumulate(steps), default=0)


async def read_body(request: web.Request) -> bytes:
    """The whole body, up to the application's ``client_max_size``."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge("The request body is too large") from error


async def read_json(request: web.Request, *, optional: bool = False) -> dict[str, Any]:
    """The body, which must be a JSON object; ``{}`` for an empty one if ``optional``."""
    body = await read_body(request)
    if not body and optional:
        return {}
    value = parse_json(body)
    if not isinstance(value, dict):
        raise BadJson("The body must be a JSON object")
    return value


async def read_form_fields(request: web.Request) -> dict[str, list[str]]:
    """A form's fields, each as often as it is there; the body, whatever it says that it is.

    Raises :class:`InvalidParam` for what is none, :class:`TooLarge`.
    """
    try:
        text = (await read_body(request)).decode()
        fields = parse_qs(
            text, max_num_fields=MOST_FORM_FIELDS, keep_blank_values=True, errors="strict"
        )
    except ValueError as error:
        raise InvalidParam("That is no form, or has too many fields") from error
    if any("\0" in value for values in fields.values() for value in values):
        raise InvalidParam("A field has a NUL character")
    return fields


_TYPE_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    dict: "an object",
    list: "an array",
}


def optional(body: dict[str, Any], key: str, kind: type[T], default: T | None = None) -> T | None:
    """``body[key]`` if it is there and not null; :class:`BadJson` if it has another type."""
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadJson(f"'{key}' must be {_TYPE_NAMES.get(kind, kind.__name__)}")
    return value


def required(body: dict[str, Any], key: str, kind: type[T]) -> T:
    """``body[key]``; :class:`MissingParam` if absent, :class:`BadJson` if of another type."""
    value = optional(body, key, kind)
    if value is None:
        raise MissingParam(f"'{key}' is required")
    return value


def string_list(body: dict[str, Any], key: str) -> list[str]:
    """``body[key]`` as a list of strings; empty if absent."""
    values = cast("list[Any]", optional(body, key, list, []))
    if not all(isinstance(value, str) for value in values):
        raise BadJson(f"'{key}' must be an array of strings")
    return values


def query_int(
    request: web.Request, key: str, default: int, *, least: int = 0, most: int = 2**53 - 1
) -> int:
    """An integer of the query string, refused below ``least`` and cut to ``most``."""
    text = request.query.get(key)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError as error:
        raise InvalidParam(f"'{key}' must be an integer") from error
    if value < least:
        raise InvalidParam(f"'{key}' must be at least {least}")
    return min(value, most)


def query_bool(request: web.Request, key: str, default: bool = False) -> bool:
    """A boolean of the query string: ``true`` or ``false``."""
    text = request.query.get(key)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise InvalidParam(f"'{key}' must be true or false")
    return text == "true"


# ---------------------------------------------------------------- middlewares


@web.middleware
async def cors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let browsers of any origin in.  Spec: client-server API, web browser clients.

    A route of its own for OPTIONS has more to tell.
    """
    own = request.match_info.route.method == hdrs.METH_OPTIONS
    if request.method == hdrs.METH_OPTIONS and not own:
        return web.Response(status=200, headers=CORS_HEADERS)
    return await handler(request)


async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """An ``on_response_prepare`` signal: CORS headers on every answer that has none of its own."""
    headers = response.headers
    if "Access-Control-Expose-Headers" not in headers:
        headers.update(CORS_HEADERS)
    else:
        headers.setdefault("Access-Control-Allow-Origin", "*")


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn failures into the spec's standard error response, or what the path's API has for it."""

    def told(error: MatrixError) -> web.Response:
        for prefix, tell in request.app.get(ERROR_FORMATS, {}).items():
            if request.path.startswith(prefix):
                return tell(error)
        return error_response(error)

    try:
        if "%00" in request.raw_path:
            raise InvalidParam("The path has a NUL character")
        return await handler(request)
    except MatrixError as error:
        return told(error)
    except web.HTTPNotFound:
        return told(Unrecognized("No such endpoint"))
    except web.HTTPMethodNotAllowed:
        return told(Unrecognized("This endpoint does not take that method", status=405))
    except web.HTTPRequestEntityTooLarge:
        return told(TooLarge("The request body is too large"))
    except web.HTTPException:
        raise
    except asyncio.CancelledError:
        raise
    except Exception as error:
        if isinstance(error, ConnectionError) and has_hung_up(request):
            return web.Response(status=CLIENT_GONE)  # nobody reads it
        if is_unstorable(error):
            return told(InvalidParam("The request has a NUL character where there must be none"))
        logger.exception("request failed")
        return told(
            MatrixError("Something went wrong on this server; it has been logged", status=500)
        )


def has_hung_up(request: web.Request) -> bool:
    """Whether the caller has closed the connection, as anybody may at any time."""
    return request.transport is None or request.transport.is_closing()


@web.middleware
async def request_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Bind a request ID, and log one line per request (never its query: it may bear a token)."""
    request_id = secrets.token_hex(6)
    request[REQUEST_ID] = request_id
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    started = time.perf_counter()
    status = CLIENT_GONE
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        seconds = time.perf_counter() - started
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "none"
        observe_request(request.method, route, status, seconds)
        logger.info(
            "request",
            method=request.method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 1),
        )
