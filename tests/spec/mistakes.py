"""Where the specification's own files are wrong: each place, what is meant, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mistake:
    """A place in the bundle, and what should be there."""

    reason: str
    where: Callable[[dict[str, Any]], dict[str, Any]]
    changes: dict[str, Any]
    """New values of keys; None takes the key away."""

    def mend(self, bundle: dict[str, Any]) -> None:
        """Put it right; a place that is not as it was fails."""
        place = self.where(bundle)
        for key, value in self.changes.items():
            assert place.get(key) != value, f"no mistake any more: {self.reason}"
            if value is None:
                del place[key]
            else:
                place[key] = value


def _answer(name: str, status: str = "200") -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The schema of an operation's answer."""

    def find(bundle: dict[str, Any]) -> dict[str, Any]:
        for operation in bundle["operations"]:
            if operation["id"] == name:
                schema: dict[str, Any] = operation["responses"][status]["application/json"][
                    "schema"
                ]
                return schema
        raise LookupError(name)

    return find


def _answer_property(name: str, key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The schema of a property of an operation's answer."""

    def find(bundle: dict[str, Any]) -> dict[str, Any]:
        schema: dict[str, Any] = _answer(name)(bundle)["properties"][key]
        return schema

    return find


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        "`getRoomStateWithKey`: an event is an object as any content is: `oneOf` lets none pass",
        _answer("getRoomStateWithKey"),
        {"oneOf": None, "anyOf": [{"type": "object"}]},
    ),
    *(
        Mistake(
            "`getRoomKeysVersion`: backups of algorithms that came later are kept, too",
            _answer_property(name, "algorithm"),
            {"enum": None},
        )
        for name in ("getRoomKeysVersion", "getRoomKeysVersionCurrent")
    ),
)
