"""Messages that end by themselves: the fields in an event's content that say so.

Comity's own extension, documented in ``docs/retention.md``.  The fields stand beside the
ciphertext of an encrypted message, since the servers have to read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

EXPIRES = ("dev.comity.expires", "expires")
VIEW_ONCE = ("dev.comity.view_once", "view_once")
LEAST_MS = 1_000
MOST_MS = 365 * 24 * 3_600_000
# What is to be viewed once ends at last when so much time has passed, seen or not.
VIEW_ONCE_MS = 30 * 24 * 3_600_000
STARTS = ("sent", "read")


class BadEnd(ValueError):
    """A field does not say what it must; the text says what is allowed."""


class MessageEnd(Struct, frozen=True):
    """When a message ends.  ``after_ms``: after it was sent, or first read; None: no timer."""

    after_ms: int | None
    from_read: bool
    view_once: bool


def ends(content: Mapping[str, Any]) -> bool:
    """Whether a content has any of the fields: the quick look that every message gets."""
    return (
        "dev.comity.expires" in content
        or "dev.comity.view_once" in content
        or "expires" in content
        or "view_once" in content
    )


def parse_message_end(content: Mapping[str, Any]) -> MessageEnd | None:
    """What a content says of its end; None where it says nothing.

    Raises :class:`BadEnd`.
    """
    expires = _first(content, EXPIRES, dict)
    once = _first(content, VIEW_ONCE, bool)
    if expires is None:
        return MessageEnd(None, False, True) if once else None
    after_ms, start = expires.get("after_ms"), expires.get("from", "sent")
    if type(after_ms) is not int or not LEAST_MS <= after_ms <= MOST_MS:
        raise BadEnd(f"'after_ms' must be an integer from {LEAST_MS} to {MOST_MS}")
    if start not in STARTS:
        raise BadEnd("'from' must be sent or read")
    return MessageEnd(after_ms, start == "read", bool(once))


def message_end(content: Mapping[str, Any]) -> MessageEnd | None:
    """The same of another instance's message: what is malformed says nothing."""
    try:
        return parse_message_end(content)
    except BadEnd:
        return None


def _first(content: Mapping[str, Any], names: tuple[str, str], kind: type) -> Any:
    """The value under the first name that is there.

    The short spelling may be another application's: there, what does not look like ours is
    passed over.
    """
    own, short = names
    if own in content:
        if not isinstance(content[own], kind):
            raise BadEnd(f"'{own}' must be {'an object' if kind is dict else 'true or false'}")
        return content[own]
    value = content.get(short)
    if kind is dict:
        return value if isinstance(value, dict) and "after_ms" in value else None
    return value if isinstance(value, bool) else None
