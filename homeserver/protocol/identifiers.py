"""Identifiers: users, rooms, events, aliases, and addresses.

Spec: appendices, identifier grammar.  Each identifier is a ``str`` that was checked when it was
parsed, so that it goes everywhere a string does.  An *address*, ``bob@other.example``, is another
spelling of the user ID ``@bob:other.example``: people type and read addresses, the wire carries
IDs.
"""

from __future__ import annotations

import re
from typing import Self

from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.server_names import (
    InvalidIdentifier,
    ServerAcl,
    ServerName,
    is_valid_server_name,
    parse_server_name,
    server_allowed_by_acl,
)

__all__ = [
    "EventId",
    "InvalidIdentifier",
    "RoomAlias",
    "RoomId",
    "ServerAcl",
    "ServerName",
    "UserId",
    "glob_to_regex",
    "is_common_namespaced_identifier",
    "is_new_localpart",
    "is_opaque_identifier",
    "is_valid_server_name",
    "localpart_of",
    "parse_address",
    "parse_server_name",
    "server_allowed_by_acl",
    "server_name_of",
]

MAX_IDENTIFIER_BYTES = 255

NEW_LOCALPART = re.compile(r"[a-z0-9._=/+-]+")
COMPLIANT_LOCALPART = re.compile(r"[\x21-\x7e]+")
OPAQUE_IDENTIFIER = re.compile(r"[0-9A-Za-z._~-]{1,255}")
COMMON_NAMESPACED = re.compile(r"[a-z][a-z0-9._-]{0,254}")


def is_new_localpart(localpart: str) -> bool:
    """Whether a new account may have this localpart.

    Spec: appendices, user identifiers.
    """
    return NEW_LOCALPART.fullmatch(localpart) is not None


def is_opaque_identifier(text: str) -> bool:
    """Whether it is made of unreserved characters only, as our session and device IDs are.

    Spec: appendices, opaque identifiers.
    """
    return OPAQUE_IDENTIFIER.fullmatch(text) is not None


def is_common_namespaced_identifier(text: str) -> bool:
    """Whether it is a name such as ``m.replace`` or ``org.example.thing``.

    Spec: appendices, common namespaced identifier grammar.
    """
    return COMMON_NAMESPACED.fullmatch(text) is not None


def server_name_of(identifier: str) -> str:
    """What follows the first colon; nothing is checked.  Empty if there is no colon."""
    return identifier.partition(":")[2]


def localpart_of(identifier: str) -> str:
    """What is between the sigil and the first colon; nothing is checked."""
    return identifier.partition(":")[0][1:]


class _Identifier(str):
    """A sigil and a text: what all kinds have in common."""

    __slots__ = ()

    SIGIL = ""
    NOUN = "identifier"

    @property
    def localpart(self) -> str:
        """What is between the sigil and the first colon."""
        return localpart_of(self)

    @classmethod
    def _check(cls, text: object) -> str:
        """Check what all identifiers share; the text after the sigil."""
        if not isinstance(text, str):
            raise InvalidIdentifier(f"a {cls.NOUN} must be a string")
        if not text.startswith(cls.SIGIL):
            raise InvalidIdentifier(f"a {cls.NOUN} must start with '{cls.SIGIL}'")
        if "\0" in text:
            raise InvalidIdentifier(f"a {cls.NOUN} must not contain NUL")
        if _byte_length(text, cls.NOUN) > MAX_IDENTIFIER_BYTES:
            raise InvalidIdentifier(f"a {cls.NOUN} must be at most 255 bytes long")
        return text[1:]

    @classmethod
    def _check_server(cls, rest: str) -> None:
        _, colon, server_name = rest.partition(":")
        if not colon:
            raise InvalidIdentifier(f"a {cls.NOUN} must have the form '{cls.SIGIL}name:server'")
        if not is_valid_server_name(server_name):
            raise InvalidIdentifier(f"the {cls.NOUN} does not end in a valid server name")


