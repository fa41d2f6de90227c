"""Server names and server access control lists.

Spec: appendices, server name; client-server API, ``m.room.server_acl``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct

from homeserver.protocol.glob_index import GlobIndex

MAX_DNS_NAME_LENGTH = 255
MAX_VERDICTS = 4_096
MAX_SERVER_NAME_LENGTH = MAX_DNS_NAME_LENGTH + len(":65535")

WITH_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
DOTTED_QUAD = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", re.ASCII)
DNS_NAME = re.compile(r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*", re.ASCII)
STARS = re.compile(r"\*+")
IPV6_CHARACTERS = re.compile(r"[0-9A-Fa-f:.]{2,45}", re.ASCII)


class InvalidIdentifier(ValueError):
    """The text is not an identifier of the kind that it was taken for."""


class ServerName(Struct, frozen=True):
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


def host_of(server_name: str) -> str:
    """A server name without its port; what is no server name is given back as it is."""
    parsed = _parse(server_name)
    return parsed.host if parsed is not None else server_name


class ServerAcl:
    """The content of an ``m.room.server_acl`` event, ready to be asked for every event received.

    Rooms list thousands of servers, so a verdict is remembered.  The port is not considered;
    patterns that are not strings are ignored.
    """

    __slots__ = ("_allow", "_allow_ip_literals", "_deny", "_verdicts")

    def __init__(self, content: Mapping[str, Any]) -> None:
        # "Defaults to true if missing or otherwise not a boolean."
        self._allow_ip_literals = content.get("allow_ip_literals") is not False
        self._allow = _index(content.get("allow"))
        self._deny = _index(content.get("deny"))
        self._verdicts: dict[str, bool] = {}

    def allows(self, server_name: str) -> bool:
        """Whether a server may take part."""
        name = _parse(server_name)
        if name is None:
            return False
        verdict = self._verdicts.get(name.host)
        if verdict is None:
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            verdict = self._verdicts[name.host] = self._judge(name)
        return verdict

    def _judge(self, name: ServerName) -> bool:
        """Rules 2 to 5."""
        if name.is_ip_literal and not self._allow_ip_literals:
            return False
        host = name.host.lower()
        return self._deny.find(host) is None and self._allow.find(host) is not None


def server_allowed_by_acl(server_name: str, acl: Mapping[str, Any]) -> bool:
    """Whether an access control list allows a server; see :class:`ServerAcl` for many servers."""
    return ServerAcl(acl).allows(server_name)


def _index(value: object) -> GlobIndex[bool]:
    """The patterns that are short enough to match any server name, in lower case."""
    if not isinstance(value, list):
        return GlobIndex(())
    return GlobIndex(
        (STARS.sub("*", pattern.lower()), True)
        for pattern in value
        if isinstance(pattern, str) and len(pattern) - pattern.count("*") <= MAX_DNS_NAME_LENGTH
    )
