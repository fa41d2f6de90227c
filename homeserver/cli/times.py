"""Times for people."""

from __future__ import annotations

import time


def shown_time(at_ms: int | None) -> str:
    """A time (ms) in UTC; nothing for None."""
    if at_ms is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_ms / 1000))
