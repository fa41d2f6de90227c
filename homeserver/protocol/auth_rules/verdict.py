"""What the rules say of an event."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowed:
    """The event is authorised."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The event is not authorised; ``reason`` is safe to show."""

    reason: str


Verdict = Allowed | Rejected
ALLOWED = Allowed()
