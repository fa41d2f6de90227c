"""People: everywhere an address, such as ``bob@other.example``."""

from __future__ import annotations

from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import InvalidIdentifier, UserId, parse_address
from homeserver.services.conversations.shapes.base import Shape


class Person(Shape, frozen=True, kw_only=True):
    """Somebody, as the caller may see them."""

    address: str
    name: str | None = None
    avatar: str | None = None  # a media ID
    is_local: bool = True


def address(user_id: str) -> str:
    """A user ID as an address: ``@bob:other.example`` is ``bob@other.example``."""
    localpart, _, server_name = user_id[1:].partition(":")
    return f"{localpart}@{server_name}"


def parse_person(text: object, name: str = "person") -> UserId:
    """The user ID that an address or a user ID means.  Raises :class:`InvalidParam`."""
    try:
        return parse_address(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"'{name}' must be an address such as bob@other.example") from error
