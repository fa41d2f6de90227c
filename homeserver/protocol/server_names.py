"""Server names and server access control lists.

Spec: appendices, server name; client-server API, ``m.room.server_acl``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from homeserver.protocol.globs import glob_to_regex

MAX_DNS_NAME_LENGTH = 255
MAX_SERVER_NAME_LENGTH = MAX_DNS_NAME_LENGTH + len(":65535")

WITH_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
DOTTED_QUAD = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", re.ASCII)
DNS_NAME = re.compile(r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*", re.ASCII)
STARS = re.compile(r"\*+")
IPV6_CHARACTERS = re.compile(r"[0-9A-Fa-f:.]{2,45}", re.ASCII)


class InvalidIdentifier(ValueError):
    """The text is not an identifier of the kind that it was taken for."""


@dataclass(frozen=True, slots=True)
class ServerName:
    """A server name in its parts; an IPv6 host keeps its brackets."""

    host: str
    port: int | None = None

    @property
    def is_ip_literal(self) -> bool:
        """Whether the host is an IPv4 or IPv6 address."""
        return self.host.startswith("[") or DOTTED_QUAD.fullmatch(self.host) is not None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


def _parse(text: str) -> ServerName | None:
    # Long texts would fill the cache with what somebody made up.
    return _parse_short(text) if len(text) <= MAX_SERVER_NAME_LENGTH else None


@lru_cache(maxsize=16_384)
def _parse_short(text: str) -> ServerName | None:
    found = WITH_PORT.fullmatch(text)
    if found is None or not _is_host(found["host"]):
        return None
    return ServerName(found["host"], int(found["port"]) if found["port"] else None)


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return _is_ipv6(host[1:-1])
    if DOTTED_QUAD.fullmatch(host):
        return all(int(number) <= 255 for number in host.split("."))
    return len(host) <= MAX_DNS_NAME_LENGTH and DNS_NAME.fullmatch(host) is not None


def _is_ipv6(text: str) -> bool:
    if not IPV6_CHARACTERS.fullmatch(text):
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def parse_server_name(text: object) -> ServerName:
    """Split a server name into host and port.

    Raises: :class:`InvalidIdentifier`.  Spec: appendices, server name.
    """
    parsed = _parse(text) if isinstance(text, str) else None
    if parsed is None:
        raise InvalidIdentifier("not a valid server name")
    return parsed


def is_valid_server_name(text: object) -> bool:
    """Whether it is a server name."""
    return isinstance(text, str) and _parse(text) is not None


def server_allowed_by_acl(server_name: str, acl: Mapping[str, Any]) -> bool:
    """Whether the content of an ``m.room.server_acl`` event lets a server take part.

    The port is not considered.  Patterns that are not strings are ignored.
    """
    name = _parse(server_name)
    if name is None:
        return False
    # Rule 2; "defaults to true if missing or otherwise not a boolean"
    if acl.get("allow_ip_literals") is False and name.is_ip_literal:
        return False
    # Rules 3, 4 and 5
    return not _any_matches(acl.get("deny"), name.host) and _any_matches(
        acl.get("allow"), name.host
    )


def _any_matches(patterns: object, host: str) -> bool:
    return isinstance(patterns, list) and any(
        glob_to_regex(STARS.sub("*", pattern), ignore_case=True).match(host)
        for pattern in patterns
        if isinstance(pattern, str) and _can_match(pattern)
    )


def _can_match(pattern: str) -> bool:
    """Whether a pattern is short enough to match any server name; others are not compiled."""
    return len(pattern) - pattern.count("*") <= MAX_DNS_NAME_LENGTH
