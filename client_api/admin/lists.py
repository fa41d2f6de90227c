"""What lists of the admin API take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from homeserver.services.conversations.shapes.pages import MAX_CURSOR_LENGTH, Page

T = TypeVar("T")

MOST_PER_PAGE = 500

Limit = Annotated[int, Meta(ge=1, le=MOST_PER_PAGE, description="How many a page has at most")]
Cursor = Annotated[
    str, Meta(max_length=MAX_CURSOR_LENGTH, description="``next`` of the page before")
]
Text = Annotated[str, Meta(max_length=255, pattern="^[^\\x00]*$")]
Flag = Annotated[bool, Meta(description="Only those of which it is true, or only the others")]


class ListQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which part of a list is wanted."""

    limit: Limit = 100
    cursor: Cursor | None = None


def page(rows: Sequence[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """A page; there may be more after a full one."""
    more = len(rows) >= limit and len(rows) > 0
    return Page(items=list(rows), next=cursor(rows[-1]) if more else None)
