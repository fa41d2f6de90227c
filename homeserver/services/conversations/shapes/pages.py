"""Lists in pages, and the cursors between them."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Generic, TypeVar

import msgspec
import orjson

from homeserver.errors import InvalidParam

T = TypeVar("T")

DEFAULT_LIMIT = 50
MOST_PER_PAGE = 100
MAX_CURSOR_LENGTH = 1_000
MOST_INTEGER = 2**63 - 1


class Page(msgspec.Struct, Generic[T], kw_only=True, frozen=True):
    """A part of a list.  ``next``: the cursor of the part after it; null at the end."""

    items: list[T]
    next: str | None = None


def make_cursor(*parts: Any) -> str:
    """An opaque cursor that bears JSON values."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def parse_cursor(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """The values of a cursor that :func:`make_cursor` made, of these types.

    Raises :class:`InvalidParam` for any other text.
    """
    try:
        if len(cursor) > MAX_CURSOR_LENGTH:
            raise ValueError
        parts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(parts, list) or len(parts) != len(kinds):
            raise ValueError
        if not all(type(part) is kind for part, kind in zip(parts, kinds, strict=True)):
            raise ValueError
        if not all(map(_can_be_asked_for, parts)):
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise InvalidParam("'cursor' is none that this API gave") from error
    return tuple(parts)


def _can_be_asked_for(part: object) -> bool:
    """Whether the database has such values."""
    if isinstance(part, str):
        return "\0" not in part
    return not isinstance(part, int) or abs(part) <= MOST_INTEGER
