"""Events within answers, held against the specification's schema of their type."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import orjson

from .bundle import document, validator, validator_of

Json = dict[str, Any]
VARIANTS = {"m.room.message": "msgtype"}
NEVER_UNSET = frozenset(("m.room.create", "m.room.member", "m.room.join_rules"))
NOT_HERE = frozenset(("to_device", "content"))
"""Device messages are the clients' own affair; what is within content is no event."""


@functools.cache
def _schemas() -> dict[str, str]:
    """The name of the schema of each type and variant (``m.room.message$m.text``)."""
    return {
        name: reference["$ref"].rpartition("/")[2]
        for name, reference in document()["events"].items()
    }


@functools.cache
def _content_validator(name: str) -> Any:
    schema = document()["components"]["schemas"][name]
    if "content" not in schema.get("properties", {}):
        return None
    return validator({"$ref": f"#/components/schemas/{name}/properties/content"})


def _schema_of(event_type: str, content: Any) -> str | None:
    variant = content.get(VARIANTS.get(event_type, "")) if isinstance(content, dict) else None
    schemas = _schemas()
    return schemas.get(f"{event_type}${variant}") or schemas.get(event_type)


def content_error(event_type: str, content: Any) -> str | None:
    """What is wrong with an event's content, if anything."""
    name = _schema_of(event_type, content)
    check = _content_validator(name) if name else None
    return _first_error(check, content) if check else None


def event_error(event: Json) -> str | None:
    """What is wrong with an event as a client gets it, if anything."""
    if "redacted_because" in (event.get("unsigned") or {}):
        return None  # its content is not what its type has
    if not event["content"] and "state_key" in event and event["type"] not in NEVER_UNSET:
        return None  # how a state event is taken back
    name = _schema_of(event["type"], event["content"])
    if name is None:
        return None
    if "event_id" not in event:
        return content_error(event["type"], event["content"])
    return _first_error(validator_of(name), {"room_id": "!room:x.test", **event})


def _first_error(check: Any, value: Any) -> str | None:
    if check.is_valid(value):
        return None
    for error in check.iter_errors(value):
        return f"{'/'.join(map(str, error.instance_path))}: {error.message}"[:500]
    return None


def events_in(answer: Any) -> Iterator[Json]:
    """Every event within an answer, those within ``unsigned`` too."""
    pending = [answer]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            if isinstance(value.get("type"), str) and isinstance(value.get("content"), dict):
                yield value
            pending.extend(item for key, item in value.items() if key not in NOT_HERE)


class Malformed:
    """What clients of the tests sent that is not as its type says: it is passed on as it came."""

    def __init__(self) -> None:
        self._contents: set[tuple[str, bytes]] = set()

    def note(self, event_type: str, content: Any) -> None:
        """A client sends this."""
        if content_error(event_type, content) is not None:
            self._contents.add(self._key(event_type, content))

    def __contains__(self, event: Json) -> bool:
        return self._key(event["type"], event["content"]) in self._contents

    @staticmethod
    def _key(event_type: str, content: Any) -> tuple[str, bytes]:
        return event_type, orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