def _byte_length(text: str, noun: str) -> int:
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidIdentifier(f"a {noun} must be valid Unicode") from error


class UserId(_Identifier):
    """``@localpart:server``.  Spec: appendices, user identifiers."""

    __slots__ = ()

    SIGIL = "@"
    NOUN = "user ID"

    @classmethod
    def parse(cls, text: object) -> Self:
        """A user ID of any age: the historical character set is accepted.

        Raises: :class:`InvalidIdentifier`.
        """
        cls._check_server(cls._check(text))
        return cls(text)

    @classmethod
    def parse_strict(cls, text: object) -> Self:
        """A user ID as a new account may have it.  Raises :class:`InvalidIdentifier`."""
        user_id = cls.parse(text)
        if not is_new_localpart(user_id.localpart):
            raise InvalidIdentifier(
                "a user name may contain only a-z, 0-9, '.', '_', '=', '-', '/' and '+'"
            )
        return user_id

    @property
    def server_name(self) -> str:
        """The server whose user it is."""
        return server_name_of(self)

    @property
    def address(self) -> str:
        """The same user, as people write it: ``bob@other.example``."""
        return f"{self.localpart}@{self.server_name}"

    @property
    def is_compliant(self) -> bool:
        """Whether it may be shown to clients outside the context of an event.

        Spec: appendices, historical user IDs.
        """
        return COMPLIANT_LOCALPART.fullmatch(self.localpart) is not None


def parse_address(text: object) -> UserId:
    """``bob@other.example`` or ``@bob:other.example``: the user ID that it means.

    Raises: :class:`InvalidIdentifier`.
    """
    if isinstance(text, str) and not (text.startswith("@") and ":" in text):
        localpart, at, server_name = text.rpartition("@")
        if not at or ":" in localpart:
            raise InvalidIdentifier("expected a user ID or an address such as bob@other.example")
        return UserId.parse(f"@{localpart}:{server_name}")
    return UserId.parse(text)


class RoomId(_Identifier):
    """``!opaque:server``, or from room version 12 ``!hash``.  Spec: appendices, room IDs."""

    __slots__ = ()

    SIGIL = "!"
    NOUN = "room ID"

    @classmethod
    def parse(cls, text: object) -> Self:
        """A room ID of either form.  Raises :class:`InvalidIdentifier`."""
        rest = cls._check(text)
        if ":" in rest:
            cls._check_server(rest)
        elif not rest:
            raise InvalidIdentifier("a room ID must not be empty")
        return cls(text)

    @property
    def server_name(self) -> str | None:
        """The server on which the room was created; None from room version 12."""
        return server_name_of(self) or None


class EventId(_Identifier):
    """``$opaque:server`` in room versions 1 and 2, ``$hash`` since.

    Spec: appendices, event IDs.
    """

    __slots__ = ()

    SIGIL = "$"
    NOUN = "event ID"

    @classmethod
    def parse(cls, text: object) -> Self:
        """An event ID of any form.  Raises :class:`InvalidIdentifier`."""
        rest = cls._check(text)
        if ":" in rest:
            cls._check_server(rest)
        elif not rest:
            raise InvalidIdentifier("an event ID must not be empty")
        return cls(text)

    @property
    def server_name(self) -> str | None:
        """The server that chose the ID; None from room version 3."""
        return server_name_of(self) or None


class RoomAlias(_Identifier):
    """``#localpart:server``.  Spec: appendices, room aliases."""

    __slots__ = ()

    SIGIL = "#"
    NOUN = "room alias"

    @classmethod
    def parse(cls, text: object) -> Self:
        """A room alias.  Raises :class:`InvalidIdentifier`."""
        cls._check_server(cls._check(text))
        return cls(text)

    @property
    def server_name(self) -> str:
        """The server that knows which room it stands for."""
        return server_name_of(self)
