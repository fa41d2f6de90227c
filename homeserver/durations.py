"""Durations as people write them: ``90s``, ``12h``, ``30d``."""

from __future__ import annotations

import re
from typing import Any

UNITS_MS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 24 * 3_600_000,
    "w": 7 * 24 * 3_600_000,
    "y": 365 * 24 * 3_600_000,
}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w|y)")


def parse_duration_ms(text: str) -> int:
    """A duration in ms.  Raises :class:`ValueError`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a number and ms, s, m, h, d, w or y")
    return int(match[1]) * UNITS_MS[match[2]]


def in_ms(section: dict[str, Any], *names: str) -> dict[str, Any]:
    """A section in which some keys are durations: ``max: 30d`` becomes ``max_ms``.

    None stays None.  Raises :class:`ValueError`.
    """
    durations = {
        f"{name}_ms": parse_duration_ms(section[name]) if section[name] is not None else None
        for name in names
    }
    return {name: value for name, value in section.items() if name not in names} | durations
