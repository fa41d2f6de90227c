"""The headers of the tus resumable upload protocol 1.0.0."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from aiohttp import hdrs, web

from client_api.conversations.answers import problem_answer
from homeserver.errors import MatrixError
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.uploads import ALGORITHMS, Checksum

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "checksum",
    "expiration",
    "concatenation",
)
CONTENT_TYPE = "application/offset+octet-stream"
RESUMABLE = "Tus-Resumable"
OVERRIDE = "X-HTTP-Method-Override"
LENGTH, OFFSET = "Upload-Length", "Upload-Offset"
DEFER_LENGTH = "Upload-Defer-Length"
METADATA = "Upload-Metadata"
CHECKSUM = "Upload-Checksum"
CONCAT = "Upload-Concat"
EXPIRES = "Upload-Expires"
MEDIA_ID = "Comity-Media-Id"
MAX_METADATA = 4_096
MAX_DIGITS = 18
PRECONDITION_FAILED = 412

CORS_HEADERS = {
    "Access-Control-Allow-Headers": ", ".join(
        (
            "Authorization",
            "Comity-User",
            "Content-Type",
            "X-Requested-With",
            RESUMABLE,
            OVERRIDE,
            LENGTH,
            OFFSET,
            DEFER_LENGTH,
            METADATA,
            CHECKSUM,
            CONCAT,
        )
    ),
    "Access-Control-Expose-Headers": ", ".join(
        (
            "Location",
            "Retry-After",
            RESUMABLE,
            "Tus-Version",
            "Tus-Extension",
            "Tus-Max-Size",
            "Tus-Checksum-Algorithm",
            LENGTH,
            OFFSET,
            DEFER_LENGTH,
            METADATA,
            CONCAT,
            EXPIRES,
            MEDIA_ID,
        )
    ),
}

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]


def discovery(max_bytes: int) -> dict[str, str]:
    """What OPTIONS tells."""
    return {
        **CORS_HEADERS,
        RESUMABLE: VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Max-Size": str(max_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        "Access-Control-Allow-Methods": "POST, GET, HEAD, PATCH, DELETE, OPTIONS",
    }


def in_tus(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose every answer, also a problem, has the headers of the protocol."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            response = await endpoint(request)
        except MatrixError as error:
            response = problem_answer(error)
            if error.status == PRECONDITION_FAILED:
                response.headers["Tus-Version"] = VERSION
        if not response.prepared:
            for name, value in {RESUMABLE: VERSION, **CORS_HEADERS}.items():
                response.headers.setdefault(name, value)
        return response

    return answer


def check_version(request: web.Request) -> None:
    """Raise :class:`Problem` ``unsupported_version`` unless the client speaks ours."""
    if request.headers.get(RESUMABLE) != VERSION:
        raise Problem(
            "unsupported_version",
            f"Say '{RESUMABLE}: {VERSION}'",
            status=PRECONDITION_FAILED,
        )


def method_of(request: web.Request) -> str:
    """The method that is meant.  Spec: tus, X-HTTP-Method-Override."""
    return request.headers.get(OVERRIDE, request.method).upper()


def number(request: web.Request, name: str) -> int | None:
    """A header that is a number of bytes; None if it is not there.  Raises :class:`Problem`."""
    text = request.headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise Problem("invalid_parameter", f"'{name}' must be a number of bytes")
    return int(text)


def content_length(request: web.Request) -> int | None:
    """The length of an upload as its creation says it; None if it comes later.

    Raises :class:`Problem`.
    """
    length = number(request, LENGTH)
    deferred = request.headers.get(DEFER_LENGTH)
    if (length is None) != (deferred == "1") or deferred not in (None, "1"):
        raise Problem("invalid_parameter", f"Say either '{LENGTH}' or '{DEFER_LENGTH}: 1'")
    return length


def metadata_of(text: str | None) -> dict[str, str]:
    """What an ``Upload-Metadata`` header says.  Raises :class:`Problem`."""
    found: dict[str, str] = {}
    if text is None or not text.strip():
        return found
    if len(text) > MAX_METADATA or not (text.isascii() and text.isprintable()):
        raise Problem(
            "invalid_parameter", f"'{METADATA}' may have {MAX_METADATA} characters of ASCII"
        )
    for pair in text.split(","):
        key, _, value = pair.strip().partition(" ")
        if not key or key in found:
            raise Problem("invalid_parameter", f"'{METADATA}' has an empty key, or one twice")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode("utf-8", "replace")
        except (ValueError, binascii.Error):
            raise Problem("invalid_parameter", f"'{METADATA}' has a value not in base64") from None
    return found


def checksum_of(request: web.Request) -> Checksum | None:
    """What the bytes of a request must hash to.  Raises :class:`Problem`."""
    text = request.headers.get(CHECKSUM)
    if text is None:
        return None
    algorithm, _, value = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise Problem("invalid_parameter", f"'{CHECKSUM}' takes one of {', '.join(ALGORITHMS)}")
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != hashlib.new(algorithm).digest_size:
        raise Problem("invalid_parameter", f"'{CHECKSUM}' has no digest in base64")
    return Checksum(algorithm, digest)


def concat_of(request: web.Request) -> tuple[bool, list[str] | None]:
    """Whether an upload is a part of another, and of which uploads it is to be joined.

    They are named by their addresses.  Raises :class:`Problem`.
    """
    text = request.headers.get(CONCAT)
    if text is None:
        return False, None
    if text == "partial":
        return True, None
    kind, semicolon, urls = text.partition(";")
    if kind != "final" or not semicolon:
        raise Problem("invalid_parameter", f"'{CONCAT}' must be 'partial' or 'final;' and uploads")
    return False, [url.rstrip("/").rpartition("/")[2] for url in urls.split()]


def check_body_type(request: web.Request) -> None:
    """Raise :class:`Problem` ``unsupported_media_type`` for bytes of another type than tus'."""
    if request.headers.get(hdrs.CONTENT_TYPE) != CONTENT_TYPE:
        raise Problem("unsupported_media_type", f"Send '{CONTENT_TYPE}'", status=415)


def http_date(ms: int) -> str:
    """A time in ms as HTTP writes it."""
    return formatdate(ms / 1000, usegmt=True)
