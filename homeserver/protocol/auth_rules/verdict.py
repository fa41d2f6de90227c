"""What the rules say of an event."""

from __future__ import annotations

from msgspec import Struct


class Allowed(Struct, frozen=True):
    """The event is authorised."""


class Rejected(Struct, frozen=True):
    """The event is not authorised; ``reason`` is safe to show."""

    reason: str


Verdict = Allowed | Rejected
ALLOWED = Allowed()
