"""The schema of the configuration, and what is wrong with a document, in plain words."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The JSON schema of the configuration."""
    text = resources.files("homeserver").joinpath("config.schema.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader=yaml_loader())
    return loaded


def yaml_loader() -> Any:
    """The quick YAML loader, where libyaml is there."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def leaves(node: dict[str, Any] | None = None, path: str = "") -> Iterator[tuple[str, Any]]:
    """``(dotted key, its schema)`` of every key that holds a value."""
    for name, child in (node or schema())["properties"].items():
        key = f"{path}.{name}" if path else name
        if child.get("type") == "object" and "properties" in child:
            yield from leaves(child, key)
        else:
            yield key, child


def check(document: dict[str, Any]) -> list[str]:
    """What is wrong with a document, a line each; empty if nothing is."""
    import jsonschema  # slow to import, and only needed at the start

    formats = jsonschema.FormatChecker(formats=())
    formats.checks("ip-network", raises=ValueError)(_is_network)
    validator = jsonschema.Draft202012Validator(schema(), format_checker=formats)
    return [
        line
        for error in sorted(validator.iter_errors(document), key=lambda e: list(map(str, e.path)))
        for line in _explain(error)
    ]


def _is_network(value: object) -> bool:
    return not isinstance(value, str) or bool(ipaddress.ip_network(value))


def _explain(error: Any) -> Iterator[str]:
    """A validation error in plain words: the key, what was found, what is allowed."""
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = list(error.schema.get("properties", {}))
        for name in error.instance:
            if name not in allowed:
                key = f"{path}.{name}" if path else str(name)
                near = difflib.get_close_matches(str(name), allowed, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(allowed)}"
                yield f"{key}: there is no such key; {hint}"
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        for name in missing:
            yield f"{path + '.' if path else ''}{name}: missing; it must be set"
    else:
        yield f"{path}: found {shown(error.instance)}; allowed: {_allowed(error)}"


def _allowed(error: Any) -> str:
    value = error.validator_value
    match error.validator:
        case "enum":
            return ", ".join(map(str, value))
        case "type":
            return " or ".join(value) if isinstance(value, list) else str(value)
        case "pattern":
            return f"{error.schema.get('description', 'text')} (it must match {value})"
        case "format":
            return "a network, as 10.0.0.0/8 or 2001:db8::/32, with no bits set behind its length"
        case "minimum" | "exclusiveMinimum":
            return f"at least {value}"
        case "maximum":
            return f"at most {value}"
        case _:
            return str(error.message)


def shown(value: Any) -> str:
    """A value as a complaint names it."""
    kind = {str: "the text", int: "the number", float: "the number", bool: "the switch"}
    word = kind.get(type(value), f"{type(value).__name__}")
    return f"{word} {str(value)[:60]!r}"
