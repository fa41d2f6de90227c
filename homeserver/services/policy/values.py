"""Values in rules, read; what is wrong with one is said in plain words, with its key."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
MAX_LIST = 10_000  # values written in a rule; more belong in a file
MAX_LINES = 2_000_000
MAX_LINE_LENGTH = 4_096
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")


class BadValue(Exception):
    """A value that cannot be used."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"{key}: {text}")
        self.key = key
        self.text = text


def shown(value: Any) -> str:
    """A value as an admin may recognise it."""
    kinds = {str: "the text ", int: "the number ", float: "the number ", bool: "the switch "}
    return f"{kinds.get(type(value), '')}{str(value)[:60]!r}"


def bad(key: str, value: Any, allowed: str) -> BadValue:
    """A wrong value, in the words of the rest of the configuration."""
    return BadValue(key, f"found {shown(value)}; allowed: {allowed}")


def text(key: str, value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise bad(key, value, "a text (put it in quotes)")
    return value


def texts(key: str, value: Any) -> list[str]:
    """One text or a list of them."""
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > MAX_LIST:
        raise BadValue(key, f"found {len(values)} values; allowed: 1 to {MAX_LIST}")
    return [text(key, one) for one in values]


def choice(key: str, value: Any, allowed: Sequence[str]) -> str:
    """One of a few words."""
    if value not in allowed or not isinstance(value, str):
        raise bad(key, value, ", ".join(allowed))
    return value


def choices(key: str, value: Any, allowed: Sequence[str]) -> frozenset[str]:
    """One or several of a few words."""
    return frozenset(choice(key, one, allowed) for one in texts(key, value))


def switch(key: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise bad(key, value, "true, false")
    return value


def whole_number(key: str, value: Any, least: int, most: int) -> int:
    """A whole number between two others."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise bad(key, value, f"a whole number from {least} to {most}")
    return value


def duration(key: str, value: Any) -> int:
    """A time such as ``90s``, ``10m``, ``12h``, ``7d`` or ``2w``, in seconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise bad(key, value, "a time such as 90s, 10m, 12h, 7d or 2w")
    return int(match[1]) * UNIT_SECONDS[match[2]]


def mapping(key: str, value: Any, allowed: Sequence[str]) -> dict[str, Any]:
    """Keys and values, of which at least one is given and none is unknown."""
    if not isinstance(value, dict) or not value:
        raise bad(key, value, f"keys and values, of {', '.join(allowed)}")
    for name in value:
        if name not in allowed:
            raise BadValue(f"{key}.{name}", f"there is no such key; allowed: {', '.join(allowed)}")
    return value


class Bounds(Struct, frozen=True):
    """From ``least`` to ``most``, both included."""

    least: int
    most: int

    def __contains__(self, number: int) -> bool:
        return self.least <= number <= self.most


NO_END = 2**53 - 1


def bounds(key: str, value: Any) -> Bounds:
    """``{min: n, max: n}``, one of which may be left out."""
    given = mapping(key, value, ("min", "max"))
    least = whole_number(f"{key}.min", given.get("min", 0), 0, NO_END)
    most = whole_number(f"{key}.max", given.get("max", NO_END), 0, NO_END)
    if least > most:
        raise BadValue(key, f"found min {least} above max {most}; allowed: min up to max")
    return Bounds(least, most)


def listed(key: str, value: Any, base: Path, parse: Callable[[str, str], str]) -> list[str]:
    """A list of texts, or ``{file: path}`` with one a line; ``#`` begins a remark.

    ``parse`` checks and normalises one: it takes the key to complain about and the text.
    """
    if not isinstance(value, dict):
        return [parse(key, one) for one in texts(key, value)]
    path = file_path(key, value, base)
    found = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                entry = line.strip()
                if not entry or entry.startswith("#"):
                    continue
                place = f"{key}.file: {path}:{number}"
                if number > MAX_LINES or len(entry) > MAX_LINE_LENGTH:
                    raise BadValue(place, f"allowed: {MAX_LINES} lines of {MAX_LINE_LENGTH}")
                found.append(parse(place, entry))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise BadValue(f"{key}.file", f"{path}: {reason}") from error
    return found


def file_path(key: str, value: Any, base: Path) -> Path:
    """The path in ``{file: path}``, from the configuration's directory."""
    given = mapping(key, value, ("file",))
    return base / Path(text(f"{key}.file", given["file"])).expanduser()
