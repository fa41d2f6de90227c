"""The clock and the dice, given to whoever needs them."""

from __future__ import annotations

import secrets
import time


def clock_ms() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


def random_id() -> str:
    """An unguessable opaque identifier."""
    return secrets.token_urlsafe(18)
