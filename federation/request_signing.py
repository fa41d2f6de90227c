"""What a signature of a request covers, and the header that carries it, written and read.

Spec: server-server API, request authentication.
"""

from __future__ import annotations

import re

import orjson
from msgspec import Struct

from homeserver.protocol.signing import SigningKey

SCHEME = "x-matrix"

# RFC 9110, 5.6.2 and 5.6.4; colons too, "for compatibility with older servers"
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z:/=]*"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = re.compile(
    rf"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*({_QUOTED}|{_TOKEN})[ \t]*(?:,|\Z)",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
MAX_HEADER_LENGTH = 4096


class BadHeader(ValueError):
    """An Authorization header is not of the X-Matrix scheme, or lacks something."""


class XMatrix(Struct, frozen=True):
    """The parameters of one X-Matrix header.  Servers before v1.3 name no destination."""

    origin: str
    key_id: str
    signature: str
    destination: str | None


def signed_bytes(
    *, method: str, uri: str, origin: str, destination: str | None, content: bytes | None
) -> bytes:
    """The canonical JSON that a request's signature covers; ``content`` is canonical already."""
    parts = [
        (b'"content":', content),
        (b'"destination":', orjson.dumps(destination) if destination is not None else None),
        (b'"method":', orjson.dumps(method)),
        (b'"origin":', orjson.dumps(origin)),
        (b'"uri":', orjson.dumps(uri)),
    ]
    return b"{" + b",".join(name + value for name, value in parts if value is not None) + b"}"


def authorization_header(
    key: SigningKey,
    *,
    method: str,
    uri: str,
    origin: str,
    destination: str,
    content: bytes | None,
) -> str:
    """Sign a request.  No spaces, lower-case names, no escapes: older servers need it so."""
    message = signed_bytes(
        method=method, uri=uri, origin=origin, destination=destination, content=content
    )
    return (
        f'X-Matrix origin="{origin}",destination="{destination}",'
        f'key="{key.key_id}",sig="{key.sign(message)}"'
    )


def parse_authorization(header: str) -> XMatrix:
    """Read an Authorization header.  Raises :class:`BadHeader`.

    Names in any case and order, values quoted or not, escapes undone, unknown ones ignored.
    """
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != SCHEME:
        raise BadHeader("the Authorization header is not of the X-Matrix scheme")
    if len(rest) > MAX_HEADER_LENGTH:
        raise BadHeader("the X-Matrix header is too long")
    found: dict[str, str] = {}
    at = 0
    while at < len(rest):
        match = _PARAMETER.match(rest, at)
        if match is None:
            raise BadHeader("the X-Matrix header cannot be read")
        name, value = match[1].lower(), match[2]
        if name in found:
            raise BadHeader(f"the X-Matrix header has '{name}' twice")
        found[name] = _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
        at = match.end()
    try:
        return XMatrix(found["origin"], found["key"], found["sig"], found.get("destination"))
    except KeyError as error:
        raise BadHeader(f"the X-Matrix header lacks {error}") from error
