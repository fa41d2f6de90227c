"""Many globs at once: which of thousands matches a text, without trying them all.

A glob is filed by what it begins or ends with, as far as that is literal; a text is looked up under
each length that occurs.  Only what is left is matched.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Generic, TypeVar

from homeserver.protocol.globs import glob_to_regex, is_glob

T = TypeVar("T")

_WILDCARD = re.compile(r"[*?]")


class GlobIndex(Generic[T]):
    """Globs and what each stands for; it does not change.  Spec: glob-style matching."""

    __slots__ = ("_exact", "_heads", "_other", "_tails")

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, T] = {}
        self._tails: dict[int, dict[str, list[_Entry[T]]]] = {}
        self._heads: dict[int, dict[str, list[_Entry[T]]]] = {}
        self._other: list[_Entry[T]] = []
        for glob, value in entries:
            if not is_glob(glob):
                self._exact.setdefault(glob, value)
                continue
            entry = (glob_to_regex(glob), value)
            pieces = _WILDCARD.split(glob)
            if pieces[-1]:
                _file(self._tails, pieces[-1], entry)
            elif pieces[0]:
                _file(self._heads, pieces[0], entry)
            else:
                self._other.append(entry)

    def find(self, text: str) -> T | None:
        """What the text's glob stands for: the exact one's first; None if none matches."""
        found = self._exact.get(text)
        if found is not None:
            return found
        for length, by_tail in self._tails.items():
            for pattern, value in by_tail.get(text[-length:], ()):
                if pattern.match(text):
                    return value
        for length, by_head in self._heads.items():
            for pattern, value in by_head.get(text[:length], ()):
                if pattern.match(text):
                    return value
        for pattern, value in self._other:
            if pattern.match(text):
                return value
        return None

    def __bool__(self) -> bool:
        return bool(self._exact or self._tails or self._heads or self._other)


_Entry = tuple[re.Pattern[str], T]


def _file(shelves: dict[int, dict[str, list[_Entry[T]]]], literal: str, entry: _Entry[T]) -> None:
    shelves.setdefault(len(literal), defaultdict(list))[literal].append(entry)
