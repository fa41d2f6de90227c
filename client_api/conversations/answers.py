"""Answers of the Conversations API: JSON, ETags, problem details."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from aiohttp import hdrs, web

from homeserver.errors import LimitExceeded, MatrixError
from homeserver.services.conversations.problems import Problem, problem_json

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
PROBLEM_JSON = "application/problem+json"


def _plain(value: Any) -> Any:
    """A checked identifier is a text of its own type, which the encoder does not know."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encode(value: Any) -> bytes:
    """A shape as JSON."""
    return _encoder.encode(value)


def etag_of(body: bytes) -> str:
    """The strong ETag of a representation, without its quotes."""
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def json_answer(value: Any, *, status: int = 200) -> web.Response:
    """A shape as an answer."""
    return web.Response(body=encode(value), status=status, content_type="application/json")


def tagged_answer(request: web.Request, value: Any) -> web.Response:
    """The answer to a GET, with its ETag; 304 where the caller has it (RFC 9110, 13.1.2)."""
    return tagged_bytes(request, encode(value), "application/json")


def tagged_bytes(
    request: web.Request, body: bytes, content_type: str, extra: Mapping[str, str] = NO_HEADERS
) -> web.Response:
    """Bytes as the answer to a GET, with their ETag."""
    tag = etag_of(body)
    headers = {**extra, hdrs.ETAG: f'"{tag}"', hdrs.CACHE_CONTROL: "private, no-cache"}
    if any(known.value in (tag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    charset = "utf-8" if content_type.startswith("text/") else None
    return web.Response(body=body, content_type=content_type, charset=charset, headers=headers)


def check_unchanged(request: web.Request, current: Any) -> None:
    """Raise :class:`Problem` ``precondition_failed`` if the caller knew another representation.

    ``current``: what a GET answers now.  Spec: RFC 9110, section 13.1.1.
    """
    known = request.if_match
    if known and not any(tag.value in (etag_of(encode(current)), "*") for tag in known):
        raise Problem(
            "precondition_failed", "It has changed since you read it: read it again", status=412
        )


def problem_answer(error: MatrixError) -> web.Response:
    """A failure as problem details.  Spec: RFC 9457."""
    headers = {}
    if isinstance(error, LimitExceeded):
        headers[hdrs.RETRY_AFTER] = str(-(-error.extra["retry_after_ms"] // 1000))
    if error.status == 401:
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return web.Response(
        body=encode(problem_json(error)),
        status=error.status,
        content_type=PROBLEM_JSON,
        headers=headers,
    )
