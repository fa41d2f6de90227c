"""Rules as the configuration has them, checked and compiled."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from homeserver.config import ConfigError
from homeserver.services.policy import values
from homeserver.services.policy.conditions import (
    Aspect,
    Condition,
    Not,
    all_of,
    any_of,
    leaves,
)
from homeserver.services.policy.matchers import BUILDERS, Place
from homeserver.services.policy.media_matchers import MEDIA_BUILDERS
from homeserver.services.policy.rates import Rates
from homeserver.services.policy.values import BadValue

DEFAULT_MESSAGE = "This server's content policy does not allow this message"
ACTIONS = (
    "allow",
    "flag",
    "hold",
    "soft_fail",
    "reject",
    "strip",
    "throttle",
    "block_server",
)
MODES = ("enforce", "observe")
KEYS = ("name", "match", "action", "message", "mode", "for")
WITH_DURATION = ("throttle", "block_server")
COMBINATORS = ("all", "any", "not")
ALL_BUILDERS = BUILDERS | MEDIA_BUILDERS
MATCH_KEYS = (*ALL_BUILDERS, *COMBINATORS)
MAX_RULES = 2_000
MAX_NESTING = 8
MAX_TESTS = 200  # in one rule


class Rule(Struct, frozen=True, eq=False):
    """One rule of the admin's, compiled."""

    name: str
    action: str
    condition: Condition
    mode: str = "enforce"
    message: str = DEFAULT_MESSAGE
    duration_seconds: int | None = None  # "for": of a throttle or block
    keys: frozenset[str] = frozenset()  # of "match", at any depth
    aspects: int = 0  # what its tests look at
    fingerprint: bytes = b""  # changes whenever it or a file that it names does; of media rules

    @property
    def enforced(self) -> bool:
        """Whether it has any effect but an audit row."""
        return self.mode == "enforce"

    @property
    def decides(self) -> bool:
        """Whether no later rule is asked once it has matched."""
        return self.enforced and self.action != "flag"


def compile_rules(
    documents: Any, base: Path, rates: Rates | None = None, *, at: str = "policy.rules"
) -> list[Rule]:
    """The rules of a configuration.  Reads the files that they name: it may block.

    ``base``: the directory that files are named from.  ``rates``: those of the rules before a
    reload, to go on counting.  Raises :class:`~homeserver.config.ConfigError` with every problem.
    """
    if not isinstance(documents, list) or len(documents) > MAX_RULES:
        raise ConfigError([f"{at}: expected a list of at most {MAX_RULES} rules"])
    rates = rates if rates is not None else Rates()
    rules: list[Rule] = []
    problems: list[str] = []
    rate_names: set[str] = set()
    for number, document in enumerate(documents):
        name = document.get("name") if isinstance(document, dict) else None
        called = f"{at} {name!r}" if isinstance(name, str) and name else f"{at}.{number}"
        try:
            rule = _compile(document, base, rates, rate_names)
            if rule.name in (earlier.name for earlier in rules):
                raise BadValue("name", "found it twice; allowed: each name once")
            rules.append(rule)
        except BadValue as error:
            problems.append(f"{called}: {error}")
    if problems:
        raise ConfigError(problems)
    rates.keep(rate_names)
    return rules


def _compile(document: Any, base: Path, rates: Rates, rate_names: set[str]) -> Rule:
    if not isinstance(document, dict):
        raise BadValue("rule", f"found {values.shown(document)}; expected keys and values")
    for key in document:
        if key not in KEYS:
            raise BadValue(str(key), f"there is no such key; {_hint(str(key), KEYS)}")
    for key in ("name", "match", "action"):
        if key not in document:
            raise BadValue(key, "missing; it must be set")
    name = values.text("name", document["name"])
    action = values.choice("action", document["action"], ACTIONS)
    place = Place(name, base, rates, rate_names)
    condition = _match("match", document["match"], place, 0)
    duration = None
    if "for" in document:
        if action not in WITH_DURATION:
            raise BadValue("for", f"allowed: with the actions {' and '.join(WITH_DURATION)}")
        duration = values.duration("for", document["for"])
    tests = list(leaves(condition))
    aspects = sum({leaf.aspect for leaf in tests})
    return Rule(
        name=name,
        action=action,
        condition=condition,
        mode=values.choice("mode", document.get("mode", "enforce"), MODES),
        message=values.text("message", document.get("message", DEFAULT_MESSAGE)),
        duration_seconds=duration,
        keys=frozenset(leaf.key.rpartition(".")[2] for leaf in tests),
        aspects=aspects,
        fingerprint=_fingerprint(document, place.files) if aspects & Aspect.MEDIA else b"",
    )


def _fingerprint(document: dict[str, Any], files: Sequence[Path]) -> bytes:
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def _match(key: str, match: Any, place: Place, depth: int) -> Condition:
    """A match: all that it names must hold."""
    if depth > MAX_NESTING:
        raise BadValue(key, f"nested too deep; allowed: {MAX_NESTING} levels")
    if not isinstance(match, dict) or not match:
        raise values.bad(key, match, "at least one of " + ", ".join(MATCH_KEYS))
    return all_of(list(_parts(key, match, place, depth)))


def _parts(key: str, match: dict[Any, Any], place: Place, depth: int) -> Iterator[Condition]:
    for name, value in match.items():
        path = f"{key}.{name}"
        place.tests += 1
        if place.tests > MAX_TESTS:
            raise BadValue(key, f"too much in one rule; allowed: {MAX_TESTS} keys")
        if name == "not":
            yield Not(_match(path, value, place, depth + 1))
        elif name in COMBINATORS:
            yield (all_of if name == "all" else any_of)(_branches(path, value, place, depth))
        elif name in ALL_BUILDERS:
            yield ALL_BUILDERS[name](path, value, place)
        else:
            raise BadValue(path, f"there is no such key; {_hint(str(name), MATCH_KEYS)}")


def _branches(key: str, value: Any, place: Place, depth: int) -> list[Condition]:
    if not isinstance(value, list) or not value:
        raise values.bad(key, value, "a list of matches")
    return [
        _match(f"{key}.{number}", branch, place, depth + 1) for number, branch in enumerate(value)
    ]


def _hint(name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    return f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(allowed)}"
