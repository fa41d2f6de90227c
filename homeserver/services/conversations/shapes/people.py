"""People: everywhere an address, such as ``bob@other.example``."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import InvalidIdentifier, UserId, parse_address
from homeserver.services.conversations.shapes.base import Input, Shape

MAX_NOTE_LENGTH = 1_000
MAX_NAME_LENGTH = 256
MAX_STATUS_LENGTH = 1_000

Note = Annotated[str, Meta(max_length=MAX_NOTE_LENGTH)]


class Person(Shape, frozen=True, kw_only=True):
    """Somebody, as the caller may see them."""

    address: str
    name: str | None = None
    avatar: str | None = None  # a media ID
    is_local: bool = True


class Profile(Shape, frozen=True, kw_only=True):
    """Somebody, and what the caller has to do with them."""

    person: Person
    is_contact: bool = False
    is_blocked: bool = False
    note: str | None = None
    time_zone: str | None = None


class Me(Shape, frozen=True, kw_only=True):
    """The caller."""

    person: Person
    status_text: str | None = None
    time_zone: str | None = None


class MyChanges(Input, frozen=True, kw_only=True):
    """What to change about oneself: what is not named stays; null takes it away."""

    name: Annotated[str, Meta(max_length=MAX_NAME_LENGTH)] | UnsetType | None = UNSET
    avatar: Annotated[str, Meta(max_length=512)] | UnsetType | None = UNSET
    status_text: Annotated[str, Meta(max_length=MAX_STATUS_LENGTH)] | UnsetType | None = UNSET
    time_zone: Annotated[str, Meta(max_length=100)] | UnsetType | None = UNSET


class Contact(Shape, frozen=True, kw_only=True):
    """Somebody who may write to the caller.  ``note``: the caller's own."""

    person: Person
    note: str | None = None
    since: str | None = None


class NewContact(Input, frozen=True, kw_only=True):
    """A contact to be added or changed; ``note`` null takes the note away."""

    note: Note | UnsetType | None = UNSET


class Blocked(Shape, frozen=True, kw_only=True):
    """Somebody whom the caller has blocked."""

    person: Person
    since: str | None = None


class PeopleQuery(Input, frozen=True, kw_only=True):
    """Whom to find: the beginnings of words of their name or address."""

    query: Annotated[str, Meta(min_length=1, max_length=255)]
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: str | None = None


class ListQuery(Input, frozen=True, kw_only=True):
    """A part of a list."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: str | None = None


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
