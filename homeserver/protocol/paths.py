"""Paths to a property of an event, such as ``content.m\\.relates_to.rel_type``.

Spec: appendices, dot-separated property paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.protocol.json_types import JsonObject


def split_path(path: str) -> tuple[str, ...]:
    """The property names of a path."""
    if "\\" not in path:
        return tuple(path.split("."))
    names = []
    name: list[str] = []
    position = 0
    while position < len(path):
        character = path[position]
        if character == "\\" and path[position + 1 : position + 2] in (".", "\\"):
            position += 1
            name.append(path[position])
        elif character == ".":
            names.append("".join(name))
            name = []
        else:
            name.append(character)
        position += 1
    names.append("".join(name))
    return tuple(names)


def get_path(value: Mapping[str, Any], path: tuple[str, ...], default: Any = None) -> Any:
    """The property at a path, or the default if there is none."""
    found: Any = value
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return default
        found = found[name]
    return found


def set_path(value: JsonObject, path: tuple[str, ...], item: Any) -> None:
    """Put a property in place, with the objects on the way to it."""
    for name in path[:-1]:
        below = value.get(name)
        if not isinstance(below, dict):
            below = value[name] = {}
        value = below
    value[path[-1]] = item
