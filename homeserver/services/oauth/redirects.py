"""Redirect URIs: which ones a client may register, and which of them a request may name.

They are what proves that a client is the one that it says it is.  Spec: client-server API, redirect
URI validation; RFC 8252, section 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit, urlunsplit

from authlib.common.urls import add_params_to_uri

WEB, NATIVE = "web", "native"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_LENGTH = 2_000


def parse(uri: str) -> SplitResult | None:
    """An address in its parts; None for what browsers and we might read differently."""
    if len(uri) > MAX_LENGTH or not uri.isascii() or not uri.isprintable():
        return None
    if any(letter in uri for letter in ' \\"<>^`{|}'):
        return None
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises for a port that is none
    except ValueError:
        return None
    return parts


def is_web_page(uri: str) -> bool:
    """Whether it is an https address without a user or a password."""
    parts = parse(uri)
    return (
        parts is not None
        and parts.scheme == "https"
        and bool(parts.hostname)
        and "@" not in parts.netloc
    )


def shares_host(uri: str, client_uri: str) -> bool:
    """Whether an address is on the host of the client's page, or beneath it."""
    host, base = urlsplit(uri).hostname or "", urlsplit(client_uri).hostname or ""
    return bool(base) and (host == base or host.endswith("." + base))


def may_register(uri: str, *, client_uri: str, application_type: str) -> bool:
    """Whether a client may have this redirect URI."""
    if "#" in uri:
        return False
    if is_web_page(uri):
        return shares_host(uri, client_uri)
    parts = parse(uri)
    if parts is None or application_type != NATIVE:
        return False
    if parts.scheme == "http":
        return parts.hostname in LOOPBACK and parts.netloc in ("localhost", "127.0.0.1", "[::1]")
    return _is_private_use(parts, uri, client_uri)


def _is_private_use(parts: SplitResult, uri: str, client_uri: str) -> bool:
    """Whether its scheme is the client's host in reverse, or begins with it."""
    host = urlsplit(client_uri).hostname or ""
    reverse = ".".join(reversed(host.split(".")))
    has_authority = uri[len(parts.scheme) :].startswith("://")
    owned = parts.scheme == reverse or parts.scheme.startswith(reverse + ".")
    return "." in reverse and owned and not has_authority


def is_registered(uri: str, registered: Sequence[str], application_type: str) -> bool:
    """Whether a request may name it: letter by letter, but for the port of a loopback address."""
    if uri in registered:
        return True
    parts = parse(uri)
    if (
        application_type != NATIVE
        or parts is None
        or parts.scheme != "http"
        or parts.hostname not in LOOPBACK
        or "@" in parts.netloc
    ):
        return False
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    without_port = urlunsplit(parts._replace(netloc=host))
    return uri.startswith("http://") and without_port in registered


def with_parameters(uri: str, parameters: dict[str, str], response_mode: str) -> str:
    """The address to which an answer goes."""
    pairs = list(parameters.items())
    return str(add_params_to_uri(uri, pairs, fragment=response_mode == "fragment"))
