"""Glob-style matching, compiled so that no pattern can make it slow.

Spec: appendices, glob-style matching: ``*`` matches zero or more characters, ``?`` exactly one.

Patterns come from users and from other servers, and are matched against whole message bodies.  A
naive ``.*a.*a.*a`` backtracks without end.  Between two stars the earliest match of a piece is as
good as any later one, so each piece goes into an atomic group and is never tried again: the cost
is at most the length of the text times the length of the pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

WORD = "[A-Za-z0-9_]"
# v1.19 push module: a boundary is the start or the end of the value, or any character that is no
# word character; so everywhere except between two word characters.
WORD_BOUNDARY = rf"(?:(?<!{WORD})|(?!{WORD}))"


@lru_cache(maxsize=1024)
def glob_to_regex(glob: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """A compiled pattern that matches the whole of a text; use its ``match``."""
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    return re.compile(_whole(_pieces(glob)), flags)


def star_source(pattern: str) -> str:
    """The source of a pattern in which only ``*`` is a wildcard; compile it with ``DOTALL``."""
    return _whole([re.escape(piece) for piece in pattern.split("*")])


def word_matcher(glob: str) -> Callable[[str], bool]:
    """Whether a text has a part that starts and ends at word boundaries and matches the glob.

    Spec: push module, conditions, ``event_match`` on ``content.body``.
    """
    literal = max(re.split(r"[*?]", glob), key=len)

    def matches(text: str) -> bool:
        # A plain search is some twenty times faster, and mostly there is nothing to find.
        return literal in text and _word_regex(glob).match(text) is not None

    return matches


@lru_cache(maxsize=1024)
def _word_regex(glob: str) -> re.Pattern[str]:
    pieces = _pieces(glob)
    pieces[0] = WORD_BOUNDARY + pieces[0]
    pieces[-1] += WORD_BOUNDARY
    return re.compile("".join(f"(?>.*?{piece})" for piece in pieces), re.DOTALL)


def _whole(pieces: list[str]) -> str:
    """The source of a pattern for a whole text: the pieces, in order, with anything between."""
    if len(pieces) == 1:
        return rf"{pieces[0]}\Z"
    middle = "".join(f"(?>.*?{piece})" for piece in pieces[1:-1] if piece)
    return rf"{pieces[0]}{middle}.*{pieces[-1]}\Z"


def is_glob(text: str) -> bool:
    """Whether a text has any wildcard."""
    return "*" in text or "?" in text


def _pieces(glob: str) -> list[str]:
    """What is between the stars, as regular expressions of fixed length."""
    return [
        "".join("." if character == "?" else re.escape(character) for character in piece)
        for piece in glob.split("*")
    ]
